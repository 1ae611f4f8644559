"""The images of walks as bytes, by number: demonstrations in a file, roll-outs in a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rayforge.readers.arrays import map_npy

FAR = 10.0
"""Metres of depth that the brightest byte stands for; whatever is farther looks like it."""


def pack_images(
    colour: np.ndarray | None, depth: np.ndarray | None, category: np.ndarray | None
) -> np.ndarray:
    """One image of what the sensors saw, uint8 [N, H, W, C].

    Channels, of what is given: red, green, blue (uint8 [N, H, W, 3]); depth (metres [N, H, W]),
    255 standing for `FAR` metres and more (0: nothing hit); the number of the category (from 1;
    0: unknown).
    """
    parts = [] if colour is None else [np.asarray(colour, np.uint8)]
    if depth is not None:
        scaled = np.minimum(depth, FAR) * (255.0 / FAR)
        parts.append(np.rint(scaled).astype(np.uint8)[..., None])
    if category is not None:
        parts.append(np.asarray(category).astype(np.uint8)[..., None])
    return np.concatenate(parts, -1)


@dataclass(frozen=True)
class FrameFile:
    """Images of the demonstrations in one file, which every process maps instead of reading."""

    file: Path
    """A .npy file of uint8 [M, H, W, C]."""
    first: np.ndarray
    """int64 [walks + 1], the first image of each walk, and M."""

    @cached_property
    def images(self) -> np.ndarray:
        return map_npy(self.file)

    def __getstate__(self) -> dict[str, object]:
        return {"file": self.file, "first": self.first}  # never the images themselves


class FrameStore:
    """Images of walks: numbers below `first_kept` are demonstrations', the others roll-outs'.

    The `capacity` walks that were kept last are held, whole and without padding: walks of 60 steps
    at 64 x 64 x 5 bytes take 1.2 MB each.
    """

    def __init__(self, frame_file: FrameFile | None, capacity: int) -> None:
        self.frame_file = frame_file
        self.first_kept = 0 if frame_file is None else len(frame_file.first) - 1
        self.capacity = capacity
        self._kept: list[np.ndarray | None] = [None] * capacity
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the walks that are kept."""
        return sum(walk.nbytes for walk in self._kept if walk is not None)

    def keep(self, walks: Sequence[np.ndarray]) -> np.ndarray:
        """Keep walks' images, uint8 [T, H, W, C] each; the oldest make room.

        Returns their numbers, int32 [n].
        """
        numbers = self.take(len(walks))
        self.put(numbers, walks)
        return numbers

    def take(self, count: int) -> np.ndarray:
        """The numbers of the next `count` walks, int32; their images may be put elsewhere."""
        places = (self._next + np.arange(count)) % self.capacity
        self._next = int((self._next + count) % self.capacity)
        return (self.first_kept + places).astype(np.int32)

    def put(self, numbers: np.ndarray, walks: Sequence[np.ndarray]) -> None:
        """Keep images under numbers that this or an equal store has given."""
        for number, images in zip(numbers, walks, strict=True):
            self._kept[int(number) - self.first_kept] = images

    def gather(self, numbers: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The first `lengths` [B] images of walks `numbers` [B], one after the other, uint8
        [sum of lengths, H, W, C].

        Raises:
            ValueError: the images of a walk were not kept, or no longer are.
        """
        return np.concatenate(
            [self._walk(int(n))[: int(k)] for n, k in zip(numbers, lengths, strict=True)]
        )

    def _walk(self, number: int) -> np.ndarray:
        if 0 <= number < self.first_kept:
            assert self.frame_file is not None
            first, last = self.frame_file.first[number : number + 2]
            return self.frame_file.images[first:last]
        place = number - self.first_kept
        images = self._kept[place] if 0 <= place < self.capacity else None
        if images is None:
            raise ValueError(
                f"the images of walk {number} are not kept: there are {self.first_kept} "
                f"demonstrations and room for {self.capacity} roll-outs"
            )
        return images
