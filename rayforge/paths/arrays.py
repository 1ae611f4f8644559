"""Paths as padded integer arrays: what roll-outs return, the replay stores and learners read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from rayforge.language.vocabulary import PAD


@dataclass(frozen=True)
class Paths:
    """B paths of at most T actions, each with the sentence (N tokens) it is paired with.

    A state is three integers (building, viewpoint, heading); the building follows from the
    viewpoint's global number. Actions: 0 = STOP, 1 + k = go to neighbour slot k. The last of
    `length` actions is always a STOP. Padding: viewpoint 0, heading 0, action 0.
    """

    viewpoint: np.ndarray  # int32 [B, T]
    heading: np.ndarray  # int8 [B, T], bins of 30 degrees, clockwise from +y
    action: np.ndarray  # int8 [B, T]
    length: np.ndarray  # int16 [B], actions including the STOP
    tokens: np.ndarray  # int16 [B, N]

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, rows: np.ndarray | slice) -> Paths:
        return Paths(*(getattr(self, f.name)[rows] for f in fields(self)))

    def with_tokens(self, tokens: np.ndarray) -> Paths:
        """The same paths paired with other sentences, int16 [B, N]."""
        return Paths(self.viewpoint, self.heading, self.action, self.length, tokens)

    @property
    def nbytes(self) -> int:
        return int(sum(getattr(self, f.name).nbytes for f in fields(self)))

    def trimmed(self) -> Paths:
        """The same paths without the columns that are padding in every row."""
        steps = max(1, int(self.length.max(initial=1)))
        words = max(1, int((self.tokens != PAD).sum(1).max(initial=1)))
        return Paths(
            self.viewpoint[:, :steps],
            self.heading[:, :steps],
            self.action[:, :steps],
            self.length,
            self.tokens[:, :words],
        )


def _widen(array: np.ndarray, width: int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))


def join_paths(parts: Sequence[Paths]) -> Paths:
    """Paths one after the other, padded to the longest (every padding value is 0)."""
    steps = max(part.viewpoint.shape[1] for part in parts)
    words = max(part.tokens.shape[1] for part in parts)
    return Paths(
        np.concatenate([_widen(part.viewpoint, steps) for part in parts]),
        np.concatenate([_widen(part.heading, steps) for part in parts]),
        np.concatenate([_widen(part.action, steps) for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([_widen(part.tokens, words) for part in parts]),
    )
