"""The settings of a circuit (apart from its networks: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rayforge.settings import Above, AtLeast, Within, check_limits

Prior = Literal[
    "none", "planted-partition", "ring-of-cliques", "scale-free", "small-world", "erdos-renyi"
]
Links = Literal["mean", "sampled", "threshold"]


@dataclass(frozen=True)
class CircuitConfig:
    """Modules of a circuit, and how they are wired."""

    modules: Annotated[int, AtLeast(1)] = 12
    """Modules that process."""
    outputs: Annotated[int, AtLeast(1)] = 2
    """Modules that are read out."""
    layers: Annotated[int, AtLeast(1)] = 2
    """Propagators, each with weights of its own."""
    heads: Annotated[int, AtLeast(1)] = 2
    """Heads of attention; the size of a module's state is a multiple of them."""
    code: Annotated[int, AtLeast(1)] = 16
    """Size of a module's code."""
    signature: Annotated[int, AtLeast(2)] = 8
    """Size of a module's signature."""
    inner: Annotated[int, AtLeast(0)] = 0
    """Width of the modules' feed-forward layers; 0: so wide that the trunk has as many parameters
    as the recurrent one. A pruned run keeps the width that it had."""
    truncate: Annotated[float, Within(0, 2, "(]")] = 0.9
    """Modules whose signatures lie further apart than this (1 - cosine) are not linked; 2 links
    all of them."""
    sampled: bool = True
    """Draw the links anew for each sample while training. The reward and the critics never do: the
    policy is measured against them."""
    links: Links = "mean"
    """Links of a trained circuit: their probabilities, drawn ones, or 1 for those above one half
    and 0 for all others."""
    prior: Prior = "planted-partition"
    """The graph that the wiring is drawn towards."""
    prior_weight: Annotated[float, AtLeast(0)] = 0.1
    """Weight of the distance from it in the loss."""
    rate: Annotated[float, Above(0)] = 0.5
    """Temperature of the drawn links: the lower, the nearer they are to 0 and 1."""

    def __post_init__(self) -> None:
        check_limits(self, "network.circuit.")
