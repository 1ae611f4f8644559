"""The expert: follows geodesics through the points of a reference path, then stops.

Like habitat-lab's `ShortestPathFollower`: turn towards the next corner of the shortest path until
one faces it to within half a turn, then walk. Once it walks it goes straight on until the corner is
a whole turn aside: were half a turn the limit then too, every correction would end at the opposite
limit and the walk would be a zigzag, in which nobody who imitates it can tell the turns that lead
somewhere from those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.continuous.homes import Homes
from envs.simulators.simulator import Action, Motion, Poses
from rayforge.errors import SceneError

PASSED = 0.5
"""Metres from a point of the reference path within which the next one is headed for."""
ARRIVED = 0.3
"""Metres from the last point within which the expert stops; a step of 0.25 m always gets there."""
CORNER = 0.15
"""Metres from a corner of the shortest path within which the one after it is headed for."""


class Expert:
    """Actions of B agents that follow B paths, each a list of points [K, 3] on the floor."""

    def __init__(
        self,
        homes: Homes,
        motion: Motion,
        scene: np.ndarray,
        paths: Sequence[np.ndarray],
        names: Sequence[str],
    ) -> None:
        """`names` say "scene S, episode E" in errors."""
        self.homes, self.motion = homes, motion
        self.scene = np.asarray(scene)
        self.paths = [np.asarray(path, np.float32) for path in paths]
        self.names = names
        self.next = np.zeros(len(self.paths), np.int64)  # the point headed for
        self._last = np.full((len(self.paths), 3), np.nan, np.float32)  # where it was planned
        self._corner = np.zeros((len(self.paths), 3), np.float32)  # what is headed for
        self._walking = np.zeros(len(self.paths), bool)  # went forward last, and nothing was there

    def actions(self, poses: Poses, rows: np.ndarray | None = None) -> np.ndarray:
        """The next action int64 [n] of `rows` (all by default), whose poses are given.

        Raises:
            SceneError: a point of the path cannot be reached from where the agent stands.
        """
        chosen = np.arange(len(self.paths)) if rows is None else rows
        actions = np.zeros(len(chosen), np.int64)
        for k, row in enumerate(chosen):
            actions[k] = self._act(int(row), poses.position[k], float(poses.yaw[k]))
        return actions

    def _act(self, row: int, position: np.ndarray, yaw: float) -> int:
        path = self.paths[row]
        final = len(path) - 1
        while self.next[row] < final and _near(position, path[self.next[row]], PASSED):
            self.next[row] += 1
        target = path[self.next[row]]
        if self.next[row] == final and _near(position, target, ARRIVED):
            return int(Action.STOP)
        if not np.array_equal(position, self._last[row]):
            metres = np.linalg.norm(position - self._last[row])
            self._walking[row] &= bool(metres > self.motion.forward / 2)  # or slid along a wall
            self._corner[row] = self._plan(row, position, target)
            self._last[row] = position
        ahead = self._corner[row] - position
        wanted = np.arctan2(-ahead[0], -ahead[2])  # a yaw of 0 looks along -z and grows leftwards
        turn = (wanted - yaw + np.pi) % (2 * np.pi) - np.pi
        limit = np.deg2rad(self.motion.turn) * (1.0 if self._walking[row] else 0.5)
        self._walking[row] = abs(turn) <= limit + 1e-4
        if self._walking[row]:
            return int(Action.MOVE_FORWARD)
        return int(Action.TURN_LEFT if turn > 0 else Action.TURN_RIGHT)

    def _plan(self, row: int, position: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The next corner to head for."""
        corners = self.homes.simulator(int(self.scene[row])).shortest_path(position, target)
        if not len(corners):
            raise SceneError(
                f"{self.names[row]}: point {int(self.next[row])} of its path, "
                f"{np.round(target, 3).tolist()}, cannot be reached from "
                f"{np.round(position, 3).tolist()}; do the episode and the scene belong together?"
            )
        for corner in corners[1:]:
            if not _near(position, corner, CORNER):
                return np.asarray(corner, np.float32)
        return target


def _near(a: np.ndarray, b: np.ndarray, metres: float) -> bool:
    """Whether two points of one floor are that near, seen from above."""
    aside = np.hypot(a[0] - b[0], a[2] - b[2])
    return bool(aside <= metres and abs(a[1] - b[1]) <= 1.0)
