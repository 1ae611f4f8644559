"""Sizes of the networks (kept apart from them: reading a configuration needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rayforge.settings import AtLeast, Within, check_limits


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of every network of an agent."""

    word: Annotated[int, AtLeast(1)] = 128
    """Size of word vectors."""
    hidden: Annotated[int, AtLeast(2)] = 256
    """Size of the recurrent states and of the candidate embeddings."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.3
    """Share of activations dropped while training."""
    feature_dropout: Annotated[float, Within(0, 1, "[)")] = 0.4
    """Share of what is seen that is hidden while training, the same features along a path."""

    view: Annotated[int, AtLeast(1)] = 48
    """Numbers that say what each of an image's four strips shows (3-D scenes)."""

    def __post_init__(self) -> None:
        check_limits(self, "network.")
        if self.hidden % 2:
            raise ValueError(f"network.hidden must be even, got {self.hidden}")
