"""LangGoalIRL as an RLlib algorithm. `training_step` reads as the steps of docs/langgoal.md."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.pairs import Role, forced_pairs, join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import cosine
from rayforge.paths.arrays import Padded, join_paths
from rayforge.paths.sights import Sights
from trainers.irl.config import IRLConfig
from trainers.irl.dispatch import bring_back, hand_out
from trainers.irl.information import information_figures
from trainers.irl.learner import AgentLearner, AgentModule
from trainers.irl.loading import agent_sizes
from trainers.irl.runner import Chunk, ChunkResult, PathRunner
from trainers.irl.source import source_weights
from trainers.irl.task import Shared, Task

# At each start it tells users of RLlib which of its two ways to configure it is the default now.
logging.getLogger("ray.rllib.algorithms.algorithm_config").setLevel(logging.ERROR)

CHUNK = 64
"""Episodes a chunk: one forward pass of a runner."""


class LangGoalIRLConfig(AlgorithmConfig):
    """RLlib's side of the configuration; what is learnt and how is all in `irl`."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or LangGoalIRL)
        self.irl = IRLConfig()
        self.world = Shared()
        self.sizes: dict[str, Any] = {}
        self.env_runner_cls = PathRunner
        # Nothing but restarts is left to RLlib: `dispatch` hands lost chunks out again.
        self.restart_failed_env_runners = True
        self.delay_between_env_runner_restarts_s = 1.0
        self.num_learners = 0
        self.torch_skip_nan_gradients = True  # our learner looks for them itself
        self.observation_space: gym.Space[Any] = gym.spaces.Discrete(1)
        self.action_space: gym.Space[Any] = gym.spaces.Discrete(1)

    def for_task(self, config: IRLConfig, task: Task[Any]) -> LangGoalIRLConfig:
        """Everything a run of `config` on `task` needs."""
        self.irl = config
        self.world = Shared(task.world)
        self.sizes = sizes_of(config, task)
        own = {config.runner_resource: 1} if config.runner_resource else {}
        self.env_runners(num_env_runners=config.runners, custom_resources_per_env_runner=own)
        self.learners(num_gpus_per_learner=int(config.device == "cuda"))
        self.debugging(seed=config.seed, log_level="ERROR")
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=AgentModule, model_config=self.sizes)

    def get_default_learner_class(self) -> type[AgentLearner]:
        return AgentLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {}


