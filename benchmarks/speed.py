"""Speed and memory of rolling out, as ratios measured in one run.

    python -m benchmarks.speed [--data ../shared/data/r2r] [--out speed.json]

What is compared alternates, round by round, and medians count, so that the ratios depend little
on what else the machine does. Every process computes on one thread. Where a process works alone,
its speed is per second of its processor's time; with Ray actors it is per second on the clock,
and on a busy machine less than what it could be. Without --data the houses are generated first.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import tyro
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from benchmarks.graph_simulator import BATCH, MAX_STEPS, STEPS, made_up_graph, random_walk
from benchmarks.rllib_runner import CountingRunner, SmallPolicyConfig
from benchmarks.small_policy import SmallModule
from envs.graph.agents import roll_out
from envs.graph.buildings import Buildings, join_graphs
from envs.graph.simulator import GraphSimulator
from envs.houses.dataset import write_houses
from rayforge.irl.networks import Policy
from rayforge.irl.replay import Replay
from rayforge.irl.rollout import follow_goals
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver
from trainers.irl.algorithm import LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.runner import Chunk, ChunkResult, PathRunner
from trainers.irl.task import Task, read_task
from trainers.runs.folder import hardware

CHUNKS = 16
"""Batches that one call of a runner rolls out: about half a second of work, as an iteration of
training asks for. What a call costs by itself, some 12 ms, is measured with it."""


@dataclass(frozen=True)
class Figure:
    """One measured figure; `samples` are what its median was taken of."""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool
    samples: tuple[float, ...]

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class Speed:
    """Measure the speed of simulator, policy and runners, and the memory of stored steps."""

    data: Path | None = None
    """Folder of an R2R data set; without, houses are generated."""
    out: Path | None = None
    """JSON file for the figures."""
    rounds: int = 5
    """Rounds of the policy's roll-outs; there are thrice as many of each comparison."""
    houses: int = 10
    """Houses to generate."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        began, load = time.perf_counter(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            if self.data is None:
                made = Path(folder) / "houses"
                write_houses(
                    made, train_houses=self.houses, unseen_houses=0, paths_per_house=60, seed=0
                )
            config = IRLConfig(data=str(self.data or made), max_steps=MAX_STEPS, method="gcbc")
            task = read_task(Path(config.data), config, ("train",))
        figures = [
            *simulator(self.rounds),
            policy(task, config, self.rounds),
            *runners(task, config, self.rounds),
            memory(task, config),
        ]
        context = {
            "data": str(self.data or f"{self.houses} generated houses"),
            "batch": BATCH,
            "hardware": hardware(),
            "load": [round(load, 2), round(os.getloadavg()[0], 2)],
            "versions": {
                "python": platform.python_version(), "ray": ray.__version__,
                "torch": torch.__version__, "numpy": np.__version__,
            },
            "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        report(figures, context)
        if self.out is not None:
            rows = [asdict(figure) | {"met": figure.met} for figure in figures]
            self.out.write_text(json.dumps({**context, "figures": rows}, indent=1) + "\n")


def alternate(ways: Sequence[Callable[[], float]], rounds: int) -> list[tuple[float, ...]]:
    """Samples of each way to measure, taken in turns after one unmeasured turn each."""
    for way in ways:
        way()
    turns = [[way() for way in ways] for _ in range(rounds)]
    return list(zip(*turns, strict=True))


def median(name: str, unit: str, target: float, samples: Sequence[float]) -> Figure:
    return Figure(name, statistics.median(samples), unit, target, True, tuple(samples))


def ratio(
    name: str, target: float, above: Sequence[float], below: Sequence[float], at_least: bool = True
) -> Figure:
    """The median ratio of the rounds: what runs side by side shares what else the machine does."""
    samples = tuple(a / b for a, b in zip(above, below, strict=True))
    return Figure(name, statistics.median(samples), "x", target, at_least, samples)


def simulator(rounds: int) -> list[Figure]:
    """Steps of a random agent without features, and their cost with more buildings."""
    chance = np.random.default_rng(0)
    graphs = [made_up_graph(f"house{number}", chance) for number in range(90)]
    few, many = join_graphs(graphs[:10]), join_graphs(graphs)
    steps = STEPS // 3

    def walk(buildings: Buildings) -> float:
        start = time.process_time()
        random_walk(buildings, BATCH, steps, chance)
        return BATCH * steps / (time.process_time() - start)

    speeds = alternate(
        [
            lambda: walk(few),
            lambda: walk(many),
        ],
        3 * rounds,
    )
    return [
        median("simulator, 90 buildings", "steps/core s", 5e6, speeds[1]),
        ratio("cost a step, 90 buildings to 10", 1.25, speeds[0], speeds[1], at_least=False),
    ]


def policy(task: Task[Any], config: IRLConfig, rounds: int) -> Figure:
    """Sampled roll-outs of the policy of the default size, features and instructions included."""
    split, data = task.splits["train"], task.data
    torch.manual_seed(0)
    agent = Policy(len(task.vocabulary), data.tables.dimension, config.network)
    observer = GraphObserver.from_tables(data.tables, config.max_steps)
    environment = GraphSimulator(data.buildings, config.max_steps)
    chance = np.random.default_rng(0)

    def measure() -> float:
        paths = split.paths[chance.integers(len(split), size=BATCH)]
        draws = chance.random((BATCH, config.max_steps), np.float32)
        start = time.process_time()
        done = roll_out(agent, observer, environment, paths, draws)
        return float(done.paths.length.sum()) / (time.process_time() - start)

    (samples,) = alternate([measure], rounds)
    return median("policy and features included", "steps/core s", 4000, samples)


class SmallConfig(LangGoalIRLConfig):
    """Our runner with the small policy."""

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=SmallModule, model_config=self.sizes)


def runners(task: Task[Any], config: IRLConfig, rounds: int) -> list[Figure]:
    """The same small policy, environment and batch in our runner, in RLlib's and without Ray."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level="ERROR")
    try:
        settings = SmallConfig().for_task(config, task)
        theirs = SmallPolicyConfig().for_task(task, BATCH, config.max_steps, config.max_words)
        our_actor, their_actor = ray.remote(PathRunner), ray.remote(CountingRunner)
        ours = [our_actor.remote(config=settings, worker_index=i, num_workers=2) for i in (1, 2)]
        rllib = [their_actor.remote(config=theirs, worker_index=i, num_workers=2) for i in (1, 2)]
        local = PathRunner(config=settings, worker_index=0, num_workers=0)
        torch.set_num_threads(1)
        weights = ray.put({DEFAULT_MODULE_ID: local.module.get_state()})
        chunks = [chunk(task, config, number) for number in range(CHUNKS)]
        turn = iter(range(10**9))

        def alone() -> float:
            start = time.perf_counter()
            steps = 0
            for part in chunks:
                draws = np.random.default_rng(part.seed).random(
                    (BATCH, config.max_steps), np.float32
                )
                goals = part.demonstrations
                done = follow_goals(local.agent.policy, local.agents, goals, draws)
                steps += int(done.paths.length.sum())
            return steps / (time.perf_counter() - start)

        def through_ours(actors: Sequence[Any]) -> float:
            start, number = time.perf_counter(), next(turn)  # new weights every time
            calls = [a.sample.remote(chunks=chunks, weights=weights, number=number) for a in actors]
            results: list[ChunkResult] = [done for part in ray.get(calls) for done in part]
            steps = sum(int(r.rollout.paths.length.sum()) for r in results if r.rollout is not None)
            return steps / (time.perf_counter() - start)

        def through_rllib(actors: Sequence[Any]) -> float:
            start = time.perf_counter()
            steps = sum(ray.get([actor.steps.remote(2 * BATCH) for actor in actors]))
            found: float = steps / (time.perf_counter() - start)
            return found

        ways = [
            alone,
            lambda: through_ours(ours[:1]),
            lambda: through_rllib(rllib[:1]),
            lambda: through_ours(ours),
            lambda: through_rllib(rllib),
        ]
        here, one, rllib_one, two, rllib_two = alternate(ways, 3 * rounds)
    finally:
        ray.shutdown()
    return [
        median("small policy, no Ray", "steps/s", 0, here),
        median("our runner, one actor", "steps/s", 0, one),
        median("our runner, two actors", "steps/s", 0, two),
        median("RLlib's runner, one actor", "steps/s", 0, rllib_one),
        median("RLlib's runner, two actors", "steps/s", 0, rllib_two),
        ratio("our runner's actor to no Ray", 0.9, one, here),
        ratio("our runner to RLlib's, one actor", 10, one, rllib_one),
        ratio("our runner to RLlib's, two actors", 10, two, rllib_two),
    ]


