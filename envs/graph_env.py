"""Gymnasium environments over the graph simulator: `rayforge/GraphGoal-v0`, single and vectorised.

Importing this module registers them::

    import gymnasium as gym
    import envs.graph_env

    data = read_navigation_data(folder, splits=["train"])
    env = gym.make("rayforge/GraphGoal-v0", data=data, split="train", encode=encode)
    env = gym.make_vec("rayforge/GraphGoal-v0", num_envs=64, data=data, split="train",
                       encode=encode, vectorization_mode="vector_entry_point")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.episodes.episode import DataError, Episode
from envs.graph.buildings import HEADING_BINS, heading_bin
from envs.graph.navigation_data import NavigationData
from envs.graph.simulator import STOP, GraphSimulator

SUCCESS_DISTANCE = 3.0  # metres, strict: R2R's rule
SECTORS = 4
GEOMETRY = 5
FEATURE_BOUND = float(np.finfo(np.float16).max)

Observation = dict[str, np.ndarray]
Encode = Callable[[str], np.ndarray]


class GraphGoalTask:
    """B language goals at once: what both environments share.

    Observations, with D features a view and K neighbours at most (all per row of the batch):

    - ``sectors`` float32 [4, D]: the surroundings ahead, right, behind, left of the agent.
    - ``candidates`` float32 [K + 1, D + 5]: row 0, STOP, is zero; row 1 + k is the neighbour in
      slot k: its features, sin and cos of its heading relative to the agent's, sin and cos of its
      elevation, its distance in tens of metres. Rows that `mask` forbids are zero.
    - ``mask`` int8 [K + 1]: the legal actions.
    - ``tokens`` int64 [`text_length`]: ``encode(instruction)``.

    Actions: 0 stops, 1 + k goes to slot k. An action that `mask` forbids leaves the agent where it
    is and costs a step; instead of the last step, it is the stop. Reward (sparse, for users of the
    plain environments; the trainers learn their own): 1 for a stop strictly nearer than 3 m to the
    goal along the graph, else 0. Stopping terminates the episode; nothing truncates it, since the
    step limit is part of the task: the last action is a forced stop, scored like any other.

    Info: ``episode_id``, ``building`` (both of the current episode), ``distance`` (metres to the
    goal along the graph), and after a step ``success``, ``forced_stop`` and ``illegal``.
    """

    def __init__(
        self, data: NavigationData, split: str, encode: Encode, max_steps: int, text_length: int
    ) -> None:
        if split not in data.splits:
            raise DataError(
                f"{data.folder}: split {split!r} was not read; it has {', '.join(data.splits)}"
            )
        self.data = data
        self.episodes = data.splits[split]
        self.encode = encode
        self.text_length = text_length
        self.simulator = GraphSimulator(data.buildings, max_steps)
        self.dimension = data.tables.dimension
        index = data.buildings.index
        self._start = np.array([index(e.scan, e.path[0]) for e in self.episodes], np.int32)
        self._goal = np.array([index(e.scan, e.path[-1]) for e in self.episodes], np.int32)
        self._heading = heading_bin(np.array([e.heading for e in self.episodes]))
        self._ids = np.array([episode.episode_id for episode in self.episodes], object)
        self._scans = np.array([episode.scan for episode in self.episodes], object)
        self._places = {episode.episode_id: k for k, episode in enumerate(self.episodes)}
        self.current = np.zeros(0, np.int64)
        self.tokens = np.zeros((0, text_length), np.int64)

        actions, dimension = self.simulator.actions, self.dimension
        self.action_space: spaces.Discrete[np.int64] = spaces.Discrete(actions)
        self.observation_space = spaces.Dict(
            {
                "sectors": _box((SECTORS, dimension)),
                "candidates": _box((actions, dimension + GEOMETRY)),
                "mask": spaces.MultiBinary(actions),
                "tokens": spaces.Box(0, np.iinfo(np.int32).max, (text_length,), np.int64),
            }
        )

    def place(self, episode_id: str) -> int:
        """Index of an episode in the split.

        Raises:
            DataError: no such episode.
        """
        if episode_id not in self._places:
            raise DataError(f"episode {episode_id!r} is not among the split's {len(self._places)}")
        return self._places[episode_id]

    def start_all(self, episodes: np.ndarray) -> None:
        """Start the batch anew on these episodes (indices, int [B])."""
        self.current = np.array(episodes, np.int64)
        self.tokens = np.zeros((len(episodes), self.text_length), np.int64)
        self.simulator.reset(self._start[episodes], self._heading[episodes])
        self._encode(np.arange(len(episodes)))

    def start(self, rows: np.ndarray, episodes: np.ndarray) -> None:
        """Start `rows` (int [n]) anew on these episodes (indices, int [n])."""
        self.current[rows] = episodes
        self.simulator.reset(self._start[episodes], self._heading[episodes], rows)
        self._encode(rows)

    def _encode(self, rows: np.ndarray) -> None:
        for row in rows:
            episode: Episode = self.episodes[self.current[row]]
            tokens = np.asarray(self.encode(episode.instruction))
            if tokens.shape != (self.text_length,) or not np.issubdtype(tokens.dtype, np.integer):
                raise ValueError(
                    f"building {episode.scan}, episode {episode.episode_id}: encode gave"
                    f" {tokens.dtype} {tokens.shape}; expected integers [{self.text_length}]"
                    " (see text_length)"
                )
            self.tokens[row] = tokens

    def distance(self) -> np.ndarray:
        """Geodesic metres to the goal, float64 [B]."""
        goal = self._goal[self.current]
        return self.data.buildings.distance(self.simulator.viewpoint, goal).astype(np.float64)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Act, int [B]; returns the reward, float64 [B], and the step's infos, [B] each."""
        simulator = self.simulator
        active = ~simulator.done
        last = active & (simulator.steps == simulator.max_steps - 1)
        illegal = active & ((action < 0) | (action >= simulator.legal_count()))
        waiting = illegal & ~last
        simulator.step(np.where(illegal, STOP, action), waiting)
        stopped = active & simulator.done
        success = stopped & (self.distance() < SUCCESS_DISTANCE)
        return success.astype(np.float64), {
            "success": success,
            "forced_stop": stopped & last,
            "illegal": illegal,
        }

    def infos(self) -> dict[str, np.ndarray]:
        """What is known of the current episodes, [B] each."""
        return {
            "episode_id": self._ids[self.current],
            "building": self._scans[self.current],
            "distance": self.distance(),
        }

    def observe(self) -> Observation:
        """The observations above with a leading batch axis."""
        simulator, tables = self.simulator, self.data.tables
        viewpoint, facing = simulator.viewpoint, simulator.heading_bin
        turn = np.arange(SECTORS) * (HEADING_BINS // SECTORS)
        sectors = tables.sectors[viewpoint[:, None], (facing[:, None] + turn) % HEADING_BINS]
        mask = simulator.legal()
        row, action = np.nonzero(mask[:, 1:])
        at = viewpoint[row]
        relative = tables.heading[at, action] - facing[row] * (2 * np.pi / HEADING_BINS)
        elevation = tables.elevation[at, action]
        candidates = np.zeros((*mask.shape, self.dimension + GEOMETRY), np.float32)
        candidates[row, action + 1, : self.dimension] = tables.towards[tables.edge[at, action]]
        candidates[row, action + 1, self.dimension :] = np.stack(
            [
                np.sin(relative),
                np.cos(relative),
                np.sin(elevation),
                np.cos(elevation),
                tables.length[at, action] / 10.0,
            ],
            axis=1,
        )
        return {
            "sectors": sectors.astype(np.float32),
            "candidates": candidates,
            "mask": mask.astype(np.int8),
            "tokens": self.tokens.copy(),
        }


class GraphGoalEnv(gym.Env[Observation, np.int64]):
    """One language goal in a navigation graph; `GraphGoalTask` says what is seen and rewarded.

    Each reset draws an episode of the split; ``reset(options={"episode_id": "123_0"})`` names one.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        data: NavigationData,
        split: str,
        encode: Encode,
        max_steps: int = 15,
        text_length: int = 80,
        render_mode: str | None = None,
    ) -> None:
        self.task = GraphGoalTask(data, split, encode, max_steps, text_length)
        self.action_space = self.task.action_space
        self.observation_space = self.task.observation_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Raises:
            DataError: ``options["episode_id"]`` is not in the split.
        """
        super().reset(seed=seed)
        episode_id = (options or {}).get("episode_id")
        if episode_id is None:
            episode = int(self.np_random.integers(len(self.task.episodes)))
        else:
            episode = self.task.place(episode_id)
        self.task.start_all(np.array([episode]))
        return self._observe(), _row(self.task.infos())

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act; see `GraphGoalTask`."""
        reward, infos = self.task.step(np.array([action]))
        terminated = bool(self.task.simulator.done[0])
        info = _row(self.task.infos() | infos)
        return self._observe(), float(reward[0]), terminated, False, info

    def _observe(self) -> Observation:
        return {name: value[0] for name, value in self.task.observe().items()}


class GraphGoalVectorEnv(VectorEnv[Observation, np.ndarray, np.ndarray]):
    """`num_envs` language goals stepped as one batch; `GraphGoalTask` says what is seen.

    Autoreset in Gymnasium's next-step mode: the step after a termination ignores that row's action
    and returns the first observation of its next episode with reward 0. Infos are arrays over the
    batch, each with its ``_name`` mask as in Gymnasium.
    ``reset(options={"episode_id": [...]})`` names the first episodes.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's own declaration)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        data: NavigationData,
        split: str,
        encode: Encode,
        num_envs: int = 1,
        max_steps: int = 15,
        text_length: int = 80,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; it must be at least 1")
        self.task = GraphGoalTask(data, split, encode, max_steps, text_length)
        self.num_envs = num_envs
        self.single_action_space = self.task.action_space
        self.single_observation_space = self.task.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start `num_envs` episodes.

        Raises:
            DataError: an id of ``options["episode_id"]`` is not in the split.
            ValueError: there are not `num_envs` of them.
        """
        super().reset(seed=seed)
        ids: Sequence[str] | None = (options or {}).get("episode_id")
        if ids is None:
            episodes = self.np_random.integers(len(self.task.episodes), size=self.num_envs)
        elif len(ids) == self.num_envs:
            episodes = np.array([self.task.place(episode_id) for episode_id in ids])
        else:
            raise ValueError(f"{len(ids)} episode ids for {self.num_envs} environments")
        self.task.start_all(episodes)
        return self.task.observe(), _masked(self.task.infos(), np.ones(self.num_envs, bool))

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act in the rows that go on, start the next episode in the finished ones."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {actions.shape}; expected ({self.num_envs},)")
        acting = ~self.task.simulator.done
        finished = np.flatnonzero(~acting)
        reward, infos = self.task.step(actions)
        if len(finished):
            episodes = self.np_random.integers(len(self.task.episodes), size=len(finished))
            self.task.start(finished, episodes)
        info = _masked(self.task.infos(), np.ones(self.num_envs, bool)) | _masked(infos, acting)
        terminated = self.task.simulator.done.copy()
        return self.task.observe(), reward, terminated, np.zeros_like(terminated), info


def _box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-FEATURE_BOUND, FEATURE_BOUND, shape, np.float32)


def _row(infos: dict[str, np.ndarray]) -> dict[str, Any]:
    """Row 0 as Python values."""
    return {name: values.tolist()[0] for name, values in infos.items()}


def _masked(infos: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    return infos | {f"_{name}": mask for name in infos}


gym.register(
    id="rayforge/GraphGoal-v0",
    entry_point="envs.graph_env:GraphGoalEnv",
    vector_entry_point="envs.graph_env:GraphGoalVectorEnv",
)
