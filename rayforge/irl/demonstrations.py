"""Demonstrations of one split as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rayforge.language.vocabulary import PAD


@dataclass(frozen=True)
class Demonstrations:
    """Episodes of one split as paths, with what scoring needs."""

    episodes: tuple[Any, ...]  # `Episode`s, or `ContinuousEpisode`s
    paths: Any  # `Paths`, or `Walks`
    goal: np.ndarray  # where the reference path ends: viewpoints int32 [n], or metres [n, 3]
    cut: int  # instructions that were longer than the limit
    building: np.ndarray  # int [n], rows of one building share it
    route: np.ndarray  # int [n], rows of one reference path share it

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def blind(self) -> bool:
        """Whether the goals are not told: such a split is never scored."""
        return bool(self.episodes) and all(e.blind for e in self.episodes)

    def take(self, rows: np.ndarray) -> Demonstrations:
        """The same of some rows only, int64 [n]; reference paths are numbered anew."""
        return Demonstrations(
            tuple(self.episodes[int(row)] for row in rows), self.paths[rows], self.goal[rows], 0,
            self.building[rows], np.unique(self.route[rows], return_inverse=True)[1],
        )  # fmt: skip

    @cached_property
    def words(self) -> np.ndarray:
        """Tokens of each instruction, int64 [n]."""
        count: np.ndarray = (self.paths.tokens != PAD).sum(1)
        return count

    @cached_property
    def rows_of_route(self) -> list[np.ndarray]:
        """The rows of each reference path."""
        order = np.argsort(self.route, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.route))[:-1])

    def names(self, rows: np.ndarray) -> tuple[str, ...]:
        """Building and episode of each row, for messages."""
        picked = [self.episodes[int(row)] for row in rows]
        return tuple(f"building {e.scan}, episode {e.episode_id}" for e in picked)
