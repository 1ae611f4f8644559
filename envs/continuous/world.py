"""3-D scenes as a `rayforge.irl.world.World`: R2R-CE's rules and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from envs.continuous.agents import HomeAgents
from envs.continuous.demonstrations import film
from envs.continuous.homes import Homes
from envs.continuous.images import Images
from envs.continuous.scoring import score_walks
from envs.continuous.walks import Walk, share_moved
from envs.simulators.opening import Kind, open_simulator
from envs.simulators.simulator import Action, Poses, SimulatorConfig
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.rollout import Rollout
from rayforge.paths.arrays import Walks
from rayforge.paths.frame_store import FrameFile, FrameStore
from rayforge.paths.walk_observation import Completes, WalkObserver

TOGETHER = 128
"""Roll-outs whose images a process holds at once."""
SCENES_AT_ONCE = 4
"""Scenes that a chunk of roll-outs is drawn from: its agents share simulators and render calls."""
RANDOM = (0.02, 0.68, 0.15, 0.15)
"""Chances of STOP, forward, left, right of the random agent (Krantz et al. 2020)."""
STRAIGHT = 37
"""Forward steps of the agent that only walks straight on: R2R's mean path, 9.3 m (as theirs)."""

Choose = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class SceneWorld:
    """What every process of a run reads: scenes, categories and the demonstrations' images. Each
    opens scenes of its own. `World` says what the methods do."""

    folder: Path
    """Below which the scenes lie."""
    scenes: tuple[str, ...]
    objects: tuple[str, ...]
    """Categories that an agent tells apart."""
    frame_file: FrameFile | None = field(repr=False)
    simulation: SimulatorConfig
    simulator: Kind
    own_process: bool
    """Run the simulator of each scene in a process of its own."""
    open_scenes: int
    """Scenes that a process keeps open at once."""
    step_limit: int
    """Actions of an episode at most; a STOP forced by this limit is no success."""
    completion: Completes | None = field(default=None, repr=False)
    """What says where the object is that an instruction names."""
    kind: ClassVar[type[Walks]] = Walks
    together: ClassVar[int] = 64

    def __getstate__(self) -> dict[str, Any]:
        """Without what this process has opened."""
        return {k: v for k, v in self.__dict__.items() if k not in ("homes", "images")}

    @property
    def dimension(self) -> None:
        """Images have no features before the agent's image encoder makes them."""

    @property
    def identity(self) -> tuple[str, ...]:
        return (*self.scenes, *self.objects)

    @cached_property
    def homes(self) -> Homes:
        """The scenes, opened in this process as they are needed."""
        return self.new_homes()

    def new_homes(self) -> Homes:
        """The same for somebody who opens and closes them alone."""
        opened = partial(
            open_simulator, kind=self.simulator, config=self.simulation,
            own_process=self.own_process,
        )  # fmt: skip
        kept = self.open_scenes
        if self.simulator == "habitat":
            kept = min(kept, SCENES_AT_ONCE)  # each is a process with a GL context
        return Homes(self.folder, self.scenes, opened, kept)

    @cached_property
    def images(self) -> Images:
        return Images(self.homes, self.simulation.camera, self.objects)

    def observer(self, frames: FrameStore | None = None) -> WalkObserver:
        frames = FrameStore(self.frame_file, TOGETHER) if frames is None else frames
        turn = self.simulation.motion.turn
        return WalkObserver(frames, turn, self.step_limit, self.completion)

    def agents(self, observer: WalkObserver, keep: bool = True) -> HomeAgents:
        return HomeAgents(self.homes, self.images, observer, self.simulation.motion, keep)

    def other_ways(self, paths: Walks, count: int, rng: np.random.Generator) -> None:
        """None: what would be seen along them would have to be rendered first."""

    def batch(self, split: Demonstrations, size: int, seed: int, number: int) -> np.ndarray:
        """All instructions of some walks of like length, so that one look at a walk serves them
        all."""
        told = split.rows_of_route
        lengths = split.paths.length[[rows[0] for rows in told]].astype(np.int64)
        count = max(1, size * len(told) // len(split))
        return np.concatenate([told[k] for k in batch_rows(lengths, count, seed, number)])

    def draw(
        self, split: Demonstrations, rng: np.random.Generator, count: int, chunk: int
    ) -> np.ndarray:
        """Few scenes in each chunk."""
        rows = []
        for start in range(0, count, chunk):
            size = min(chunk, count - start)
            scenes = split.building[rng.integers(len(split), size=SCENES_AT_ONCE)]
            rows.append(rng.choice(np.flatnonzero(np.isin(split.building, scenes)), size=size))
        return np.concatenate(rows)

    def order(self, split: Demonstrations) -> np.ndarray:
        """Episodes of a scene follow one another."""
        return np.argsort(split.building, kind="stable")

    def reached(self, split: Demonstrations, rows: np.ndarray, paths: Walks) -> np.ndarray:
        """By R2R-CE's rules: STOP was chosen strictly nearer than 3 m to the goal."""
        ends = paths.position[np.arange(len(paths)), paths.length - 1]
        metres = self.homes.geodesic_distance(paths.scene.astype(int), ends, split.goal[rows])
        return (metres < SUCCESS_METRES) & (paths.length < self.step_limit)

    def score(self, split: Demonstrations, paths: Walks) -> dict[str, np.ndarray]:
        walked = [paths.position[row, : int(count)] for row, count in enumerate(paths.length)]
        expert: Walks = split.paths
        reference = [
            expert.position[row, : int(expert.length[row])]
            if episode.locations is None
            else np.array(episode.locations, np.float32)
            for row, episode in enumerate(split.episodes)
        ]
        return score_walks(
            self.homes, paths.scene.astype(np.int64), walked, reference, expert.position[:, 0],
            split.goal, paths.length == self.step_limit,
        )  # fmt: skip

    def controls(self, split: Demonstrations, seed: int) -> dict[str, Walks]:
        """The expert is the one that demonstrates."""
        return {
            "straight": self.walk(split, straight),
            "random": self.walk(split, random_walk(seed)),
            "expert": split.paths,
        }

    def walk(self, split: Demonstrations, choose: Choose) -> Walks:
        """Walks of an agent that neither reads nor sees: `choose(step, count)` gives the
        actions."""
        count, limit = len(split), self.step_limit
        done = Walks.zeros(count, limit, split.paths.tokens.shape[1])
        scene = split.paths.scene.astype(np.int64)
        poses = Poses(split.paths.position[:, 0].copy(), split.paths.yaw[:, 0].copy())
        rows = np.arange(count)
        for step in range(limit):
            action = choose(step, count)[rows]
            if step == limit - 1:
                action = np.zeros_like(action)
            here = Poses(poses.position[rows], poses.yaw[rows])
            after = self.homes.step(scene[rows], here, action).poses
            done.position[rows, step], done.yaw[rows, step] = here
            done.action[rows, step] = action
            motion = self.simulation.motion
            done.moved[rows, step] = share_moved(here.position, after.position, motion)
            done.length[rows] = step + 1
            poses.position[rows], poses.yaw[rows] = after
            rows = rows[action != Action.STOP]
            if not rows.size:
                break
        return Walks(**{**done.arrays(), "scene": split.paths.scene, "tokens": split.paths.tokens})

    def advice(self, split: Demonstrations, rows: np.ndarray, paths: Walks) -> None:
        """Not known: shortest ways are for the expert's whole walks alone."""

    def record(
        self, split: Demonstrations, values: dict[str, np.ndarray], rollout: Rollout[Walks]
    ) -> list[dict[str, Any]]:
        """Poses are where each action was taken, in habitat's axes."""
        lines, paths = [], rollout.paths
        for row, episode in enumerate(split.episodes):
            count, told = int(paths.length[row]), int(split.paths.length[row])
            lines.append(
                {
                    "episode_id": episode.episode_id, "scan": episode.scan, "scene": episode.scene,
                    "instruction": episode.instruction,
                    "positions": paths.position[row, :count].round(4).tolist(),
                    "yaws": paths.yaw[row, :count].round(5).tolist(),
                    "actions": paths.action[row, :count].tolist(),
                    "probability": [round(float(p), 4) for p in rollout.probability[row, :count]],
                    "expert": split.paths.position[row, :told].round(4).tolist(),
                    "goal": [round(float(x), 4) for x in split.goal[row]],
                    "success": bool(values["success"][row]),
                    "distance": round(float(values["navigation_error"][row]), 3),
                    "spl": round(float(values["spl"][row]), 4),
                    "forced_stop": count == self.step_limit,
                }
            )  # fmt: skip
        return lines

    def way(self, episode: Any) -> list[Any]:
        return list(episode.reference_path)

    def new_frame_store(self, capacity: int) -> FrameStore:
        return FrameStore(self.frame_file, capacity)

    def film(self, paths: Walks) -> list[np.ndarray]:
        """Rendered again from their poses."""
        walks = []
        for row in range(len(paths)):
            steps = slice(0, int(paths.length[row]))
            walks.append(
                Walk(
                    paths.position[row, steps], paths.yaw[row, steps], paths.action[row, steps],
                    paths.moved[row, steps],
                )
            )  # fmt: skip
        return film(self.images, walks, paths.scene.astype(int))


def straight(step: int, count: int) -> np.ndarray:
    """Walk `STRAIGHT` steps on, then stop."""
    return np.full(count, Action.MOVE_FORWARD if step < STRAIGHT else Action.STOP, np.int64)


def random_walk(seed: int) -> Choose:
    """Actions with the chances `RANDOM`."""
    rng = np.random.default_rng(seed)
    return lambda step, count: rng.choice(len(RANDOM), size=count, p=RANDOM)