class LangGoalIRL(Algorithm):
    """Adversarial inverse reinforcement learning with goal relabelling (Zhou & Small 2021), after.

    One call of `train` is a block of updates of one phase: the goal generator, then cloning, then
    roll-outs and adversarial updates. `counts` says how far each has come.
    """

    @classmethod
    def get_default_config(cls) -> LangGoalIRLConfig:
        return LangGoalIRLConfig()

    def start(self, task: Task[Any], fresh: bool = True) -> LangGoalIRL:
        """Take the demonstrations; they stay in this process. A `fresh` run also takes over what
        `start_from` or `reward_from` names; another one has it in its checkpoint."""
        irl = self.irl
        self.task = task
        self.train_split: Demonstrations = task.splits["train"]
        self.counts = {"generator": 0, "clone": 0, "irl": 0, "episodes": 0, "env_steps": 0}
        world = task.world
        # Images are large: of them no more are kept than updates draw from.
        capacity = min(irl.replay, irl.recent) if world.dimension is None else irl.replay
        sizes = (capacity, world.step_limit, irl.max_words, world.kind)
        self.told, self.relabelled = Replay(*sizes), Replay(*sizes)  # negatives, positives
        self.sights = world.new_sights(capacity)
        if self.sights is not None:
            self._learners(partial(_show, sights=self.sights))
        self.seconds_before = 0.0  # spent on what is taken over
        if fresh:
            self._take_over()
        return self

    def _take_over(self) -> None:
        """Networks of another run, and how far they have come there."""
        irl = self.irl
        if irl.reward_from:
            weights, _ = source_weights(irl)
            self._learners(partial(_take_reward, weights=weights))
        elif irl.start_from:
            weights, state = source_weights(irl)
            parts = {"generator": irl.generates, "policy": bool(irl.cloning_first)}
            wanted = tuple(name for name, needed in parts.items() if needed)
            self._learners(partial(_take_over, weights=weights, parts=wanted))
            for name, count in (("generator", "generator"), ("policy", "clone")):
                taken = parts[name] and not irl.start_anew
                self.counts[count] = state["counts"][count] if taken else 0
            self.seconds_before = 0.0 if irl.start_anew else state["elapsed"]

    @property
    def irl(self) -> IRLConfig:
        found: IRLConfig = self.config.irl
        return found

    @property
    def phase(self) -> str:
        irl = self.irl
        if irl.generates and self.counts["generator"] < irl.generator.updates:
            return "generator"
        if self.counts["clone"] < irl.cloning_first or not irl.rolls_out:
            return "clone"
        return "irl"

    @property
    def finished(self) -> bool:
        irl = self.irl
        if irl.rolls_out:
            return self.phase == "irl" and self.counts["irl"] >= irl.updates
        return self.counts["clone"] >= irl.clone_updates + irl.updates

    def training_step(self) -> None:
        irl = self.irl
        if self.phase == "generator":  # 0. p(G | tau) from the demonstrations alone
            return self._fit(Role.DESCRIBE, "generator", irl.generator.updates, irl.generator.batch)
        if self.phase == "clone":  # pi from the demonstrations: a warm start, or the baseline
            total = irl.cloning_first if irl.rolls_out else irl.clone_updates + irl.updates
            return self._fit(Role.CLONE, "clone", total, irl.batch)
        if irl.adversarial and irl.cloning_first and self.counts["irl"] == 0:
            self._learners(_start_from_policy)

        # a. Follow positive goals, some of them rephrased (c); b. describe what was done.
        expert = self._expert_rows(irl.episodes_per_iteration)
        results = self.roll_out(self.train_split, expert, sample=True, label=irl.labels)
        for result in results:
            if result.rollout is not None:
                paths = result.rollout.paths
                if self.sights is not None and result.images is not None:
                    paths = paths.with_sights(self.sights.keep(result.images))
                self.told.add(paths, result.numbers)
                if result.labels is not None:
                    good = result.labels.kept  # the others may describe another path
                    described = paths[good].with_tokens(result.labels.tokens[good])
                    self.relabelled.add(described, result.numbers[good])
        # d., e. Discriminator, critics, policy and temperature (of other methods than LangGoalIRL:
        # what they have of these, see `pairs`), on one batch at a time.
        rate = cosine(irl.policy_learning_rate, self.counts["irl"], irl.updates)
        self._learners(partial(_set_rate, name="policy", rate=rate))
        if irl.method == "forcing":
            return self._force(expert, results)
        goals = self._rephrased(expert, results)
        for _ in range(min(irl.updates_per_iteration, irl.updates - self.counts["irl"])):
            self._update(*self._pairs(goals))
            self.counts["irl"] += 1
        return None

    def show_again(self) -> None:
        """Render what was seen along the stored roll-outs: checkpoints hold poses, not images."""
        if self.sights is None or not len(self.told):
            return
        stored = np.arange(len(self.told))  # restored: the oldest first, as they were kept
        numbers = self.sights.keep(self.task.world.film(self.told.paths[stored]))
        self.told.paths.sights[stored] = numbers
        # The same walks where their sentences were good enough; both are in order of episodes.
        labelled = np.arange(len(self.relabelled))
        place = np.searchsorted(self.told.serial[stored], self.relabelled.serial[labelled])
        self.relabelled.paths.sights[labelled] = numbers[place]

    def _rephrased(self, expert: np.ndarray, results: list[ChunkResult]) -> Padded:
        """Expert paths, each with the sentence its roll-out was told: the goals of this round."""
        parts = []
        for result in results:
            if result.rollout is not None:
                rows = expert[result.first - results[0].first + result.rows]
                told = result.rollout.paths.tokens
                parts.append(self.train_split.paths[rows].with_tokens(told))
        found: Padded = join_paths(parts)
        return found

    def _pairs(self, goals: Padded) -> tuple[Padded, np.ndarray]:
        """The paths of one update and the role of each. During the warm-up the cloning term alone
        moves the policy."""
        irl, done = self.irl, self.counts["irl"]
        parts = pairs_of_update(
            irl, self.train_split, self.told, self.relabelled, goals,
            done >= irl.warm_up, self._rng("batch", done),
        )  # fmt: skip
        return join_parts(parts)

    def _force(self, expert: np.ndarray, results: list[ChunkResult]) -> None:
        """Updates by shortest-path labels in the states of this round's roll-outs."""
        irl = self.irl
        done = [(r.rollout.paths, expert[r.first - results[0].first + r.rows])
                for r in results if r.rollout is not None]  # fmt: skip
        paths = join_paths([part for part, _ in done])
        rows = np.concatenate([rows for _, rows in done])
        advice = self.task.world.advice(self.train_split, rows, paths)
        assert advice is not None, "a configuration allows forcing in graphs alone"
        for _ in range(min(irl.updates_per_iteration, irl.updates - self.counts["irl"])):
            rng = self._rng("batch", self.counts["irl"])
            both, target = forced_pairs(irl, self.train_split, paths, advice, rng)
            self._update(both, np.full(len(both), int(Role.CLONE)), target=target)
            self.counts["irl"] += 1

    def _fit(self, role: Role, count: str, total: int, size: int) -> None:
        """Updates of supervised learning from demonstrations."""
        irl = self.irl
        rate = irl.learning_rate if role is Role.CLONE else irl.generator.learning_rate
        name = "policy" if role is Role.CLONE else "generator"
        stop = min(total, self.counts[count] + irl.updates_per_iteration)
        self._learners(partial(_set_rate, name=name, rate=cosine(rate, self.counts[count], total)))
        while self.counts[count] < stop:
            rows = self.task.world.batch(self.train_split, size, irl.seed, self.counts[count])
            progress = self.counts[count] / max(1.0, irl.generator.kl_ramp * total)
            weight = irl.generator.kl_weight * min(1.0, progress)
            self._update(self.train_split.paths[rows], np.full(len(rows), int(role)), weight)
            self.counts[count] += 1

    def _update(
        self, paths: Padded, role: np.ndarray, kl_weight: float = 0.0,
        target: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """One update; `target` [B, T]: what to imitate, where that is not what was done."""
        columns = pair_batch(paths, role, target)
        columns["kl_weight"] = np.full(len(role), kl_weight, np.float32)
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, len(role))
        results = self.learner_group.update(batch=batch)
        self.metrics.aggregate(results, key="learners")

    def _expert_rows(self, count: int) -> np.ndarray:
        rng = self._rng("goals", self.counts["irl"])
        found: np.ndarray = self.task.world.draw(self.train_split, rng, count, CHUNK)
        return found

    def _rng(self, purpose: str, number: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the place in the run alone, so that a resumed
        run goes on as it would have."""
        return np.random.default_rng([self.irl.seed, number, *purpose.encode()])

    def _learners(self, function: Any) -> None:
        self.learner_group.foreach_learner(function)

    def roll_out(
        self,
        split: Demonstrations,
        rows: np.ndarray,
        *,
        sample: bool,
        label: bool = False,
        tokens: np.ndarray | None = None,
    ) -> list[ChunkResult]:
        """Roll the episodes of `rows` out on all runners, in order; count them where they train.

        `tokens` [rows, N] replaces the sentences. Sampling rephrases a share of them where the
        configuration augments. The result does not depend on the number of runners.
        """
        irl, started = self.irl, time.perf_counter()
        first = self.counts["episodes"]
        rephrase = np.zeros(len(rows), bool)
        if sample and irl.rephrases:
            rephrase = self._rng("rephrase", first).random(len(rows)) < irl.augment_probability
        chunks = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            paths = split.paths[part]
            if tokens is not None:
                paths = paths.with_tokens(tokens[start : start + CHUNK])
            number = first + start
            seed = int(self._rng("chunk", number).integers(2**62))
            part_rephrased = rephrase[start : start + CHUNK]
            chunks.append(
                Chunk(number, seed, paths, split.names(part), sample, part_rephrased, label)
            )
        results = self._hand_out(chunks)
        if sample:
            steps = sum(int(r.rollout.paths.length.sum()) for r in results if r.rollout)
            self.counts["episodes"] = first + len(rows)
            self.counts["env_steps"] += steps
            self._log_rollouts(split, rows, results, steps / (time.perf_counter() - started))
        return results

    def information(self) -> dict[str, float]:
        """What the policy's weights hold about their task, on the frozen probe."""
        found = self.learner_group.foreach_learner(partial(_information, split=self.train_split))
        figures: dict[str, float] = next(iter(found)).get()
        return figures

    def agent(self) -> Agent:
        """The agent with the newest weights, in this process and on the CPU; it only acts."""
        agent = Agent(**self.config.sizes, acting_only=True)
        weights = self._weights()[DEFAULT_MODULE_ID]
        agent.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
        agent.attach(self.task.world.observer())
        return agent.eval()

    def _weights(self) -> dict[str, Any]:
        """The newest weights of what acts."""
        state = self.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )
        weights: dict[str, Any] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
        return weights

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        return bring_back(env_runner_group)

    def _hand_out(self, chunks: list[Chunk]) -> list[ChunkResult]:
        """The chunks' results under the newest weights; failed episodes are told and left out."""
        number = sum(self.counts[k] for k in ("generator", "clone", "irl"))
        return self._check(hand_out(self.env_runner_group, chunks, self._weights(), number))

    def _check(self, results: list[ChunkResult]) -> list[ChunkResult]:
        failures = [message for result in results for message in result.failures]
        for message in failures:
            print(f"episode failed and was left out: {message}", flush=True)
        self.metrics.log_value(("rollout", "failures"), len(failures), reduce="sum")
        if all(result.rollout is None for result in results):
            raise RuntimeError(f"every episode failed, the first: {failures[0]}")
        return results

    def _log_rollouts(
        self, split: Demonstrations, rows: np.ndarray, results: list[ChunkResult], speed: float
    ) -> None:
        reached, length, entropy = [], [], []
        labels = [result.labels.kept for result in results if result.labels is not None]
        rephrased = np.concatenate([result.rephrased for result in results])
        for result in results:
            if result.rollout is not None:
                paths = result.rollout.paths
                answered = rows[result.first - results[0].first + result.rows]
                reached.append(self.task.world.reached(split, answered, paths))
                length.append(paths.length)
                entropy.append(result.rollout.entropy)
        steps = np.concatenate(length)
        figures = {
            "success": float(np.concatenate(reached).mean()),
            "length": float(steps.mean()),
            "forced_stops": float((steps == self.task.world.step_limit).mean()),
            "entropy": float(np.concatenate(entropy).mean()),
            "env_steps_per_s": speed,
        }
        if labels:
            figures["labels_kept"] = float(np.concatenate(labels).mean())
        if len(rephrased):
            figures["paraphrases_kept"] = float(rephrased.mean())
        for name, value in figures.items():
            self.metrics.log_value(("rollout", name), value, window=1)


def sizes_of(config: IRLConfig, task: Task[Any]) -> dict[str, Any]:
    """What an `Agent` is built from."""
    return agent_sizes(config, len(task.vocabulary), task.world.dimension)


def _start_from_policy(learner: AgentLearner) -> None:
    learner.agent.start_from_policy()


def _information(learner: AgentLearner, split: Demonstrations) -> dict[str, float]:
    return information_figures(learner.agent, split)


def _set_rate(learner: AgentLearner, name: str, rate: float) -> None:
    learner.set_learning_rate(name, rate)


def _take_over(
    learner: AgentLearner, weights: dict[str, np.ndarray], parts: tuple[str, ...]
) -> None:
    learner.agent.take_over(weights, parts)


def _take_reward(learner: AgentLearner, weights: dict[str, np.ndarray]) -> None:
    learner.agent.take_reward(weights)


def _show(learner: AgentLearner, sights: Sights) -> None:
    learner.show(sights)
