"""Replay of whole episodes in preallocated arrays."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from rayforge.paths.arrays import Paths, Walks

P = TypeVar("P", Paths, Walks)


class Replay(Generic[P]):
    """The last `capacity` paths in a ring; rewards are never stored.

    A path of up to `steps` actions and `words` tokens takes 6 bytes a step (a walk 18, and its
    images are in `FrameStore`), 2 bytes a token and 10 bytes more: about 0.26 kB for 15 steps and
    80 words. `serial` numbers the episodes, so that
    none is stored twice when a lost worker's episodes are asked for again.
    """

    def __init__(
        self, capacity: int, steps: int, words: int,
        kind: type[P] = Paths,  # type: ignore[assignment]
    ) -> None:  # fmt: skip
        self.capacity = capacity
        self.paths: P = kind.zeros(capacity, steps, words)
        self.serial = np.full(capacity, -1, np.int64)
        self.size = 0
        self.next = 0

    def __len__(self) -> int:
        return self.size

    @property
    def nbytes(self) -> int:
        return self.paths.nbytes + self.serial.nbytes

    def add(self, paths: P, serial: np.ndarray) -> None:
        """Store paths with their episode numbers int64 [B]; the oldest make room.

        Raises ValueError where a path is longer than the replay was made for, or an episode
        number is stored already.
        """
        steps, words = paths.action.shape[1], paths.tokens.shape[1]
        if steps > self.paths.action.shape[1] or words > self.paths.tokens.shape[1]:
            raise ValueError(
                f"paths of {steps} steps and {words} words do not fit a replay of "
                f"{self.paths.action.shape[1]} steps and {self.paths.tokens.shape[1]} words"
            )
        given, times = np.unique(serial, return_counts=True)
        twice = given[(times > 1) | np.isin(given, self.serial[: self.size])]
        if len(twice):
            raise ValueError(f"episodes {twice[:5].tolist()} are stored already, or given twice")
        for start in range(0, len(paths), self.capacity):
            chunk = slice(start, start + self.capacity)
            count = len(serial[chunk])
            rows = (self.next + np.arange(count)) % self.capacity
            kept = self.paths.arrays()
            for name, array in paths.arrays().items():
                source, target = array[chunk], kept[name]
                if target.ndim == 1:
                    target[rows] = source
                else:
                    target[rows] = 0
                    target[rows, : source.shape[1]] = source
            self.serial[rows] = serial[chunk]
            self.next = int((self.next + count) % self.capacity)
            self.size = min(self.capacity, self.size + count)

    def sample(self, count: int, rng: np.random.Generator, replay_window: int | None = None) -> P:
        """`count` paths drawn with replacement, from the `recent` newest ones where given."""
        if not self.size:
            raise ValueError("the replay is empty: roll out before sampling from it")
        window = min(self.size, replay_window or self.size)
        return self.paths[(self.next - 1 - rng.integers(window, size=count)) % self.capacity]

    def since(self, serial: int) -> int:
        """How many of the stored paths have this episode number or a later one."""
        return int((self.serial[: self.size] >= serial).sum())

    def state(self) -> dict[str, np.ndarray]:
        """Arrays of the stored paths, oldest first, to be saved and given to `restore`."""
        rows = (self.next - self.size + np.arange(self.size)) % self.capacity
        return {**self.paths[rows].arrays(), "serial": self.serial[rows]}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave (also of a replay of another capacity)."""
        self.size = self.next = 0
        self.serial[:] = -1
        if len(state["serial"]):
            stored = {name: state[name] for name in self.paths.arrays()}
            self.add(type(self.paths)(**stored), state["serial"])
