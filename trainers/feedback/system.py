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


def train(config: FeedbackConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    from trainers.feedback import loop

    return loop.train(config, run, reports)


FEEDBACK = System(
    name="feedback",
    configuration=FeedbackConfig,
    metrics=metrics,
    train=train,
    reports=lambda config, asked: min(asked, config.days),
    use=("rayforge feedback report {run}",),
    commands=COMMANDS,
)
