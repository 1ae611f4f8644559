"""Validation while training: greedy scores on one split, and the weights that scored best there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from rayforge.errors import DataError
from trainers.irl.algorithm import LangGoalIRL
from trainers.irl.evaluate import scores_of
from trainers.irl.run_folder import BEST
from trainers.irl.task import Task
from trainers.runs.checkpoint import complete, latest, load_module, save_checkpoint


def due(every: int, before: int, after: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]; never where `every` is 0."""
    return every > 0 and after // every > before // every


def trained_updates(counts: dict[str, int]) -> int:
    """Updates that move the policy: of cloning and of what follows."""
    return counts["clone"] + counts["irl"]


def check_split(task: Task[Any], name: str) -> None:
    """Raises DataError where nothing of a validation split can be scored."""
    split = task.splits[name]
    if not len(split) or split.blind:
        raise DataError(
            f"validation split {name} of {task.folder} has no episode with a goal: name another "
            "with --validation"
        )


def validate(algorithm: LangGoalIRL, split: str) -> dict[str, float]:
    """The mean of each metric, "validation/METRIC", of greedy roll-outs with the newest weights.

    Training goes on as if this had not been called: it draws no random number of the run's.
    """
    task = algorithm.task
    with torch.random.fork_rng(devices=[]):  # an agent is made with random weights first
        agent = algorithm.agent()
    values = scores_of(agent.policy, task.world, task.splits[split])
    return {f"validation/{name}": float(value.mean()) for name, value in values.items()}


def rank(figures: dict[str, float]) -> tuple[float, float]:
    """What makes one validation better than another: success, then SPL."""
    return figures["validation/success"], figures["validation/spl"]


def keep_best(
    algorithm: LangGoalIRL, run: Path, figures: dict[str, float], state: dict[str, Any]
) -> bool:
    """Keep the newest weights in `run`/best where they validated better than those there; says
    whether they did. Of equal ones the first stay."""
    folder, found = run / BEST, latest(run / BEST)
    if found is not None and rank(load_module(found)[1]["validation"]) >= rank(figures):
        return False
    learner = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    )[COMPONENT_LEARNER]
    number = sum(algorithm.counts[name] for name in ("generator", "clone", "irl"))
    save_checkpoint(
        folder, number, learner[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID], {}, {},
        {"counts": algorithm.counts, "validation": figures, **state},
    )  # fmt: skip
    return True


def forget_best_after(run: Path, updates: int) -> None:
    """Remove what was kept after this number of updates: the resumed run finds it again."""
    for folder in complete(run / BEST):
        if int(folder.name) > updates:
            shutil.rmtree(folder)
