"""The circuit executor: read in, propagate along the wiring, read out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rayforge.circuits.attention import Wiring, in_blocks
from rayforge.circuits.config import CircuitConfig, Links
from rayforge.circuits.generator import Design
from rayforge.circuits.modules import Propagator, ReadIn
from rayforge.circuits.priors import prior_loss, target
from rayforge.circuits.wiring import links_between


class Tokens(NamedTuple):
    """What a circuit reads: T states of B samples, each with W tokens of its own, and N that all
    states of a sample share."""

    near: Tensor  # [B, T, W, I]
    near_mask: Tensor  # bool [B, T, W]; every state has one
    far: Tensor | None = None  # [B, N, I]
    far_mask: Tensor | None = None  # bool [B, N]


class Circuit(nn.Module):
    """U processors read tokens and propagate; O outputs listen to them and are read out.

    The wiring is fixed before the pass, one for all layers. The order of the modules says nothing.
    """

    goal: Tensor

    def __init__(self, config: CircuitConfig, size: int, inputs: int, inner: int) -> None:
        """
        Args:
            config: modules and how they are wired.
            size: D of a module's state, a multiple of `config.heads`.
            inputs: I of a token.
            inner: width of the feed-forward layers.
        """
        super().__init__()
        if size % config.heads:
            raise ValueError(f"states of {size} numbers do not split into {config.heads} heads")
        self.config = config
        self.read_in = ReadIn(config.code, size, inputs, config.heads)
        self.layers = nn.ModuleList(
            Propagator(config.code, size, config.heads, inner) for _ in range(config.layers)
        )
        self.read_out = Propagator(config.code, size, config.heads, inner, residual=False)
        self.weigh = nn.Linear(size, 1)
        goal = target(config.prior, config.modules) if config.prior != "none" else None
        self.register_buffer(
            "goal", None if goal is None else torch.from_numpy(goal).float(), persistent=False
        )

    def wirings(self, design: Design, samples: int) -> tuple[Wiring, Wiring]:
        """The links among processors [N, U, U] and from them to outputs [N, O, U]."""
        among, reading = self.links(design, samples)
        if self.training:
            return Wiring(among), Wiring(reading)
        return in_blocks(among), Wiring(reading)

    def links(self, design: Design, samples: int) -> tuple[Tensor, Tensor]:
        """As the pass takes them: drawn while training, else as the configuration says."""
        config = self.config
        how: Links = "sampled" if self.training and config.sampled else config.links
        if self.training and not config.sampled:
            how = "mean"
        processors, outputs = self._parts(design.signature)
        return (
            links_between(processors, processors, how, config.truncate, config.rate, samples)[0],
            links_between(outputs, processors, how, config.truncate, config.rate, samples)[0],
        )

    def prior_loss(self, design: Design) -> Tensor:
        """How far the wiring among processors is from the prior, weighed as configured."""
        if self.config.prior == "none" or not self.config.prior_weight:
            return design.signature.new_zeros(())
        processors, _ = self._parts(design.signature)
        config = self.config
        _, probability = links_between(processors, processors, "mean", config.truncate, config.rate)
        return config.prior_weight * prior_loss(probability, self.goal)

    def forward(self, design: Design, tokens: Tokens, given: Tensor | None = None) -> Tensor:
        """Codes [B, T, D] of states; `given` [B, T, U, D] is added to the processors' first
        states."""
        batch, steps = tokens.near.shape[:2]
        among, reading = self.wirings(design, batch)
        first, last = self._parts(design.state)
        code, output_code = self._parts(design.code)
        states = first[:, None].expand(batch, steps, -1, -1)
        if given is not None:
            states = states + given
        states = self.read_in(states, code, *tokens)
        for layer in self.layers:
            states = layer(states, code, states, code, among)
        outputs = last[:, None].expand(batch, steps, -1, -1)
        outputs = self.read_out(outputs, output_code, states, code, reading)
        found: Tensor = (self.weigh(outputs).softmax(2) * outputs).sum(2)
        return found

    def _parts(self, values: Tensor) -> tuple[Tensor, Tensor]:
        processors, outputs = values.split([self.config.modules, self.config.outputs], 1)
        return processors, outputs
