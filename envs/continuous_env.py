"""Gymnasium environments in 3-D scenes: `rayforge/ContinuousGoal-v0`, single and vectorised.

Importing this module registers them::

    import gymnasium as gym
    import envs.continuous_env

    data = read_continuous_data(folder, split="train", simulator="embedded")
    env = gym.make("rayforge/ContinuousGoal-v0", data=data, encode=encode)
    env = gym.make_vec("rayforge/ContinuousGoal-v0", num_envs=32, data=data, encode=encode,
                       vectorization_mode="vector_entry_point")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.continuous.expert import Expert
from envs.continuous.homes import Homes
from envs.continuous.images import Images
from envs.continuous.walks import place_of, share_moved
from envs.episodes.continuous_episode import ContinuousEpisode
from envs.episodes.r2r_ce import check_scenes, read_r2r_ce_split
from envs.goal_env import GoalEnv, GoalVectorEnv, Observation
from envs.graph.navigation_data import SCENES
from envs.simulators.opening import Kind, open_simulator
from envs.simulators.simulator import Action, Poses, SimulatorConfig
from rayforge.errors import DataError
from rayforge.evaluation.metrics import SUCCESS_METRES

Encode = Callable[[str], np.ndarray]


@dataclass(frozen=True, eq=False)
class ContinuousData:
    """Episodes and the scenes they happen in, opened as they are needed."""

    episodes: tuple[ContinuousEpisode, ...] = field(repr=False)
    homes: Homes = field(repr=False)
    config: SimulatorConfig


def read_continuous_data(
    folder: Path,
    split: str,
    *,
    scenes: Path | None = None,
    simulator: Kind = "embedded",
    config: SimulatorConfig | None = None,
    skip_missing: bool = False,
    kept: int = 64,
) -> ContinuousData:
    """Read a split of R2R-CE's layout (`read_r2r_ce_split`), such as `rayforge houses` writes.

    Args:
        scenes: folder of the scene files; by default `scenes` in the data folder.
        config: camera, motion and body; by default their own.
        skip_missing: leave episodes out whose scene file is missing instead of raising.
        kept: scenes open at once.

    Raises:
        DataError: the split is not there or malformed, or scene files are missing (a list).
    """
    where = folder / SCENES if scenes is None else scenes
    config = SimulatorConfig() if config is None else config
    episodes = check_scenes(read_r2r_ce_split(folder, split), where, skip_missing=skip_missing)
    names = sorted({episode.scene for episode in episodes})
    opened = partial(open_simulator, kind=simulator, config=config)
    return ContinuousData(episodes, Homes(where, names, opened, kept), config)


class ContinuousGoalTask:
    """B language goals at once: what both environments share.

    Observations, for the sensors that the camera has (all per row of the batch):

    - ``rgb`` uint8 [H, W, 3];
    - ``depth`` float32 [H, W]: metres along the optical axis, 0 where nothing is hit;
    - ``semantic`` int32 [H, W]: ids of the scene's things, 0 where nothing is known; where the
      environment was made with ``categories``, the numbers (from 1) of their categories in it;
    - ``moved`` uint8 [1]: percent of a whole forward step that the last action moved the agent;
    - ``tokens`` int64 [`text_length`]: ``encode(instruction)``.

    Actions: 0 stop, 1 forward, 2 left, 3 right (`Motion` says how far). Reward (sparse, for users
    of the plain environments; the trainers learn their own): 1 for a stop strictly nearer than 3 m
    to the goal along the floor, else 0. Stopping terminates an episode, `max_steps` actions
    without a stop truncate it (R2R-CE: 500, and no success).

    Rows in the same scene share its simulator and one render call. Info: ``episode_id``,
    ``scene``, ``distance`` (metres to the goal along the floor), ``expert`` (the action of
    `Expert`, where the environment was made with ``expert=True``), and after a step ``success``
    and ``collided``.
    """

    def __init__(
        self,
        data: ContinuousData,
        encode: Encode,
        max_steps: int,
        text_length: int,
        expert: bool,
        categories: Sequence[str] = (),
    ) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps is {max_steps}; an episode has one action at least")
        self.data, self.encode = data, encode
        self.max_steps, self.text_length = max_steps, text_length
        self.homes, self.episodes = data.homes, data.episodes
        numbers = {scene: k for k, scene in enumerate(self.homes.scenes)}
        self._scene = np.array([numbers[e.scene] for e in self.episodes], np.int64)
        self._places = {e.episode_id: k for k, e in enumerate(self.episodes)}
        self._wants_expert = expert
        self._images = Images(data.homes, data.config.camera, categories) if categories else None
        self._expert: Expert | None = None
        camera = data.config.camera
        size = (camera.height, camera.width)
        known: dict[str, spaces.Space[Any]] = {}
        if camera.colour:
            known["rgb"] = spaces.Box(0, 255, (*size, 3), np.uint8)
        if camera.depth:
            known["depth"] = spaces.Box(0.0, np.inf, size, np.float32)
        if camera.semantic:
            known["semantic"] = spaces.Box(0, np.iinfo(np.int32).max, size, np.int32)
        known["moved"] = spaces.Box(0, 100, (1,), np.uint8)
        known["tokens"] = spaces.Box(0, np.iinfo(np.int32).max, (text_length,), np.int64)
        self.observation_space = spaces.Dict(known)
        self.action_space: spaces.Discrete[np.int64] = spaces.Discrete(len(Action))
        self._resize(0)

    def _resize(self, count: int) -> None:
        """A batch of `count` rows, none of which has an episode yet."""
        self.current = np.zeros(count, np.int64)
        self.scene = np.zeros(count, np.int64)
        self.poses = Poses(np.zeros((count, 3), np.float32), np.zeros(count, np.float32))
        self.goal = np.zeros((count, 3), np.float32)
        self.steps = np.zeros(count, np.int64)
        self.done = np.zeros(count, bool)
        self.moved = np.zeros(count, np.uint8)
        self.tokens = np.zeros((count, self.text_length), np.int64)
        self._paths: list[np.ndarray] = [np.zeros((1, 3), np.float32)] * count
        self._names = [""] * count

    def place(self, episode_id: str) -> int:
        """Index of an episode.

        Raises:
            DataError: no such episode.
        """
        if episode_id not in self._places:
            raise DataError(f"episode {episode_id!r} is not among the split's {len(self._places)}")
        return self._places[episode_id]

    def start_all(self, episodes: np.ndarray) -> None:
        """Start the batch anew on these episodes (indices, int [B]); raises what `start` does."""
        self._resize(len(episodes))
        self.start(np.arange(len(episodes)), episodes)

    def start(self, rows: np.ndarray, episodes: np.ndarray) -> None:
        """Start `rows` (int [n]) on these episodes (indices, int [n]).

        Raises:
            SceneError: a start or a goal is off the floor, or no walk leads from one to the other;
                names scene and episode.
        """
        for row, number in zip(rows, episodes, strict=True):
            episode, scene = self.episodes[number], int(self._scene[number])
            place = place_of(episode)
            points = np.array([episode.start, *episode.reference_path, episode.goal])
            floor = self.homes.on_floor(scene, points, place)
            self.current[row], self.scene[row] = number, scene
            self.poses.position[row], self.poses.yaw[row] = floor[0], episode.yaw
            self.goal[row] = floor[-1]
            self.steps[row], self.done[row], self.moved[row] = 0, False, 0
            self._paths[row], self._names[row] = floor[1:-1], place
            tokens = np.asarray(self.encode(episode.instruction))
            if tokens.shape != (self.text_length,) or not np.issubdtype(tokens.dtype, np.integer):
                raise ValueError(
                    f"{place}: encode gave {tokens.dtype} {tokens.shape}; expected integers "
                    f"[{self.text_length}] (see text_length)"
                )
            self.tokens[row] = tokens
        lost = rows[~np.isfinite(self.distance()[rows])]
        if lost.size:
            row = int(lost[0])
            raise DataError(
                f"{self._names[row]}: no walk leads from its start "
                f"{np.round(self.poses.position[row], 3).tolist()} to its goal "
                f"{np.round(self.goal[row], 3).tolist()}; leave the episode out"
            )
        if self._wants_expert:
            motion = self.data.config.motion
            headed = None if self._expert is None else self._expert.next
            expert = Expert(self.homes, motion, self.scene, self._paths, self._names)
            if headed is not None and len(headed) == len(expert.next):
                headed[rows] = 0
                expert.next = headed
            self._expert = expert

    def distance(self) -> np.ndarray:
        """Geodesic metres to the goal, float32 [B]."""
        return self.homes.geodesic_distance(self.scene, self.poses.position, self.goal)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Act in the rows that go on, int [B]; returns the reward, float64 [B], and infos."""
        self.done |= self.truncated()  # what was cut off rests until it starts anew
        chosen = np.where(self.done, int(Action.STOP), action).astype(np.int64)
        before = self.poses.position
        moved = self.homes.step(self.scene, self.poses, chosen)
        self.poses = moved.poses
        self.moved = share_moved(before, self.poses.position, self.data.config.motion)
        self.steps += ~self.done
        stopped = ~self.done & (chosen == Action.STOP)
        success = stopped & (self.distance() < SUCCESS_METRES)
        self.done |= stopped
        return success.astype(np.float64), {"success": success, "collided": moved.collided}

    def terminated(self) -> np.ndarray:
        """Rows that stopped, bool [B]."""
        return self.done.copy()

    def truncated(self) -> np.ndarray:
        """Rows that used up their actions without a stop, bool [B]."""
        return ~self.done & (self.steps >= self.max_steps)

    def infos(self) -> dict[str, np.ndarray]:
        """What is known of the current episodes, [B] each."""
        episodes = [self.episodes[number] for number in self.current]
        known = {
            "episode_id": np.array([e.episode_id for e in episodes], object),
            "scene": np.array([e.scene for e in episodes], object),
            "distance": self.distance(),
        }
        if self._expert is not None:
            known["expert"] = self._expert.actions(self.poses)
        return known

    def observe(self) -> Observation:
        """The observations above with a leading batch axis."""
        views = self.homes.render(self.scene, self.poses)
        things = views.semantic
        if things is not None and self._images is not None:
            things = self._images.category(self.scene, things).astype(np.int32)
        seen = {"rgb": views.colour, "depth": views.depth, "semantic": things}
        known = {name: image for name, image in seen.items() if image is not None}
        return {**known, "moved": self.moved[:, None].copy(), "tokens": self.tokens.copy()}

    def close(self) -> None:
        """Close the scenes."""
        self.homes.close()


