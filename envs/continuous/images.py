"""What agents see as bytes: colours, depth and categories in the channels of one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from envs.continuous.homes import Homes
from envs.simulators.simulator import Camera, Poses
from rayforge.paths.frame_store import pack_images

MOST = 255
"""Categories that a byte tells apart; 0 is everything else."""


def categories_of(homes: Homes) -> tuple[str, ...]:
    """Categories of the things in all scenes, the most frequent first, at most 255."""
    counts = Counter(
        name for scene in range(len(homes.scenes)) for name in homes.simulator(scene).names.values()
    )
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:MOST])


def channels(camera: Camera) -> int:
    return 3 * camera.colour + camera.depth + camera.semantic


class Images:
    """Renders the images of agents in `homes`, uint8 [N, H, W, C].

    Channels, for the sensors that the camera has: see `pack_images`. Categories are numbered from
    1 in the order of `categories`.
    """

    def __init__(self, homes: Homes, camera: Camera, categories: Sequence[str]) -> None:
        self.homes, self.camera, self.names = homes, camera, tuple(categories)
        self._numbers = {name: k + 1 for k, name in enumerate(categories)}
        self._tables: dict[int, np.ndarray] = {}

    def render(self, scene: np.ndarray, poses: Poses) -> np.ndarray:
        """What agents in scenes int [N] see from their poses."""
        views = self.homes.render(scene, poses)
        category = None if views.semantic is None else self.category(scene, views.semantic)
        return pack_images(views.colour, views.depth, category)

    def category(self, scene: np.ndarray, semantic: np.ndarray) -> np.ndarray:
        """Numbers of the categories of things [N, H, W] in scenes int [N], uint8 [N, H, W]."""
        found = np.zeros(semantic.shape, np.uint8)
        for number in np.unique(scene):
            rows = np.flatnonzero(scene == number)
            found[rows] = self._table(int(number))[semantic[rows]]
        return found

    def _table(self, scene: int) -> np.ndarray:
        """Category number of each semantic id, uint8."""
        if scene not in self._tables:
            names = self.homes.simulator(scene).names
            table = np.zeros(max(names, default=0) + 1, np.uint8)
            for thing, name in names.items():
                table[thing] = self._numbers.get(name, 0)
            self._tables[scene] = table
        return self._tables[scene]
