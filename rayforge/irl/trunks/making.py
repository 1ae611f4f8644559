"""The trunk that a configuration asks for, with as many parameters as the recurrent one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from rayforge.irl.config import NetworkConfig
from rayforge.irl.trunks.circuit import CircuitTrunk
from rayforge.irl.trunks.recurrent import RecurrentTrunk
from rayforge.irl.trunks.transformer import TransformerTrunk

Trunk = RecurrentTrunk | TransformerTrunk | CircuitTrunk


def make_trunk(dimension: int, config: NetworkConfig) -> Trunk:
    """A trunk over features of `dimension`. The feed-forward layers of transformer and circuit are
    as wide as it takes to have the parameters of the recurrent trunk."""
    if config.trunk == "lstm":
        return RecurrentTrunk(dimension, config)
    if config.trunk != "transformer" and config.circuit.inner:
        return CircuitTrunk(dimension, config, config.circuit.inner)
    kind = TransformerTrunk if config.trunk == "transformer" else CircuitTrunk
    with torch.device("meta"):  # counted, not filled
        goal = parameters(RecurrentTrunk(dimension, config))
    return kind(dimension, config, width(lambda inner: kind(dimension, config, inner), goal))


def width(build: Callable[[int], nn.Module], goal: int) -> int:
    """The width at which a network that `build` makes of one comes nearest to `goal` parameters;
    1 where it always has more. Parameters grow linearly in it."""
    with torch.device("meta"):
        one, two = (parameters(build(inner)) for inner in (1, 2))
    return max(1, 1 + round((goal - one) / (two - one)))


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
