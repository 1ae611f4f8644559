"""Paths as padded arrays: what roll-outs return, the replay stores and learners read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np

from rayforge.language.vocabulary import PAD


class Padded:
    """B paths of at most T actions, each with the instruction (N tokens) it is paired with.

    Every array has B rows; those of two and more axes have T columns, but for the tokens' N. The
    last of `length` actions is always a STOP (0), and padding is 0. What a state is differs:
    `Paths` and `Walks` are dataclasses that say so.
    """

    action: np.ndarray  # int8 [B, T]
    length: np.ndarray  # int16 [B], actions including the STOP
    tokens: np.ndarray  # int16 [B, N]

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(**{name: array[rows] for name, array in self.arrays().items()})

    def with_tokens(self, tokens: np.ndarray) -> Self:
        """The same paths paired with other instructions, int16 [B, N]."""
        return type(self)(**{**self.arrays(), "tokens": tokens})

    @property
    def nbytes(self) -> int:
        return int(sum(array.nbytes for array in self.arrays().values()))

    def trimmed(self) -> Self:
        """The same paths without the columns that are padding in every row."""
        steps = max(1, int(self.length.max(initial=1)))
        words = max(1, int((self.tokens != PAD).sum(1).max(initial=1)))
        columns: dict[str, Any] = {
            name: array[:, :steps] if array.ndim > 1 else array
            for name, array in self.arrays().items()
        }
        return type(self)(**{**columns, "tokens": self.tokens[:, :words]})


@dataclass(frozen=True)
class Paths(Padded):
    """Paths in navigation graphs.

    A state is three integers (building, viewpoint, heading); the building follows from the
    viewpoint's global number. Actions: 0 = STOP, 1 + k = go to neighbour slot k.
    """

    viewpoint: np.ndarray  # int32 [B, T]
    heading: np.ndarray  # int8 [B, T], bins of 30 degrees, clockwise from +y
    action: np.ndarray  # int8 [B, T]
    length: np.ndarray  # int16 [B]
    tokens: np.ndarray  # int16 [B, N]

    @classmethod
    def zeros(cls, count: int, steps: int, words: int) -> Paths:
        """Room for `count` paths."""
        return cls(
            np.zeros((count, steps), np.int32),
            np.zeros((count, steps), np.int8),
            np.zeros((count, steps), np.int8),
            np.zeros(count, np.int16),
            np.zeros((count, words), np.int16),
        )


@dataclass(frozen=True)
class Walks(Padded):
    """Walks in 3-D scenes. Actions: 0 stop, 1 forward, 2 left, 3 right.

    A state is a pose in a scene. What was seen there is not in here but in `FrameStore`, by number:
    images are two thousand times as large as poses.
    """

    scene: np.ndarray  # int16 [B]
    frames: np.ndarray  # int32 [B], number of the walk's images in `FrameStore`; -1: none kept
    position: np.ndarray  # float32 [B, T, 3], where each action was taken, metres
    yaw: np.ndarray  # float32 [B, T], radians
    moved: np.ndarray  # uint8 [B, T], percent of a whole forward step that the action moved
    action: np.ndarray  # int8 [B, T]
    length: np.ndarray  # int16 [B]
    tokens: np.ndarray  # int16 [B, N]

    @classmethod
    def zeros(cls, count: int, steps: int, words: int) -> Walks:
        """Room for `count` walks."""
        return cls(
            np.zeros(count, np.int16),
            np.full(count, -1, np.int32),
            np.zeros((count, steps, 3), np.float32),
            np.zeros((count, steps), np.float32),
            np.zeros((count, steps), np.uint8),
            np.zeros((count, steps), np.int8),
            np.zeros(count, np.int16),
            np.zeros((count, words), np.int16),
        )

    def with_frames(self, frames: np.ndarray) -> Walks:
        """The same walks with other numbers of their images, int32 [B]."""
        return Walks(**{**self.arrays(), "frames": frames.astype(np.int32)})


P = TypeVar("P", bound=Padded)


def join_paths(parts: Sequence[P]) -> P:
    """Paths one after the other, padded to the longest (every padding value is 0)."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in parts[0].arrays()}
    for part in parts:
        for name, array in part.arrays().items():
            columns[name].append(array)
    return type(parts[0])(**{name: _joined(arrays) for name, arrays in columns.items()})


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    width = max(array.shape[1] for array in arrays)
    spare = [(0, 0)] * (arrays[0].ndim - 2)
    return np.concatenate([np.pad(a, ((0, 0), (0, width - a.shape[1]), *spare)) for a in arrays])
