"""LangGoalIRL as an RLlib algorithm. `training_step` reads as the steps of docs/langgoal.md."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rayforge.irl.agent import Agent
from rayforge.irl.data_parallel import parted
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.pairs import Role, forced_pairs, join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import cosine
from rayforge.paths.arrays import Padded, join_paths
from trainers.irl import learner_calls as calls
from trainers.irl.aggregator import Nodes
from trainers.irl.ahead import Round, in_background, turns, unpack
from trainers.irl.chunks import CHUNK, Span, chunks_of, random_numbers
from trainers.irl.config import IRLConfig
from trainers.irl.dispatch import ask_for_more, bring_back, hand_out, hand_out_by_node, let_go
from trainers.irl.learner import AgentLearner, AgentModule
from trainers.irl.learner_calls import batch_of, halved, learners_at_work
from trainers.irl.loading import agent_sizes
from trainers.irl.rollout_figures import rollout_figures
from trainers.irl.runner import ChunkResult, PathRunner
from trainers.irl.source import source_weights
from trainers.irl.task import Shared, Task
from trainers.irl.walk_images import WalkImages

# At each start it tells users of RLlib which of its two ways to configure it is the default now.
logging.getLogger("ray.rllib.algorithms.algorithm_config").setLevel(logging.ERROR)


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
        first = config.fewest_runners or config.runners
        self.env_runners(num_env_runners=first, custom_resources_per_env_runner=own)
        self.learners(
            num_learners=config.learners, num_gpus_per_learner=int(config.device == "cuda")
        )
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
        capacity = min(irl.replay, irl.replay_window) if world.dimension is None else irl.replay
        sizes = (capacity, world.step_limit, irl.max_words, world.kind)
        self.negatives, self.positives = Replay(*sizes), Replay(*sizes)
        self.images: WalkImages | None = None
        store = world.new_frame_store(capacity)
        if store is not None:
            self.images = WalkImages(store, world, self._learners, bool(self.irl.learners))
        ask_for_more(self.env_runner_group, self.irl.runners)
        self.nodes = Nodes()
        self.ahead: dict[int, Round] = {}
        self.dropped, self.taken = 0, time.perf_counter()
        self.seconds_before = 0.0  # spent on what is taken over
        if fresh:
            self._take_over()
        return self

    def cleanup(self) -> None:
        if self.env_runner_group is not None:
            let_go(self.env_runner_group)
        super().cleanup()

    def _take_over(self) -> None:
        """Networks of another run, and how far they have come there."""
        irl = self.irl
        if irl.reward_from:
            weights, _ = source_weights(irl)
            self._learners(partial(calls.take_reward, weights=weights))
        elif irl.start_from:
            weights, state = source_weights(irl)
            parts = {"generator": irl.generates, "policy": bool(irl.cloning_first)}
            wanted = tuple(name for name, needed in parts.items() if needed)
            self._learners(partial(calls.take_over, weights=weights, parts=wanted))
            for name, count in (("generator", "generator"), ("policy", "clone")):
                taken = parts[name] and not irl.start_anew
                self.counts[count] = state["counts"][count] if taken else 0
            self.seconds_before = 0.0 if irl.start_anew else state["elapsed"]

    @property
    def irl(self) -> IRLConfig:
        found: IRLConfig = self.config.irl
        return found

    @property
    def updates_made(self) -> int:
        return sum(self.counts[name] for name in ("generator", "clone", "irl"))

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
            self._learners(partial(calls.start_from_policy, number=self.updates_made))

        # a. Follow positive goals, some of them rephrased (c); b. describe what was done.
        expert, results = self._round()
        for result in results:
            if result.rollout is not None:
                paths = result.rollout.paths
                self.negatives.add(paths, result.numbers)
                if result.labels is not None:
                    good = result.labels.kept  # the others may describe another path
                    described = paths[good].with_tokens(result.labels.tokens[good])
                    self.positives.add(described, result.numbers[good])
        # d., e. Discriminator, critics, policy and temperature (of other methods than LangGoalIRL:
        # what they have of these, see `pairs`), on one batch at a time.
        rate = cosine(irl.policy_learning_rate, self.counts["irl"], irl.updates)
        self._learners(partial(calls.set_rate, name="policy", rate=rate))
        if irl.method == "forcing":
            return self._force(expert, results)
        goals = self._rephrased(expert, results)
        for _ in range(min(irl.updates_per_iteration, irl.updates - self.counts["irl"])):
            self._update(*self._pairs(goals))
            self.counts["irl"] += 1
        return None

    def _rephrased(self, expert: np.ndarray, results: list[ChunkResult]) -> Padded:
        """Expert paths, each with the instruction its roll-out was told: the goals of this
        round."""
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
            irl, self.train_split, self.negatives, self.positives, goals,
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
        self._learners(
            partial(calls.set_rate, name=name, rate=cosine(rate, self.counts[count], total))
        )
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
        if not self.irl.learners:
            results = self.learner_group.update(batch=batch_of(columns))
        else:
            parts = [
                batch_of({name: column[rows] for name, column in columns.items()})
                for rows in parted(len(role), self.irl.learners)
            ]
            with learners_at_work():
                results = self.learner_group.update(
                    batches=parts, timesteps={"updates": self.updates_made}
                )
        self.metrics.aggregate(results, key="learners")

    def _expert_rows(self, turn: int) -> np.ndarray:
        rng, count = self._rng("goals", turn), self.irl.episodes_per_iteration
        found: np.ndarray = self.task.world.draw(self.train_split, rng, count, CHUNK)
        return found

    def _rng(self, purpose: str, number: int) -> np.random.Generator:
        return random_numbers(self.irl.seed, purpose, number)

    def _learners(self, function: Any) -> list[Any]:
        """What each learner answers."""
        with learners_at_work():
            found = list(self.learner_group.foreach_learner(function))
            for result in found:
                if not result.ok:
                    raise result.get()
            return [result.get() for result in found]

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

        `tokens` [rows, N] replaces the instructions. Sampling rephrases a share of them where the
        configuration augments. The result does not depend on the number of runners.
        """
        started = time.perf_counter()
        span = self._span(rows, self.counts["episodes"], sample, label, tokens)
        weights = self._sent_weights()
        results = self._check(self._hand_out(split, span, weights, self.updates_made))
        if sample:
            self._count(split, rows, results, time.perf_counter() - started)
        return results

    def _span(
        self, rows: np.ndarray, first: int, sample: bool, label: bool, tokens: np.ndarray | None
    ) -> Span:
        rephrase = np.zeros(len(rows), bool)
        if sample and self.irl.rephrases:
            draws = self._rng("rephrase", first).random(len(rows))
            rephrase = draws < self.irl.augment_probability
        return Span(first, rows, self.irl.seed, sample, rephrase, label, tokens)

    def _hand_out(
        self, split: Demonstrations, span: Span, weights: ray.ObjectRef, number: int
    ) -> list[ChunkResult]:
        group = self.env_runner_group
        if 0 < self.irl.aggregate_from <= group.num_remote_env_runners():
            return hand_out_by_node(self.nodes, group, span, split, weights, number)
        return hand_out(group, chunks_of(span, split), weights, number)

    def _count(
        self, split: Demonstrations, rows: np.ndarray, results: list[ChunkResult], seconds: float
    ) -> None:
        steps = sum(int(r.rollout.paths.length.sum()) for r in results if r.rollout)
        self.counts["episodes"] += len(rows)
        self.counts["env_steps"] += steps
        figures = rollout_figures(self.task.world, split, rows, results)
        for name, value in (figures | {"env_steps_per_s": steps / seconds}).items():
            self.metrics.log_value(("rollout", name), value, window=1)

    def _round(self) -> tuple[np.ndarray, list[ChunkResult]]:
        """This iteration's expert rows and the roll-outs of their instructions. With a `staleness`
        they were handed out some iterations ago, and those to come are handed out now."""
        irl, turn = self.irl, self.counts["irl"]
        expert = self._expert_rows(turn)
        if not irl.staleness:
            results = self.roll_out(self.train_split, expert, sample=True, label=irl.labels)
            return expert, self._named(results)
        self._send_ahead()
        this = self.ahead.pop(turn)
        results = self._named(self._check(this.results.result()))
        now = time.perf_counter()
        self._count(self.train_split, expert, results, now - self.taken)
        self.taken = now
        figures = self._importance(results) | {"staleness": self.updates_made - this.number}
        for name, value in figures.items():
            self.metrics.log_value(("rollout", name), value, window=1)
        return expert, results

    def _named(self, results: list[ChunkResult]) -> list[ChunkResult]:
        """In 3-D scenes: learners keep what was seen, and the paths name it."""
        return results if self.images is None else [self.images.named(r) for r in results]

    def show_again(self) -> None:
        """Render what was seen along the stored roll-outs: checkpoints hold poses, not images."""
        if self.images is not None:
            self.images.show_again(self.negatives, self.positives)

    def _send_ahead(self) -> None:
        """Hand out, under the newest weights, every round that may be under way and is not."""
        irl, turn = self.irl, self.counts["irl"]
        missing = [
            use
            for use in turns(turn, irl.updates, irl.updates_per_iteration, irl.staleness)
            if use not in self.ahead
        ]
        if missing:
            weights = self._sent_weights()
            for use in missing:
                self._send(use, self.updates_made, weights)

    def _send(self, use: int, number: int, weights: ray.ObjectRef) -> None:
        irl, rows = self.irl, self._expert_rows(use)
        rounds = (use - self.counts["irl"]) // irl.updates_per_iteration
        first = self.counts["episodes"] + rounds * irl.episodes_per_iteration
        span = self._span(rows, first, True, irl.labels, None)
        work = partial(self._hand_out, self.train_split, span, weights, number)
        self.ahead[use] = Round(use, number, weights, in_background(work))

    def restore_ahead(self, rounds: list[list[int]], arrays: dict[str, Any]) -> None:
        """Hand the rounds of a checkpoint out again, under the weights that they had; those that
        would be older than `staleness` now are dropped and counted."""
        weights: dict[int, ray.ObjectRef] = {}
        for use, number in rounds:
            age = self.updates_made + use - self.counts["irl"] - number
            if age > self.irl.staleness:
                self.dropped += self.irl.episodes_per_iteration
                continue
            if number not in weights:
                weights[number] = ray.put({DEFAULT_MODULE_ID: unpack(arrays, number)})
            self._send(use, number, weights[number])
        if self.dropped:
            print(
                f"{self.dropped} episodes under way were more than {self.irl.staleness} updates "
                "behind and are rolled out again",
                flush=True,
            )

    def _importance(self, results: list[ChunkResult]) -> dict[str, float]:
        """How far the policy has moved since the first chunk of a round was rolled out."""
        done = next(result.rollout for result in results if result.rollout is not None)
        few = slice(0, CHUNK)
        ask = partial(calls.importance, paths=done.paths[few], probability=done.probability[few])
        with learners_at_work():
            found = next(iter(self.learner_group.foreach_learner(ask)))
            if not found.ok:
                raise found.get()
        figures: dict[str, float] = found.get()
        return {f"importance_{name}": value for name, value in figures.items()}

    def information(self) -> dict[str, float]:
        """What the policy's weights hold about their task, on the frozen probe."""
        found = self.learner_group.foreach_learner(
            partial(calls.information, split=self.train_split)
        )
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
        with learners_at_work():
            state = self.learner_group.get_state(
                components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
            )
        weights: dict[str, Any] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
        return weights

    def _sent_weights(self) -> ray.ObjectRef:
        """The newest weights of what acts, in the store, as runners are sent them."""
        weights = self._weights()
        if self.irl.sent_weights == "float16":
            weights = {module: halved(own) for module, own in weights.items()}
        return ray.put(weights)

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        if self.ahead:  # a round that is handed out does so itself
            return []
        return bring_back(env_runner_group)

    def _check(self, results: list[ChunkResult]) -> list[ChunkResult]:
        failures = [message for result in results for message in result.failures]
        for message in failures:
            print(f"episode failed and was left out: {message}", flush=True)
        self.metrics.log_value(("rollout", "failures"), len(failures), reduce="sum")
        if self.irl.staleness:
            self.metrics.log_value(("rollout", "dropped"), self.dropped, window=1)
            self.dropped = 0
        if all(result.rollout is None for result in results):
            raise RuntimeError(f"every episode failed, the first: {failures[0]}")
        return results


def sizes_of(config: IRLConfig, task: Task[Any]) -> dict[str, Any]:
    """What an `Agent` is built from."""
    return agent_sizes(config, len(task.vocabulary), task.world.dimension)
