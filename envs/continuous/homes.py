"""Many scenes behind one batch: agents of one scene share its simulator and render calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from envs.simulators.simulator import Moved, Poses, Scene, Simulator, Views
from rayforge.errors import SceneError

REACH = 1.0
"""Metres off the floor that a point of an episode may be."""

OpenScene = Callable[[Scene], Simulator]


class Homes:
    """Scenes by number; each is opened when it is first needed.

    Rows of a batch say which scene they are in (int [N]); what a row gets depends on that row
    alone. The `kept` scenes used last stay open.
    """

    def __init__(
        self, folder: Path, scenes: Sequence[str], open_scene: OpenScene, kept: int = 64
    ) -> None:
        """
        Args:
            folder: below which the scenes lie.
            scenes: their mesh files, as episodes name them.
            open_scene: opens one, such as `partial(open_simulator, "embedded", config=config)`.
            kept: scenes open at once, at least 1. A generated house takes a few megabytes, a scan
                of millions of triangles some hundreds.
        """
        if kept < 1:
            raise ValueError(f"kept is {kept}; one scene at least has to be open")
        self.folder = folder
        self.scenes = tuple(scenes)
        self.kept = kept
        self._open_scene = open_scene
        self._open: OrderedDict[int, Simulator] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        """Copies, and other processes, open scenes of their own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def simulator(self, scene: int) -> Simulator:
        """The simulator of a scene, opened where it is not.

        Raises:
            SceneError: the scene cannot be used; names its file.
        """
        if scene in self._open:
            self._open.move_to_end(scene)
            return self._open[scene]
        while len(self._open) >= self.kept:
            self._open.popitem(last=False)[1].close()
        from envs.simulators.scene import find_scene

        opened = self._open_scene(find_scene(self.folder / self.scenes[scene]))
        self._open[scene] = opened
        return opened

    def close(self) -> None:
        """Close what is open; the next call opens it again."""
        while self._open:
            self._open.popitem()[1].close()

    def step(self, scene: np.ndarray, poses: Poses, actions: np.ndarray) -> Moved:
        """One low-level action each, int64 [N]."""
        position, yaw = np.array(poses.position, np.float32), np.array(poses.yaw, np.float32)
        collided = np.zeros(len(yaw), bool)
        for simulator, rows in self._groups(scene):
            moved = simulator.step(Poses(position[rows], yaw[rows]), actions[rows])
            position[rows], yaw[rows] = moved.poses
            collided[rows] = moved.collided
        return Moved(Poses(position, yaw), collided)

    def render(self, scene: np.ndarray, poses: Poses) -> Views:
        """What N agents see; one render call a scene."""
        seen, places = [], []
        for simulator, rows in self._groups(scene):  # one at a time: the next may close this one
            seen.append(simulator.render(Poses(poses.position[rows], poses.yaw[rows])))
            places.append(rows)
        if len(seen) == 1:
            return seen[0]
        order = np.argsort(np.concatenate(places))

        def joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
            known = [part for part in parts if part is not None]
            return np.concatenate(known)[order] if known else None

        return Views(*(joined(parts) for parts in zip(*seen, strict=True)))

    def geodesic_distance(
        self, scene: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """Metres an agent walks between each pair, float32 [N]; inf where it cannot."""
        metres = np.zeros(len(scene), np.float32)
        for simulator, rows in self._groups(scene):
            metres[rows] = simulator.geodesic_distance(starts[rows], ends[rows])
        return metres

    def on_floor(self, scene: int, points: np.ndarray, place: str) -> np.ndarray:
        """Points [K, 3] put on the floor, float32 [K, 3].

        Raises:
            SceneError: one is farther than `REACH` metres from it; `place` names the episode.
        """
        wanted = np.asarray(points, np.float32)
        snapped = self.simulator(scene).snap(wanted)
        off = np.linalg.norm(snapped - wanted, axis=1)
        wrong = np.flatnonzero(~(off <= REACH))
        if wrong.size:
            k = int(wrong[0])
            near = (
                "no floor is near"
                if np.isnan(off[k])
                else f"the nearest floor is {off[k]:.2f} m away"
            )
            what = "its start" if k == 0 else f"point {k} of its path"
            raise SceneError(
                f"{place}: {what}, {np.round(wanted[k], 3).tolist()}, is off the floor ({near}); "
                "do the episode and the scene belong together?"
            )
        return snapped

    def _groups(self, scene: np.ndarray) -> Iterator[tuple[Simulator, np.ndarray]]:
        for number in np.unique(scene):
            yield self.simulator(int(number)), np.flatnonzero(scene == number)

    def restart(self, mesh: str) -> np.ndarray:
        """Let go of the simulator of a mesh file, which ended; the next call opens another.

        Returns the numbers of the scenes that it served, int64 [n].
        """
        ended = [n for n, s in self._open.items() if str(s.scene.mesh) == mesh]
        for number in ended:
            self._open.pop(number).close()
        return np.array(ended, np.int64)
