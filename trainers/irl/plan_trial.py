"""The planner of a trained agent as a system of its own, so that a search finds what it needs.

    rayforge tune tune_configs/planner.yaml

A trial copies the agent's run, teaches it a reward that plans with the trial's settings, fits the
weights, and plans for the instructions of buildings for tuning.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from rayforge.errors import ConfigurationError, RunError
from rayforge.settings import FOLDER
from trainers.irl.plan_config import PlanConfig
from trainers.runs.checkpoint import latest
from trainers.runs.system import System

COPIED = "config.yaml", "vocabulary.json", "objects.json", "run.json"
"""Of a run's folder, beside its newest checkpoint."""


@dataclass(frozen=True)
class PlanTrialConfig(PlanConfig):
    """The settings of `rayforge irl plan`, and whose planner is made and asked."""

    run: Annotated[str, FOLDER] = ""
    """A finished run in navigation graphs that held instructions back."""
    split: str = "held_out"
    """The split that it plans for."""
    scans: tuple[str, ...] = ()
    """The only buildings of that split; () takes all."""
    every: int = 1
    """Every how many instructions it plans for one; 1 takes all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")


def metrics(config: PlanTrialConfig) -> tuple[str, ...]:
    return f"{config.split}/success", f"{config.split}/reward_alone", "held_back/nats"


def prepare(config: PlanTrialConfig) -> None:
    """Raises ConfigurationError where no run is named, and RunError where it is not there."""
    if not config.run:
        raise ConfigurationError("run: name the folder of the agent whose planner is looked for")
    if not (Path(config.run) / "config.yaml").is_file():
        raise RunError(f"{config.run} is no run: train one with --held-back 0.05")


def one_report(config: PlanTrialConfig, asked: int) -> int:
    """A planner is measured at its end alone."""
    return 1


def copy_run(source: Path, out: Path) -> None:
    """The run of `source`, with its newest checkpoint alone.

    Raises RunError where it has none.
    """
    newest = latest(source / "checkpoints")
    if newest is None:
        raise RunError(f"{source} has no checkpoint yet; train it first")
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    shutil.copytree(newest, out / "checkpoints" / newest.name, dirs_exist_ok=True)


def train(config: PlanTrialConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """The trial's folder becomes a run with a planner; one report."""
    import numpy as np
    import torch

    from trainers.irl.choices import mapped
    from trainers.irl.plan import open_agent, plan_run
    from trainers.irl.planned import load_planner
    from trainers.irl.task import HELD_BACK

    torch.set_num_threads(1)
    copy_run(Path(config.run), run)
    settings = PlanConfig(**{f.name: getattr(config, f.name) for f in fields(PlanConfig)})
    document = plan_run(run, settings, "a trial of rayforge tune")
    agent = open_agent(run, ("train", config.split))
    plans = load_planner(run, agent)
    asked = agent.task.splits[config.split]
    inside = [k for k, e in enumerate(asked.episodes) if not config.scans or e.scan in config.scans]
    if not inside:
        raise ConfigurationError(f"scans: {config.split} has no episode in any of {config.scans}")
    asked = asked.take(np.array(inside[:: config.every]))
    weights = plans.weights["map"]
    choices = mapped(plans.planner, plans.ways, asked, list(weights))
    alone = [name for name in ("length", "reward") if name in weights]
    held = mapped(plans.planner, plans.ways, agent.task.splits[HELD_BACK], alone)
    for _ in reports:
        yield {
            f"{config.split}/success": float(choices.success(weights).mean()),
            f"{config.split}/reward_alone": float(choices.success(held.fit(alone).weights).mean()),
            "held_back/nats": float(document["fitted"]["map"]["nats"]),
        }


PLAN = System(
    name="plan",
    configuration=PlanTrialConfig,
    metrics=metrics,
    train=train,
    prepare=prepare,
    reports=one_report,
    use=("rayforge irl evaluate {run} --split held_out --planner map",),
)
