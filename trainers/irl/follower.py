"""Agents as judges of instructions: does one who reads it arrive? `--score follower:RUN` of
alignment, which knows nothing of agents but what is here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from envs.graph.agents import roll_out
from envs.graph.navigation_graph import SUFFIX, read_connectivity
from envs.graph.simulator import GraphSimulator
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.planning import log_choice, log_mass
from rayforge.paths.observation import GraphObserver
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import for_split
from trainers.irl.plan import FILES, PlannedAgent, open_agent
from trainers.irl.planned import Plans, load_planner
from trainers.irl.planner import BATCH, keys_of, succeeding
from trainers.irl.run_folder import data_folder, load_run
from trainers.irl.task import encode, read_task
from trainers.runs.checkpoint import latest

LEAST = -8.0
"""Log of the least belief that is told apart: 1 in 3,000."""
WALKS = 16
"""Roll-outs by which an agent without a planner is judged: its best way and sampled ones."""
Instruction = tuple[int, str]
"""Number of a route in the split of a map folder, and what is to be obeyed."""
Follow = Callable[[Sequence[Instruction]], np.ndarray]


@dataclass(frozen=True)
class FollowerJob:
    """Obeys instructions in the buildings of a folder; a job of `trainers.runs.pool`.

    What comes back gives for each instruction log P(the agent gets to the end of its route),
    float64 [n], at least `LEAST`. With a planner (`rayforge irl plan`) that is its belief on the
    map, log p(goal place). Without one it is the share of the agent's own roll-outs that arrive,
    (k + 1/2) / (n + 1) of n: a walk that no one has planned.
    """

    run: Path
    maps: Path
    split: str

    def load(self) -> Follow:
        torch.set_num_threads(1)
        agent = open_agent(self.run, (self.split,), self.maps, self._reading())
        planner = load_planner(self.run, agent) if (self.run / FILES[1]).is_file() else None

        def follow(instructions: Sequence[Instruction]) -> np.ndarray:
            asked = told(agent, self.split, instructions)
            parts = []
            for start in range(0, len(asked), BATCH):
                rows = np.arange(start, min(start + BATCH, len(asked)))
                part = asked.take(rows)
                if planner is not None:
                    parts.append(beliefs(agent, planner, part))
                else:
                    texts = [instructions[row][1] for row in rows.tolist()]
                    parts.append(arrivals(agent, part, texts))
            found: np.ndarray = np.maximum(np.concatenate(parts), LEAST)
            return found

        return follow

    def _reading(self) -> IRLConfig:
        config, _, _ = load_run(self.run)
        return replace(for_split(config, self.split), held_back=0.0, extra_demonstrations="")

    @property
    def fingerprint(self) -> str:
        """16 digits that change with the agent, its planner and the maps."""
        digest = hashlib.sha256(str(self.maps).encode())
        checkpoint = latest(self.run / "checkpoints")
        if checkpoint is None:
            raise RunError(f"{self.run} has no checkpoint yet; train it first")
        files = sorted(f for f in checkpoint.rglob("*") if f.is_file())
        for file in (*files, *(self.run / name for name in FILES)):
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


def told(agent: PlannedAgent, split: str, instructions: Sequence[Instruction]) -> Demonstrations:
    """Routes of a split with these instructions in the place of their own."""
    routes = agent.task.splits[split]
    asked = routes.take(np.array([row for row, _ in instructions], np.int64))
    episodes = [
        replace(episode, instruction=text or " ")
        for episode, (_, text) in zip(asked.episodes, instructions, strict=True)
    ]
    tokens, _ = encode(episodes, agent.task.vocabulary, agent.config)
    return replace(asked, episodes=tuple(episodes), paths=asked.paths.with_tokens(tokens))


@torch.no_grad()
def beliefs(agent: PlannedAgent, plans: Plans, asked: Demonstrations) -> np.ndarray:
    """log p(goal place) under the planner's belief, float64 [n]; -inf where no candidate ends
    there."""
    weights = plans.weights["map"]
    own = plans.ways.trees(asked.paths)
    scored = plans.planner.score(list(weights), own, asked.paths.tokens, keys_of(asked.paths))
    log_p = log_choice(scored.values, torch.tensor(list(weights.values())), scored.present)
    good = succeeding(plans.planner.buildings, own, asked.goal) & scored.present
    found: np.ndarray = log_mass(log_p, good).double().numpy()
    return found


@torch.no_grad()
def arrivals(agent: PlannedAgent, asked: Demonstrations, texts: Sequence[str]) -> np.ndarray:
    """log of the smoothed share of roll-outs that arrive, float64 [n]. An instruction's draws come
    from its own text, so that it walks alike whatever else is asked with it."""
    observer, buildings = agent.module.observer, agent.task.data.buildings
    assert isinstance(observer, GraphObserver)
    simulator = GraphSimulator(buildings, observer.max_steps)

    def arrive(rows: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        goals, policy = asked.paths[rows], agent.module.policy
        paths = roll_out(policy, observer, simulator, goals, draws).paths
        ends = paths.viewpoint[np.arange(len(rows)), paths.length - 1]
        near = buildings.distance(ends, asked.goal[rows]) < SUCCESS_METRES
        count: np.ndarray = near.reshape(len(asked), -1).sum(1)
        return count

    every = np.arange(len(asked))
    draws = np.concatenate([_draws(text, observer.max_steps) for text in texts])
    arrived = arrive(every, None) + arrive(np.repeat(every, WALKS - 1), draws)
    found: np.ndarray = np.log((arrived + 0.5) / (WALKS + 1))
    return found


def _draws(text: str, steps: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).random((WALKS - 1, steps), np.float32)


def check_follower(run: Path, maps: Path, unseen: Sequence[str]) -> None:
    """Raises UserError where a run cannot be asked, or was trained in one of the buildings `unseen`
    of the folder `maps`. Buildings are compared by where their viewpoints are, for generated ones
    of two seeds share their names.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(f"follower {run} is no run of `rayforge irl train`: it has no config.yaml")
    config, vocabulary, objects = load_run(run)
    if config.env != "graph" or config.features != "semantic":
        raise ConfigurationError(
            f"follower {run}: it must act in navigation graphs by semantic features, which is what "
            f"the maps of routes have; its env is {config.env!r}, its features {config.features!r}"
        )
    if latest(run / "checkpoints") is None:
        raise RunError(f"follower {run} has no checkpoint yet; train it first")
    try:
        folder = data_folder(config)
        task = read_task(folder, config, ("train",), vocabulary, objects)
    except DataError as error:
        raise DataError(
            f"follower {run}: the data that it was trained on cannot be read, so whether it knows "
            f"the test houses cannot be checked: {error}"
        ) from error
    trained = sorted({e.scan for e in task.splits["train"].episodes})
    known = {_place(folder, scan): scan for scan in trained}
    for scan in unseen:
        if (same := known.get(_place(maps, scan))) is not None:
            raise ConfigurationError(
                f"follower {run} was trained in {same}, which is the test house {scan}: train it "
                "in other houses (`rayforge routes DIR` writes some)"
            )


def _place(folder: Path, scan: str) -> bytes:
    positions = read_connectivity(folder / "connectivity" / f"{scan}{SUFFIX}").positions
    rounded = np.round(positions[np.lexsort(positions.T)], 3)
    return hashlib.sha256(json.dumps(rounded.tolist()).encode()).digest()
