"""Alignment as a system: what searches, reports and commands know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rayforge.errors import ConfigurationError
from trainers.alignment.commands import AlignEvaluate, AlignTrain
from trainers.alignment.config import AlignConfig
from trainers.alignment.named_code import recorded, runs_code
from trainers.runs.system import Bundle, Need, System

REVIEW = ("review/accuracy", "review/margin")
"""What a language model reports after each round."""
ANSWERS = ("review/kl_per_token", "review/response_tokens", "review/finished", "review/distinct_2")
"""What it reports where it answers prompts."""


def metrics(config: AlignConfig) -> tuple[str, ...]:
    if not config.evaluation_prompts:
        return REVIEW
    judged: tuple[str, ...] = ()
    if config.judge or config.data == "routes":
        judged = ("win_rate",)
        if not config.judge.startswith("command:"):
            judged += ("review/greedy_score", "review/sampled_score")
    return (*judged, *REVIEW, *ANSWERS)


def resources(config: AlignConfig) -> Need:
    gpu = {"GPU": 1.0} if config.device == "cuda" else {}
    # With workers the trial's own process takes turns with them; Ray takes no zero. What neither
    # workers nor actors do on the GPU, sampling and scoring, it does itself.
    first: Bundle = {"CPU": 0.01 if config.workers else 1.0, **(gpu if not config.actors else {})}
    actors = tuple({"CPU": 1.0, **gpu} for _ in range(config.actors))
    # An engine that is split has a placement group of its own.
    beside = config.workers + (config.engine_places if config.tensor_parallel > 1 else 0)
    outside: Bundle = {"CPU": float(beside)} if beside else {}
    if beside and gpu:
        outside["GPU"] = float(beside)
    own = "" if config.workers else "1 for the trial + "
    return Need(
        (first, *actors), outside, f"{own}{config.workers} workers + {config.actors} actors"
    )


def prepare(config: AlignConfig) -> None:
    """Check data and model, and make the tiny model's start."""
    from trainers.alignment.run import prepare_run

    prepare_run(config)


def check_file(config: AlignConfig) -> None:
    """What runs code is named on the command line alone: a file may be anybody's. Places that a
    trial keeps beside those that Tune gives it would be waited for without end."""
    if config.keep_engines:
        raise ConfigurationError(
            "a search file sets keep_engines, but a trial's engines take turns with its other "
            "actors: leave it out"
        )
    for role, value in (("judge", config.judge), ("score", config.score)):
        if runs_code(value):
            raise ConfigurationError(
                f"a search file names code as {role} ({recorded(value)[:80]}), which is not run "
                f"from a file: name a reward model's folder, or leave {role} out"
            )


def train(config: AlignConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    from trainers.alignment.trial import train_in_rounds

    return train_in_rounds(config, run, reports)


def rounds(config: AlignConfig, asked: int) -> int:
    """A report a round, whatever was asked for."""
    return config.round_count


ALIGN = System(
    name="align",
    configuration=AlignConfig,
    metrics=metrics,
    train=train,
    resources=resources,
    prepare=prepare,
    check_file=check_file,
    reports=rounds,
    use=("rayforge align evaluate {run} --against OTHER_RUN",),
    commands={"train": AlignTrain, "evaluate": AlignEvaluate},
)