def chunk(task: Task[Any], config: IRLConfig, number: int) -> Chunk:
    """One batch of goals, as the algorithm hands them out."""
    split = task.splits["train"]
    rows = np.random.default_rng(number).integers(len(split), size=BATCH)
    never = np.zeros(BATCH, bool)
    paths, names = split.paths[rows], split.names(rows)
    return Chunk(number * BATCH, number, paths, names, sample=True, rephrase=never, label=False)


def memory(task: Task[Any], config: IRLConfig) -> Figure:
    """Megabytes of a replay of a million steps, in episodes as long as the experts'."""
    paths = task.splits["train"].paths
    episodes = int(np.ceil(1e6 / paths.length.mean()))
    replay = Replay(episodes, config.max_steps, config.max_words)
    for start in range(0, episodes, len(paths)):
        part: Paths = paths[: min(len(paths), episodes - start)]
        replay.add(part, start + np.arange(len(part)))
    steps = int(replay.paths.length.sum())
    size = replay.nbytes / 1e6
    return Figure(f"replay of {steps:,} steps", size, "MB", 200, False, (size,))


def report(figures: Sequence[Figure], context: dict[str, Any]) -> None:
    print(f"{context['hardware']}; load {context['load'][0]} before, {context['load'][1]} after")
    print(f"{context['data']}, batches of {context['batch']:,}, {context['seconds']} s in all\n")
    print(f"{'':36}{'measured':>12} {'':13} target")
    for figure in figures:
        form = ",.0f" if figure.value >= 100 else ".2f"
        target = ""
        if figure.target:
            sign = "at least" if figure.at_least else "at most"
            word = "met" if figure.met else "MISSED"
            target = f"{sign} {figure.target:,g}  {word}"
        print(f"{figure.name:36}{figure.value:>12{form}} {figure.unit:13} {target}")


if __name__ == "__main__":
    tyro.cli(Speed)()
