"""What is done to a split of data before runs are scored on it: the shifts of a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.graph.navigation_data import SCENES, read_navigation_data
from envs.graph.rendered_features import Rendering
from envs.shifts.features import shifted_tables
from envs.shifts.images import HIGHER, NARROWER
from envs.shifts.shift import Shift
from envs.shifts.words import paraphrases, shifted_words
from rayforge.irl.demonstrations import Demonstrations
from trainers.analysis.transfer_config import Target
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task


def told_otherwise(split: Demonstrations, rows: np.ndarray, target: Target, task: Task[Any],
                   seed: int) -> Demonstrations:  # fmt: skip
    """The episodes `rows` of a split, with what a target says instead of their instructions."""
    tokens = split.paths.tokens
    if target.paraphrased:
        tokens = tokens[_paraphrases(split)]
    chosen = split.take(rows)
    tokens = tokens[rows]
    if (shift := target.word_shift) is not None:
        tokens = shifted_words(tokens, shift, task.vocabulary, seed)
    return replace(chosen, paths=chosen.paths.with_tokens(tokens))


def told_twice(split: Demonstrations) -> np.ndarray:
    """Which rows have another instruction of the same path, bool [n]."""
    found: np.ndarray = _paraphrases(split) != np.arange(len(split))
    return found


def _paraphrases(split: Demonstrations) -> np.ndarray:
    return paraphrases(split.route, [episode.instruction for episode in split.episodes])


def seen_otherwise(task: Task[Any], config: IRLConfig, target: Target, seed: int) -> Task[Any]:
    """A task as a target's camera shows it, and its features under the target's shift.

    Raises DataError or SceneError where scenes are wanted and are not there.
    """
    world = task.world
    if (camera := target.camera_shift) is not None:
        world = replace(world, tables=_rendered(task, config, camera))
    if (shift := target.feature_shift) is not None:
        world = replace(world, tables=shifted_tables(world.tables, shift, seed))
    return replace(task, world=world)


def _rendered(task: Task[Any], config: IRLConfig, shift: Shift) -> Any:
    """The tables of a task whose camera stands higher or sees a narrower field."""
    level = shift.severity - 1
    rendering = Rendering(
        Path(config.scenes) if config.scenes else task.folder / SCENES,
        config.simulator, config.simulation,
        raised=HIGHER[level] if shift.name == "higher" else 0.0,
        field=NARROWER[level] if shift.name == "narrower" else 1.0,
    )  # fmt: skip
    data = read_navigation_data(
        task.folder, splits=tuple(task.splits), features=config.features,
        neighbour_rooms=config.neighbour_rooms, objects=task.objects, rendering=rendering,
    )  # fmt: skip
    return data.tables
