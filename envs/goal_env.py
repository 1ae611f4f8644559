"""What the Gymnasium environments of language goals share: one episode, or a batch of them.

A task (`envs.graph_env.GraphGoalTask`, `envs.continuous_env.ContinuousGoalTask`) steps B episodes
at once and says what is seen and rewarded; these classes are Gymnasium's side of it.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

Observation = dict[str, np.ndarray]


class GoalTask(Protocol):
    """B episodes that go on side by side."""

    @property
    def episodes(self) -> Sized: ...

    @property
    def action_space(self) -> spaces.Discrete[np.int64]: ...

    @property
    def observation_space(self) -> spaces.Dict: ...

    def place(self, episode_id: str) -> int:
        """Index of an episode; DataError where there is none of that id."""
        ...

    def start_all(self, episodes: np.ndarray) -> None:
        """Start a batch on these episodes (indices, int [B])."""
        ...

    def start(self, rows: np.ndarray, episodes: np.ndarray) -> None:
        """Start `rows` (int [n]) anew on these episodes (indices, int [n])."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Act, int [B]; the reward, float64 [B], and the step's infos. Ended rows rest."""
        ...

    def terminated(self) -> np.ndarray:
        """Rows whose episode has come to its end, bool [B]."""
        ...

    def truncated(self) -> np.ndarray:
        """Rows whose episode was cut off, bool [B]."""
        ...

    def infos(self) -> dict[str, np.ndarray]:
        """What is known of the current episodes, [B] each."""
        ...

    def observe(self) -> Observation:
        """Observations with a leading batch axis."""
        ...

    def close(self) -> None: ...


class GoalEnv(gym.Env[Observation, np.int64]):
    """One language goal; the task says what is seen and rewarded.

    Each reset draws an episode; ``reset(options={"episode_id": ...})`` names one.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, task: GoalTask, render_mode: str | None) -> None:
        self.task = task
        self.action_space = task.action_space
        self.observation_space = task.observation_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Raises:
            DataError: ``options["episode_id"]`` is not in the split, or its goal is out of reach.
            SceneError: in 3-D scenes, its start or goal is off the floor.
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
        """Act; the task says what the actions are."""
        reward, infos = self.task.step(np.array([action]))
        ended, cut = bool(self.task.terminated()[0]), bool(self.task.truncated()[0])
        return self._observe(), float(reward[0]), ended, cut, _row(self.task.infos() | infos)

    def close(self) -> None:
        self.task.close()

    def _observe(self) -> Observation:
        return {name: value[0] for name, value in self.task.observe().items()}


class GoalVectorEnv(VectorEnv[Observation, np.ndarray, np.ndarray]):
    """`num_envs` language goals stepped as one batch; the task says what is seen and rewarded.

    Autoreset in Gymnasium's next-step mode: the step after an end ignores that row's action and
    returns the first observation of its next episode with reward 0. Infos are arrays over the
    batch, each with its ``_name`` mask as in Gymnasium.
    ``reset(options={"episode_id": [...]})`` names the first episodes.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's own declaration)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, task: GoalTask, num_envs: int, render_mode: str | None) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; it must be at least 1")
        self.task = task
        self.num_envs = num_envs
        self.single_action_space = task.action_space
        self.single_observation_space = task.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.render_mode = render_mode
        self._ended = np.zeros(num_envs, bool)

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
        self._ended[:] = False
        return self.task.observe(), _masked(self.task.infos(), np.ones(self.num_envs, bool))

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act in the rows that go on, start the next episode in those that ended."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {actions.shape}; expected ({self.num_envs},)")
        again, going = np.flatnonzero(self._ended), ~self._ended
        reward, infos = self.task.step(actions)
        if again.size:
            episodes = self.np_random.integers(len(self.task.episodes), size=len(again))
            self.task.start(again, episodes)
        terminated, truncated = self.task.terminated(), self.task.truncated()
        self._ended = terminated | truncated
        info = _masked(self.task.infos(), np.ones(self.num_envs, bool)) | _masked(infos, going)
        return self.task.observe(), reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        self.task.close()


def _row(infos: dict[str, np.ndarray]) -> dict[str, Any]:
    """Row 0 as Python values."""
    return {name: values.tolist()[0] for name, values in infos.items()}


def _masked(infos: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    return infos | {f"_{name}": mask for name in infos}
