"""The agents as a system: what searches, reports and commands know of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rayforge.errors import ConfigurationError
from trainers.irl.commands import Adapt, Evaluate, Plan, Prune, RewardAnalysis, Train, Watch
from trainers.irl.config import IRLConfig
from trainers.runs.system import Need, System

NAVIGATION = (
    "success", "spl", "oracle_success", "navigation_error", "ndtw", "sdtw", "path_length",
    "forced_stop",
)  # fmt: skip
"""What an agent reports of each split it is evaluated on."""


def metrics(config: IRLConfig) -> tuple[str, ...]:
    return tuple(f"{split}/{name}" for split in config.evaluate for name in NAVIGATION)


def resources(config: IRLConfig) -> Need:
    learner = {"CPU": 1.0, **({"GPU": 1.0} if config.device == "cuda" else {})}
    runner = {"CPU": 1.0, **({config.runner_resource: 1.0} if config.runner_resource else {})}
    runners = [runner] * config.runners
    if not config.learners:
        said = f"1 for the learner + {config.runners} runners"
        return Need((learner, *runners), {}, said)
    said = f"1 for the driver + {config.learners} learners + {config.runners} runners"
    return Need(({"CPU": 1.0}, *[learner] * config.learners, *runners), {}, said)


def prepare(config: IRLConfig) -> None:
    """Make the houses that trials read, and see that every split is there."""
    from envs.episodes.split_files import split_file
    from trainers.irl.run_folder import data_folder, resolve_split

    folder = data_folder(config)
    for name in config.evaluate:
        split = resolve_split(name, folder, config)
        there = split_file(folder, split).is_file()
        if config.env == "graph" and split != "held_out" and not there:
            raise ConfigurationError(
                f"evaluate: {folder} has no split {split}: there is no R2R_{split}.json"
            )


def train(config: IRLConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    from trainers.irl.trial import train_in_parts

    return train_in_parts(config, run, reports)


IRL = System(
    name="irl",
    configuration=IRLConfig,
    metrics=metrics,
    train=train,
    resources=resources,
    prepare=prepare,
    use=("rayforge irl evaluate {run} --split val_seen", "rayforge irl watch {run}"),
    commands={
        "train": Train,
        "evaluate": Evaluate,
        "reward": RewardAnalysis,
        "watch": Watch,
        "adapt": Adapt,
        "plan": Plan,
        "prune": Prune,
    },
)
