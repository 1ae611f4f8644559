"""Learning from use as a system: what searches, reports and commands know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainers.feedback.commands import COMMANDS
from trainers.feedback.config import FeedbackConfig
from trainers.runs.system import System

FIGURES = ("defect", "lost", "requests", "requests_bad", "rewritten", "won", "broken")
"""What a day of an arm reports."""


def metrics(config: FeedbackConfig) -> tuple[str, ...]:
    return tuple(f"{name}/{arm}" for arm in config.arms for name in FIGURES)


def prepare(config: FeedbackConfig) -> None:
    """Open the agent, its planner and its data, and the text encoder, before a run folder is made.

    Raises ConfigurationError, DataError or RunError for what cannot be used.
    """
    from rayforge.feedback.text import fixed_vectors
    from trainers.feedback.follower import Follower
    from trainers.feedback.loop import Town

    if {"global", "personal", "teaching"} & set(config.arms):
        fixed_vectors(config.online.encoder.text)
    follower = Follower.open(Path(config.assistant), config.planner, config.data, config.split)
    Town.of(config, dict(follower.routes))


def train(config: FeedbackConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    from trainers.feedback import loop

    return loop.train(config, run, reports)


FEEDBACK = System(
    name="feedback",
    configuration=FeedbackConfig,
    metrics=metrics,
    train=train,
    prepare=prepare,
    reports=lambda config, asked: min(asked, config.days),
    use=("rayforge feedback report {run}",),
    commands=COMMANDS,
)
