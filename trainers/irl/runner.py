"""The roll-out worker: an RLlib `EnvRunner` that steps batched simulators natively.

RLlib's own runner spends about half its time in connector pipelines, one environment at a time
(the README has the figures); ours keeps RLlib's actor management and returns plain arrays.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env.env_runner import EnvRunner

from envs.simulators.process import SimulatorDied
from rayforge.irl.labelling import Labels, label_paths
from rayforge.irl.rollout import Rollout, follow_goals, join_rollouts
from rayforge.paths.arrays import Padded
from trainers.irl.learner import AgentModule, read_only_arrays


@dataclass(frozen=True)
class Chunk:
    """A fixed set of episodes: the unit of work, of randomness and of repetition.

    Whoever rolls a chunk out gets the same episodes; a chunk lost with its worker is given to
    another one.
    """

    first: int  # number of its first episode; the others follow
    seed: int
    demonstrations: Padded  # their first states and instructions say what to do
    names: tuple[str, ...]  # "building B, episode E" of each, for messages
    sample: bool  # sample actions, or take the best
    rephrase: np.ndarray  # bool [B]: follow a paraphrase of the instruction instead
    label: bool  # write an instruction for each path rolled out


@dataclass(frozen=True)
class ChunkResult:
    first: int
    numbers: np.ndarray  # int64 [B], numbers of the episodes that ended well
    rows: np.ndarray  # int64 [B], their rows in the chunk
    rollout: Rollout[Any] | None
    rephrased: np.ndarray  # bool, of the rows that asked for a paraphrase: which got one
    labels: Labels | None  # of the paths rolled out
    # Of each in 3-D scenes, uint8 [T, H, W, C]; for learners elsewhere, where Ray has them.
    images: tuple[np.ndarray | ray.ObjectRef, ...] | None
    failures: tuple[str, ...]  # a message for each that did not


class PathRunner(EnvRunner):
    """Owns the agents of one world, one policy and one goal generator."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if self.worker_index:
            torch.set_num_threads(1)  # actors share the machine's cores
            # RLlib's deprecation lines, of its own code, would come into every job's log.
            logging.getLogger("ray").setLevel(logging.ERROR)
        # As the learner does.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.world = config.world.get()
        spec = config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module: AgentModule = spec.build()[DEFAULT_MODULE_ID].unwrapped()
        self.agent = self.module.agent
        with read_only_arrays():
            self.agent.attach(self.world.observer())
        self.agents = self.world.agents(self.agent.observer)
        self.module.eval()
        self._weights_number = -1

    def sample(
        self, *, chunks: list[Chunk], weights: dict[str, Any] | None = None, number: int = 0
    ) -> list[ChunkResult]:
        """Roll chunks out under the weights of that number (taken over unless held already)."""
        if weights is not None and number != self._weights_number:
            self.set_state({COMPONENT_RL_MODULE: weights})
            self._weights_number = number
        return [self._sample(chunk) for chunk in chunks]

    def holds(self, number: int) -> bool:
        """Whether it has the weights of that number."""
        return number == self._weights_number

    def _sample(self, chunk: Chunk) -> ChunkResult:
        asked, rephrased = self._asked(chunk)
        draws = None
        if chunk.sample:
            shape = (len(asked), self.agents.max_steps)
            draws = np.random.default_rng(chunk.seed).random(shape, np.float32)
        failures: list[str] = []
        parts = self._roll_out(chunk, asked, draws, np.arange(len(asked)), failures)
        if not parts:
            none = np.zeros(0, np.int64)
            return ChunkResult(
                chunk.first, none, none, None, rephrased, None, None, tuple(failures)
            )
        rows = np.concatenate([part for part, _ in parts])
        rollout = join_rollouts([done for _, done in parts])
        labels = None
        if chunk.label:
            paths, seed = rollout.paths, chunk.seed + 1
            labels = label_paths(self.agent, self.world, paths, seed, rephrase=False)
        return ChunkResult(
            chunk.first, chunk.first + rows, rows, rollout, rephrased, labels,
            self._images(rollout.paths) if chunk.sample else None, tuple(failures),
        )  # fmt: skip

    def _images(self, paths: Padded) -> tuple[np.ndarray | ray.ObjectRef, ...] | None:
        """What was seen: for learners in other processes a reference, so that images go to them
        from here and not through the driver."""
        images: tuple[np.ndarray, ...] | None = self.agents.images(paths)
        if images is None or not self.config.irl.learners:
            return images
        return tuple(ray.put(walk) for walk in images)

    def _asked(self, chunk: Chunk) -> tuple[Padded, np.ndarray]:
        """What the chunk asks for, with a paraphrase where it wants one and a good one was found;
        and where it was, of the rows that want one."""
        told, limit = chunk.demonstrations, self.config.irl.max_words
        if not chunk.rephrase.any():
            return told, np.zeros(0, bool)
        rows = np.flatnonzero(chunk.rephrase)
        labels = label_paths(self.agent, self.world, told[rows], chunk.seed, rephrase=True)
        tokens = np.zeros((len(told), limit), np.int16)
        tokens[:, : told.tokens.shape[1]] = told.tokens
        tokens[rows[labels.kept]] = labels.tokens[labels.kept]
        return told.with_tokens(tokens), labels.kept

    def _roll_out(
        self,
        chunk: Chunk,
        asked: Padded,
        draws: np.ndarray | None,
        rows: np.ndarray,
        failures: list[str],
    ) -> list[tuple[np.ndarray, Rollout[Any]]]:
        """Rows of a chunk and what they did; those that raise are left out and named in `failures`.

        Where something raises, the rows are halved until what raises is alone: every row has its
        own random numbers, so the others do what they would have done. Where a simulator's process
        ended, it is started again and everything repeated once before that.
        """
        drawn = None if draws is None else draws[rows]
        goals: Any = asked[rows]
        try:
            try:
                done = follow_goals(self.agent.policy, self.agents, goals, drawn)
            except SimulatorDied as error:
                there = np.isin(goals.scene, self.agents.homes.restart(error.scene))
                names = [chunk.names[int(row)] for row in rows[there]]
                also = f" and {len(names) - 3} others" if len(names) > 3 else ""
                print(f"{error} in {'; '.join(names[:3])}{also}; it is started again", flush=True)
                done = follow_goals(self.agent.policy, self.agents, goals, drawn)
        except Exception as error:
            if isinstance(error, SimulatorDied):
                self.agents.homes.restart(error.scene)
            if len(rows) == 1:
                place = chunk.names[int(rows[0])]
                failures.append(f"{place}: {type(error).__name__}: {error}")
                return []
            half = len(rows) // 2
            return self._roll_out(chunk, asked, draws, rows[:half], failures) + self._roll_out(
                chunk, asked, draws, rows[half:], failures
            )
        return [(rows, done)]

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        # Networks read integer states through the observer, whatever the number of neighbours;
        # RLlib asks for spaces all the same.
        spaces = (self.config.observation_space, self.config.action_space)
        return {"__env__": spaces, DEFAULT_MODULE_ID: spaces}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: self.module.get_state()}}

    def set_state(self, state: dict[str, Any]) -> None:
        modules = state.get(COMPONENT_RL_MODULE)
        if isinstance(modules, ray.ObjectRef):
            modules = ray.get(modules)
        if modules:
            self.module.set_state(modules[DEFAULT_MODULE_ID])
            self._weights_number = -1  # these may be any; `sample` says which it took over

    def assert_healthy(self) -> None:
        assert self.module is not None, "the runner has no module: its construction failed"

    def get_metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = self.metrics.reduce()
        return found
