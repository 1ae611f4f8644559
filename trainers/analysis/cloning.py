"""Cloning a small policy in this process: the trials of studies that train many of them.

The same networks, updates and data as `rayforge irl train --method gcbc`, without Ray, roll-outs or
checkpoints on the way. What is trained can be kept as a run folder that every command reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.errors import ConfigurationError
from rayforge.files import write_json, write_text
from rayforge.irl.agent import Agent
from rayforge.irl.decisions import score_decisions
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.irl.pairs import Role, pair_batch
from rayforge.irl.update import Update
from trainers.configuration import from_dict, to_dict, to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes
from trainers.irl.run_folder import data_folder
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import save_checkpoint

SMALL: dict[str, Any] = {
    "method": "gcbc", "network": {"word": 32, "hidden": 64, "dropout": 0.2}, "batch": 64,
    "threads": 1, "max_words": 60,
}  # fmt: skip
"""A policy of which many train in minutes."""


def small_config(base: dict[str, Any]) -> IRLConfig:
    """The configuration of a small clone, with changes of it.

    Raises ConfigurationError for an unknown setting, with the nearest right name.
    """
    network = {**SMALL["network"], **base.get("network", {})}
    return from_dict(IRLConfig, {**SMALL, **base, "network": network})


def clone_config(base: dict[str, Any]) -> IRLConfig:
    """`small_config` of a study of clones in navigation graphs. Raises ConfigurationError for
    another world or method: it would be left unread."""
    config = small_config(base)
    if config.env != "graph" or config.method != "gcbc":
        raise ConfigurationError(
            f"base: studies clone (method gcbc) in navigation graphs (env graph), got method "
            f"{config.method} and env {config.env}"
        )
    return config


@cache
def read_cached(config: IRLConfig, splits: tuple[str, ...]) -> Task[Any]:
    """A task that this process reads once."""
    return read_task(data_folder(config), config, splits)


@dataclass(frozen=True)
class Block:
    """Updates that share their data and step size."""

    updates: int
    learning_rate: float
    paths: Any = None
    """Trajectories with their instructions; None: those of the split."""
    observer: Any = None
    """What is seen; None: what the world shows."""


def new_agent(config: IRLConfig, task: Task[Any], seed: int) -> Agent:
    torch.manual_seed(seed)
    agent = Agent(**agent_sizes(config, len(task.vocabulary), task.world.dimension))
    agent.attach(task.world.observer())
    return agent


def clone(
    agent: Agent, split: Demonstrations, rows: np.ndarray, blocks: Sequence[Block], size: int,
    seed: int,
    after: Callable[[int, Agent], None] | None = None,
) -> Agent:  # fmt: skip
    """Clone the demonstrations `rows` along blocks of updates of `size` pairs; the same seed draws
    the same rows and the same dropout, whatever the blocks show: trials are paired by it."""
    update, plain = Update(agent), agent.observer
    done = 0
    for number, block in enumerate(blocks):
        paths = split.paths if block.paths is None else block.paths
        agent.attach(plain if block.observer is None else block.observer)
        agent.train()
        for optimizer in update.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = block.learning_rate
        for _ in range(block.updates):
            rng = np.random.default_rng((seed, done))
            torch.manual_seed(int(rng.integers(2**31)))
            drawn = rows[rng.integers(len(rows), size=size)]
            batch = pair_batch(paths[drawn], np.full(len(drawn), int(Role.CLONE)))
            update({name: torch.from_numpy(column) for name, column in batch.items()})
            done += 1
        agent.attach(plain)
        if after is not None:
            agent.eval()
            after(number, agent)
    return agent.eval()


def expert_accuracy(policy: Policy, observer: Any, split: Demonstrations) -> float:
    """Share of the expert's actions that the policy finds likeliest, in the expert's states."""
    scored = score_decisions(policy, observer, split.paths, np.arange(len(split)))
    return float(scored.correct.mean())


def keep_run(folder: Path, config: IRLConfig, task: Task[Any], agent: Agent, command: str) -> None:
    """A run folder of a clone, as `rayforge irl train` leaves one; evaluations apart."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "vocabulary.json", task.vocabulary.to_json())
    write_json(folder / "objects.json", task.objects)
    write_json(folder / "run.json", {"command": command, "data": str(task.folder)})
    weights = {name: value.numpy() for name, value in agent.state_dict().items()}
    state = {
        "config": to_dict(config), "data": task.fingerprint, "elapsed": 0.0,
        "counts": {"generator": 0, "clone": config.clone_updates, "irl": 0},
    }  # fmt: skip
    save_checkpoint(folder / "checkpoints", config.clone_updates, weights, {}, {}, state)
    write_text(folder / "config.yaml", to_yaml(config))  # last: with it the folder is a run


def of_buildings(split: Demonstrations, names: Sequence[str]) -> np.ndarray:
    """Rows of a split in the buildings of these names."""
    return np.flatnonzero([e.scan in set(names) for e in split.episodes])
