"""A `rayforge.irl.world.World` of one's own Gymnasium environment with few discrete actions.

The environment is made again from the seed of its reset, so a trajectory holds the seed and what
was seen, as small integers. An instruction is followed where the environment gives a positive
reward. Examples: examples/train_on_your_environment.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from envs.episodes.episode import Episode
from rayforge.errors import DataError
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.irl.rollout import Rollout
from rayforge.language.vocabulary import Vocabulary
from rayforge.paths.arrays import Padded
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation

Expert = Callable[[gym.Env[Any, Any]], Callable[[], int]]
"""Gives, for an environment that was reset, what chooses each of its actions."""


@dataclass(frozen=True)
class Steps(Padded):
    """Trajectories in a Gymnasium environment. A subclass says how many numbers are seen:

        class Grid(Steps):
            width = 147

    Actions: 0 = STOP, 1 + k = the environment's action number k of `GymWorld.actions`.
    """

    width: ClassVar[int] = 0
    seed: np.ndarray  # int64 [B], of the reset
    won: np.ndarray  # int8 [B], 1 where the environment gave a positive reward
    seen: np.ndarray  # uint8 [B, T, width], before each action
    ended: np.ndarray  # int8 [B, T], 1 where the environment had ended: STOP is all that is left
    action: np.ndarray  # int8 [B, T]
    length: np.ndarray  # int16 [B]
    tokens: np.ndarray  # int16 [B, N]

    @classmethod
    def zeros(cls, count: int, steps: int, words: int) -> Self:
        """Room for `count` trajectories."""
        return cls(
            np.zeros(count, np.int64), np.zeros(count, np.int8),
            np.zeros((count, steps, cls.width), np.uint8), np.zeros((count, steps), np.int8),
            np.zeros((count, steps), np.int8), np.zeros(count, np.int16),
            np.zeros((count, words), np.int16),
        )  # fmt: skip


class StepObserver(nn.Module):
    """Turns what was seen into one-hot codes; holds no parameters.

    An action's geometry is a code of its number alone: sin and cos of its place on a circle and of
    twice that, its share of the circle, and 1 for STOP.
    """

    offsets: Tensor
    geometry: Tensor

    def __init__(self, values: Sequence[int], actions: int, max_steps: int) -> None:
        """`values`: how many values each number that is seen takes."""
        super().__init__()
        self.max_steps, self.actions = max_steps, actions
        self.dimension = -(-sum(values) // SECTORS)
        self.register_buffer("offsets", torch.tensor([0, *np.cumsum(values)[:-1]]), False)
        share = torch.arange(actions + 1) / (actions + 1)
        turn = 2 * np.pi * share
        codes = [turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos(), share]
        geometry = torch.stack([*codes, torch.zeros(actions + 1)], 1)
        geometry[0] = torch.eye(GEOMETRY)[-1]
        self.register_buffer("geometry", geometry, False)

    def forward(
        self, seen: Tensor, ended: Tensor, step: Tensor, valid: Tensor, before: Tensor
    ) -> Observation:
        """States [B, T] by what is seen [B, T, width], the number of the step, which of them are
        real, and the action taken before (0 at the start)."""
        batch, steps = step.shape
        state = torch.zeros(batch * steps, SECTORS * self.dimension, device=seen.device)
        state.scatter_(1, (seen + self.offsets).flatten(0, 1), 1.0)
        moves = valid & (ended == 0) & (step < self.max_steps - 1)
        legal = moves[..., None].repeat(1, 1, self.actions + 1)
        legal[..., 0] = valid
        place = legal.flatten().nonzero().squeeze(1)
        own = self.geometry.index_select(0, place % (self.actions + 1))
        candidates = torch.cat([own.new_zeros(len(place), self.dimension), own], 1)
        legal[..., 0] = True
        arrival = self.geometry[before] * (before > 0)[..., None]
        return Observation(state.view(batch, steps, -1), arrival, candidates, place, legal)

    def observe_batch(
        self, batch: dict[str, Tensor], image_encoder: nn.Module | None
    ) -> Observation:
        """What is seen along the trajectories of a batch, the columns of `Steps`."""
        action = batch["action"]
        step = torch.arange(action.shape[1], device=action.device).expand_as(action)
        before = nn.functional.pad(action[:, :-1], (1, 0))
        valid = step < batch["length"][:, None]
        found: Observation = self(batch["seen"], batch["ended"], step, valid, before)
        return found


class GymAgents:
    """An environment for each of B agents, as `rayforge.irl.rollout.follow_goals` moves them."""

    def __init__(self, world: GymWorld, observer: StepObserver) -> None:
        self.world, self.observer, self.max_steps = world, observer, world.step_limit
        self.envs: list[gym.Env[Any, Any]] = []

    def start(self, goals: Steps) -> None:
        while len(self.envs) < len(goals):
            self.envs.append(self.world.make())
        self._paths = self.world.kind.zeros(len(goals), self.max_steps, 1)
        self._paths.seed[:] = goals.seed
        resets = [self.envs[row].reset(seed=int(seed))[0] for row, seed in enumerate(goals.seed)]
        self._seen = np.stack([self.world.see(observation) for observation in resets])
        self._ended = np.zeros(len(goals), np.int8)
        self._before = np.zeros(len(goals), np.int64)

    def observe(self, policy: Policy, rows: np.ndarray, step: int) -> Observation:
        self._paths.seen[rows, step], self._paths.ended[rows, step] = (
            self._seen[rows], self._ended[rows]
        )  # fmt: skip
        at = torch.full((len(rows), 1), step)
        found: Observation = self.observer(
            torch.from_numpy(self._seen[rows]).long()[:, None],
            torch.from_numpy(self._ended[rows])[:, None],
            at, torch.ones_like(at, dtype=torch.bool),
            torch.from_numpy(self._before[rows])[:, None],
        )  # fmt: skip
        return found

    def act(self, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
        for row, action in zip(rows.tolist(), actions.tolist(), strict=True):
            if action:
                seen, reward, over, cut, _ = self.envs[row].step(self.world.actions[action - 1])
                self._seen[row], self._ended[row] = self.world.see(seen), over or cut
                self._paths.won[row] |= float(reward) > 0
        self._before[rows] = actions
        found: np.ndarray = actions != 0
        return found

    def paths(self, action: np.ndarray, length: np.ndarray, tokens: np.ndarray) -> Steps:
        return type(self._paths)(
            **{**self._paths.arrays(), "action": action, "length": length, "tokens": tokens}
        )

    def images(self, paths: Steps) -> None:
        return None


@dataclass(frozen=True)
class GymWorld:
    """`World` says what the methods do."""

    make: Callable[[], gym.Env[Any, Any]]
    """Makes the environment; the same seed of `reset` always gives the same episode."""
    see: Callable[[Any], np.ndarray]
    """What is seen in an observation, uint8 [kind.width]."""
    values: tuple[int, ...]
    """How many values each of these numbers takes."""
    actions: tuple[int, ...]
    """The environment's actions that an agent may take."""
    step_limit: int
    """Actions of an episode at most, the last of which can only be STOP."""
    kind: type[Steps]
    """Its trajectories: a subclass of `Steps` with the width of what is seen."""
    objects: tuple[str, ...] = ()
    together: ClassVar[int] = 64
    identity: ClassVar[tuple[str, ...]] = ()

    @property
    def dimension(self) -> int:
        return self.observer().dimension

    def observer(self, frames: Any = None) -> StepObserver:
        return StepObserver(self.values, len(self.actions), self.step_limit)

    def agents(self, observer: StepObserver, keep: bool = True) -> GymAgents:
        return GymAgents(self, observer)

    def other_ways(self, paths: Steps, count: int, rng: np.random.Generator) -> None:
        """None: an environment of its own kind knows of no other ways."""

    def batch(self, split: Demonstrations, size: int, seed: int, number: int) -> np.ndarray:
        return batch_rows(split.words, size, seed, number)

    def draw(
        self, split: Demonstrations, rng: np.random.Generator, count: int, chunk: int
    ) -> np.ndarray:
        return rng.integers(len(split), size=count)

    def order(self, split: Demonstrations) -> np.ndarray:
        return np.arange(len(split))

    def reached(self, split: Demonstrations, rows: np.ndarray, paths: Steps) -> np.ndarray:
        found: np.ndarray = paths.won > 0
        return found

    def score(self, split: Demonstrations, paths: Steps) -> dict[str, np.ndarray]:
        """Success, SPL over actions in place of metres, length in actions, forced stops."""
        success = (paths.won > 0).astype(float)
        taken, wanted = paths.length - 1.0, split.paths.length - 1.0
        return {
            "success": success,
            "spl": success * wanted / np.maximum(np.maximum(taken, wanted), 1.0),
            "path_length": taken,
            "forced_stop": (paths.length == self.step_limit).astype(float),
        }

    def controls(self, split: Demonstrations, seed: int) -> dict[str, Steps]:
        return {"expert": split.paths}

    def advice(self, split: Demonstrations, rows: np.ndarray, paths: Steps) -> None:
        """None: the shortest way is not known."""

    def record(
        self, split: Demonstrations, values: dict[str, np.ndarray], rollout: Rollout[Steps]
    ) -> list[dict[str, Any]]:
        return [
            {"episode_id": e.episode_id, "scan": e.scan, "instruction": e.instruction,
             "actions": rollout.paths.action[row, : rollout.paths.length[row]].tolist(),
             "success": bool(values["success"][row]), "spl": float(values["spl"][row])}
            for row, e in enumerate(split.episodes)
        ]  # fmt: skip

    def way(self, episode: Episode) -> list[Any]:
        return list(episode.path)

    def new_frame_store(self, capacity: int) -> None:
        """What is seen is in the trajectories: there are no images elsewhere."""

    def film(self, paths: Steps) -> list[np.ndarray]:
        """None: see `new_frame_store`."""
        return []

    def demonstrate(self, seeds: Sequence[int], expert: Expert) -> Steps:
        """The expert's trajectories from the resets with these seeds, without those that it does
        not win within the step limit. Instructions are added by `with_instructions`.

        Raises DataError where it wins none, or takes an action that is none of `actions`.
        """
        env, parts = self.make(), []
        for seed in seeds:
            observation, _ = env.reset(seed=seed)
            path = self.kind.zeros(1, self.step_limit, 1)
            choose, step, ended = expert(env), 0, False
            while not ended and step < self.step_limit - 1:
                path.seen[0, step] = self.see(observation)
                action = int(choose())
                if action not in self.actions:
                    raise DataError(
                        f"the expert takes action {action}, and the world knows {self.actions}: "
                        "name it too"
                    )
                observation, reward, over, cut, _ = env.step(action)
                path.action[0, step] = 1 + self.actions.index(action)
                step, ended = step + 1, over or cut
                path.won[0] |= float(reward) > 0
            path.seen[0, step], path.ended[0, step] = self.see(observation), ended
            path.seed[0], path.length[0] = seed, step + 1
            parts += [path] if path.won[0] else []
        if not parts:
            raise DataError(
                f"the expert wins none of {len(seeds)} episodes within {self.step_limit} actions: "
                "allow more, or mend the expert"
            )
        columns = {name: [part.arrays()[name] for part in parts] for name in parts[0].arrays()}
        return self.kind(**{name: np.concatenate(column) for name, column in columns.items()})


def with_instructions(
    paths: Steps, instructions: Sequence[str], vocabulary: Vocabulary, max_words: int
) -> Demonstrations:
    """Trajectories, each with its instruction, as demonstrations to train on or to score by."""
    tokens, cut = vocabulary.encode(list(instructions), max_words)
    names = [str(seed) for seed in paths.seed]
    episodes = tuple(
        Episode(name, name, "environment", (name, "end"), 0.0, text)
        for name, text in zip(names, instructions, strict=True)
    )
    route = np.unique(np.array(instructions), return_inverse=True)[1]
    none = np.zeros(len(paths), np.int64)
    return Demonstrations(episodes, paths.with_tokens(tokens), none, cut, none, route)
