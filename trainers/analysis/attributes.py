"""What episodes can be grouped by: length, building, room of the goal.

Attributes of people are not among them, and are not inferred.
"""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from envs.graph.boxes import read_room_labels
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.reports.alignment import is_alignment_run

AGENTS = ("length", "building", "room", "corpus")
LANGUAGE = ("length",)


def check_attribute(name: str, known: tuple[str, ...], whose: str) -> None:
    """Raises ConfigurationError for an attribute that there is not, with the nearest."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigurationError(f"unknown attribute {name[:80]!r} of {whose}; {hint}")


def check_agents_run(run: Path, what: str) -> None:
    """Raises RunError for a folder that holds no run, or one of another system."""
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} is not a run folder: it has no config.yaml")
    if is_alignment_run(run):
        raise RunError(f"{run} is a language model's run: {what} needs an agent's")


def goal_rooms(task: Any, split: Any) -> np.ndarray | None:
    """The room label of every goal, [n]; None where the data has no labels."""
    file = task.folder / "vp2room_label.json"
    if not file.is_file():
        return None
    labels = _labels(file, tuple(sorted({episode.scan for episode in split.episodes})))
    names = task.world.buildings.viewpoint_ids
    pairs = zip(split.episodes, split.goal, strict=True)
    return np.array([labels.get((e.scan, names[int(goal)]), "-") for e, goal in pairs])


@cache
def _labels(file: Path, scans: tuple[str, ...]) -> dict[tuple[str, str], str]:
    return read_room_labels(file, scans)


def values_of(name: str, task: Any, split: Any) -> np.ndarray:
    """An attribute's value of every episode, [n]. Raises DataError where the data has none."""
    if name == "length":
        return np.asarray(split.words)
    if name == "building":
        return np.array([episode.scan for episode in split.episodes])
    rooms = goal_rooms(task, split)
    if rooms is None:
        raise DataError(f"{task.folder} has no vp2room_label.json: attribute room needs labels")
    return rooms
