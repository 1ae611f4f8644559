"""How fast an agent plans: instructions a second of one core, against rolling the policy out once.

    python -m benchmarks.planning_speed runs/planning/start-0

The buildings' candidates are recalled before the clock starts (a warm cache). Times are the
processor's, in batches of 32 instructions, the best of three rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from envs.graph.agents import roll_out
from envs.graph.simulator import GraphSimulator
from rayforge.paths.observation import GraphObserver
from rayforge.paths.tree import PathTree
from trainers.irl.plan import open_agent
from trainers.irl.planned import load_planner
from trainers.irl.planner import BATCH, Ways, keys_of

ROUNDS = 3
EVERY = "length", "reward", "generator"
"""What a planner asks. log pi has no weight beside the reward (docs/claims.md)."""


@dataclass(frozen=True)
class Speed:
    """Planning against one roll-out."""

    run: tyro.conf.Positional[Path]
    """A run with a planner."""
    split: str = "val_seen"
    """Whose instructions."""
    instructions: int = 96
    """How many."""
    candidates: tuple[int, ...] = (32, 128)
    """Paths from every start, of one to fourteen edges; where a building has fewer places, all."""
    shortlists: tuple[int, ...] = (6, 12)
    """For how many candidates the generator is asked, besides for all."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        agent = open_agent(self.run, (self.split,))
        plans = load_planner(self.run, agent)
        asked = agent.task.splits[self.split].paths[: self.instructions]
        observer, buildings = agent.module.observer, plans.planner.buildings
        assert isinstance(observer, GraphObserver)
        simulator = GraphSimulator(buildings, observer.max_steps)
        batches = [asked[k : k + BATCH] for k in range(0, len(asked), BATCH)]

        def once() -> None:
            for part in batches:
                roll_out(agent.module.policy, observer, simulator, part, None)

        least = seconds(once) / len(asked)
        print(f"policy, rolled out once: {1 / least:.0f} instructions/s")
        wide = Ways(buildings, (1, 14), observer.max_steps)
        every = [tree for part in batches for tree in wide.trees(part)]
        for count in self.candidates:
            trees = [resized(tree, count) for tree in every]
            mean = np.mean([len(tree.paths) for tree in trees])
            listed = [(EVERY, shortlist) for shortlist in (0, *self.shortlists)]
            for names, shortlist in ((("policy",), 0), (("reward",), 0), *listed):
                planner = plans.planner.with_weights(dict.fromkeys(names, 1.0), shortlist)

                def plan(trees=trees, planner=planner) -> None:  # type: ignore[no-untyped-def]
                    for k, part in zip(range(0, len(asked), BATCH), batches, strict=True):
                        planner.choose(trees[k : k + BATCH], part.tokens, keys_of(part))

                planner._recalled.clear()
                plan()  # the cache is warm from here on
                took = seconds(plan) / len(asked)
                asking = f", generator asked for {shortlist}" if shortlist else ""
                print(
                    f"{mean:.0f} candidates, {' + '.join(names)}{asking}: {1 / took:.1f} "
                    f"instructions/s, {took / least:.1f} times one roll-out"
                )


def resized(tree: PathTree, count: int) -> PathTree:
    """A tree of `count` of its paths, drawn at random, or of all where there are fewer."""
    rows = np.random.default_rng(0).permutation(len(tree.paths))[:count]
    return PathTree.of(tree.paths[np.sort(rows)])


def seconds(work: Callable[[], None]) -> float:
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


if __name__ == "__main__":
    tyro.cli(Speed, description=__doc__)()