class ContinuousGoalEnv(GoalEnv):
    """One language goal in a 3-D scene; `ContinuousGoalTask` says what is seen and rewarded."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own)

    def __init__(
        self,
        data: ContinuousData,
        encode: Encode,
        max_steps: int = 500,
        text_length: int = 80,
        expert: bool = False,
        categories: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        task = ContinuousGoalTask(data, encode, max_steps, text_length, expert, categories)
        super().__init__(task, render_mode)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The colour image uint8 [H, W, 3] of what the agent sees (`render_mode` "rgb_array")."""
        return None if self.render_mode is None else self._observe()["rgb"]


class ContinuousGoalVectorEnv(GoalVectorEnv):
    """`num_envs` of them, stepped as one batch."""

    def __init__(
        self,
        data: ContinuousData,
        encode: Encode,
        num_envs: int = 1,
        max_steps: int = 500,
        text_length: int = 80,
        expert: bool = False,
        categories: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        task = ContinuousGoalTask(data, encode, max_steps, text_length, expert, categories)
        super().__init__(task, num_envs, render_mode)


gym.register(
    id="rayforge/ContinuousGoal-v0",
    entry_point="envs.continuous_env:ContinuousGoalEnv",
    vector_entry_point="envs.continuous_env:ContinuousGoalVectorEnv",
)
