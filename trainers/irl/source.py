"""Another run that a run begins from: its words, and networks that fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import ConfigurationError, RunError
from rayforge.language.vocabulary import Vocabulary
from trainers.configuration import from_dict
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import load_run
from trainers.runs.checkpoint import latest, load_module

SEEN = ("env", "features", "neighbour_rooms", "network", "max_words", "text")
"""Settings that decide what the networks read; they must be the same."""
WRITING = ("top_p", "candidates", "agreement", "others")
"""Settings of the goal generator that decide how it is used, not what it has learnt."""
TAUGHT = ("data", "houses", "held_out", "buildings", "held_back", "shuffled_text")
"""Settings that decide which demonstrations are read: the same, where a clone is taken over."""


def source_words(config: IRLConfig) -> tuple[Vocabulary, tuple[str, ...]] | None:
    """The vocabulary and the object names of the run that `config` begins from, if it names one.

    Raises ConfigurationError where that run is not whole, or its networks would not fit.
    """
    name = config.start_from or config.reward_from
    if not name:
        return None
    run = Path(name)
    setting = "start_from" if config.start_from else "reward_from"
    other, vocabulary, objects = load_run(run)
    same: tuple[str, ...] = SEEN
    if config.reward_from:
        same = (*same, "method", "potential_shaping", "gamma")
    else:
        taught = () if config.start_anew else TAUGHT
        same = (*same, *taught, *(("generator",) if config.generates else ()))
    used = {name: getattr(config.generator, name) for name in WRITING}
    other = replace(other, generator=replace(other.generator, **used))
    for key in same:
        if getattr(other, key) != getattr(config, key):
            raise ConfigurationError(
                f"{setting} {run}: its {key} is {getattr(other, key)!r}, this run's "
                f"{getattr(config, key)!r}; they must be the same"
            )
    if config.start_from and config.generates and not other.generates:
        raise ConfigurationError(
            f"start_from {run}: it has no goal generator, which this run needs: start from a run "
            'of method "langgoal" with augment or relabel, or of "hindsight"'
        )
    return vocabulary, objects


def source_weights(config: IRLConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The module's weights and the state of that run's newest checkpoint.

    The reward of a run that has cloned and no more is what it begins as, log pi of its policy.
    Raises ConfigurationError, or CheckpointError for a checkpoint that is not whole.
    """
    run = Path(config.start_from or config.reward_from)
    checkpoint = latest(run / "checkpoints")
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint to begin from; train it first")
    weights, state = load_module(checkpoint)
    trained, counts = from_dict(IRLConfig, state["config"]), state["counts"]
    if config.reward_from and counts["irl"] < trained.updates:
        raise RunError(f"reward_from {run}: it is not trained to its end yet")
    if config.reward_from and counts["irl"] == 0:
        if not trained.cloning_first:
            raise RunError(f"reward_from {run}: its reward has learnt nothing")
        for own, taken in (
            ("policy.trunk.", "values.trunk."),
            ("policy.scorer.", "values.scorers.0."),
        ):
            named = {n: v for n, v in weights.items() if n.startswith(own)}
            weights |= {n.replace(own, f"reward.{taken}", 1): v for n, v in named.items()}
    return weights, state
