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

from collections.abc import Callable

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.episodes.episode import Episode
from envs.goal_env import GoalEnv, GoalVectorEnv, Observation
from envs.graph.buildings import HEADING_BINS, heading_bin
from envs.graph.navigation_data import NavigationData
from envs.graph.simulator import STOP, GraphSimulator
from rayforge.errors import DataError

SUCCESS_DISTANCE = 3.0  # metres, strict: R2R's rule
SECTORS = 4
GEOMETRY = 5
FEATURE_BOUND = float(np.finfo(np.float16).max)

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

    def terminated(self) -> np.ndarray:
        """Rows that stopped, of their own or by force, bool [B]."""
        return self.simulator.done.copy()

    def truncated(self) -> np.ndarray:
        """None ever is, bool [B]: the step limit is part of the task."""
        return np.zeros(len(self.current), bool)

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

    def close(self) -> None:
        """Nothing is held."""


class GraphGoalEnv(GoalEnv):
    """One language goal in a navigation graph; `GraphGoalTask` says what is seen and rewarded."""

    def __init__(
        self,
        data: NavigationData,
        split: str,
        encode: Encode,
        max_steps: int = 15,
        text_length: int = 80,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(GraphGoalTask(data, split, encode, max_steps, text_length), render_mode)


class OnMap(gym.ObservationWrapper[Observation, np.int64, Observation]):
    """Says where on the map of its building an agent is, for agents that plan: adds ``viewpoint``
    (its number in the data's buildings) and ``heading`` (a bin of 30 degrees), int64 each."""

    def __init__(self, env: gym.Env[Observation, np.int64]) -> None:
        super().__init__(env)
        self.task: GraphGoalTask = env.unwrapped.task  # type: ignore[attr-defined]
        places = len(self.task.data.buildings.viewpoint_ids)
        self.observation_space = spaces.Dict(
            {
                **env.observation_space.spaces,  # type: ignore[attr-defined]
                "viewpoint": spaces.Box(0, places - 1, (), np.int64),
                "heading": spaces.Box(0, HEADING_BINS - 1, (), np.int64),
            }
        )

    def observation(self, observation: Observation) -> Observation:
        simulator = self.task.simulator
        return {
            **observation,
            "viewpoint": np.array(simulator.viewpoint[0], np.int64),
            "heading": np.array(simulator.heading_bin[0], np.int64),
        }


class GraphGoalVectorEnv(GoalVectorEnv):
    """`num_envs` of them, stepped as one batch."""

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
        task = GraphGoalTask(data, split, encode, max_steps, text_length)
        super().__init__(task, num_envs, render_mode)


def _box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-FEATURE_BOUND, FEATURE_BOUND, shape, np.float32)


gym.register(
    id="rayforge/GraphGoal-v0",
    entry_point="envs.graph_env:GraphGoalEnv",
    vector_entry_point="envs.graph_env:GraphGoalVectorEnv",
)
