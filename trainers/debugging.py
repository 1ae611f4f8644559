"""The same run for `--debug`: in one process, where a breakpoint works, and over in a minute."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from trainers.alignment.config import AlignConfig
from trainers.irl.config import IRLConfig

AGENT = {
    "clone_updates": 8, "updates": 8, "warm_up": 2, "updates_per_iteration": 2, "batch": 16,
    "episodes_per_iteration": 16, "positives": 8, "negatives": 8, "replay": 512, "recent": 128,
    "open_scenes": 4,
}  # fmt: skip
WALK = 160
"""Actions of an episode in 3-D scenes, where the configuration leaves its usual number: the expert
needs up to about a hundred in generated houses. Data with longer walks need --max-walk."""
HOUSES = {"train_houses": 2, "unseen_houses": 1, "paths_per_house": 6}
GENERATOR = {"updates": 8, "batch": 16}

LANGUAGE_MODEL = {
    "rounds": 2, "steps": 2, "batch": 8, "prompts": 8, "responses": 2, "evaluation_prompts": 4,
    "generation_batch": 8, "scoring_batch": 8, "max_new_tokens": 32,
}  # fmt: skip
ROUTES = {"pairs": 64, "start_routes": 64, "test_routes": 8}
START = {"steps": 8, "clean_steps": 8, "batch": 8}
"""Sizes at most; what a configuration asks less of stays."""


def small_agent(config: IRLConfig) -> IRLConfig:
    """One process, one thread: the same seed gives the same run, number by number."""
    usual = config.max_walk == IRLConfig.max_walk
    return replace(
        _at_most(config, AGENT),
        max_walk=WALK if usual else config.max_walk,
        houses=_at_most(config.houses, HOUSES),
        generator=_at_most(config.generator, GENERATOR),
        runners=0, runner_resource="", simulator_processes=False, threads=1,
    )  # fmt: skip


def small_language_model(config: AlignConfig) -> AlignConfig:
    """No Ray at all: training, scoring and generation take place in this process."""
    return replace(
        _at_most(config, LANGUAGE_MODEL),
        routes=_at_most(config.routes, ROUTES),
        start=_at_most(config.start, START),
        accumulate=1, workers=0, actors=0, threads=1,
    )  # fmt: skip


Sized = TypeVar("Sized")


def _at_most(config: Sized, sizes: dict[str, int]) -> Sized:
    lowered = {name: min(getattr(config, name), size) for name, size in sizes.items()}
    return replace(config, **lowered)  # type: ignore[type-var]
