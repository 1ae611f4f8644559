"""Sizes of the networks (kept apart from them: reading a configuration needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of every network of an agent."""

    word: int = 128
    """Size of word vectors."""
    hidden: int = 256
    """Size of the recurrent states and of the candidate embeddings."""
    dropout: float = 0.4
    """Share of activations dropped while training."""

    def __post_init__(self) -> None:
        if self.word < 1 or self.hidden < 2 or self.hidden % 2:
            raise ValueError(
                f"network sizes must be positive and hidden even, got word={self.word}, "
                f"hidden={self.hidden}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"network.dropout must be in [0, 1), got {self.dropout}")
