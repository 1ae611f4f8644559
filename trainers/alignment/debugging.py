"""Alignment for `--debug`: in one process without Ray, where a breakpoint works, and small."""

from __future__ import annotations

from dataclasses import replace

from rayforge.settings import at_most
from trainers.alignment.config import AlignConfig

LANGUAGE_MODEL = {
    "rounds": 2, "steps": 2, "batch": 8, "prompts": 8, "responses": 2, "evaluation_prompts": 4,
    "generation_batch": 8, "scoring_batch": 8, "max_new_tokens": 32,
}  # fmt: skip
ROUTES = {"pairs": 64, "start_routes": 64, "test_routes": 8}
START = {"steps": 8, "clean_steps": 8, "batch": 8}
"""Sizes at most."""


def small_language_model(config: AlignConfig) -> AlignConfig:
    """No Ray at all: training, scoring and generation take place in this process."""
    return replace(
        at_most(config, LANGUAGE_MODEL),
        routes=at_most(config.routes, ROUTES),
        start=at_most(config.start, START),
        accumulate=1, workers=0, actors=0, threads=1,
    )  # fmt: skip
