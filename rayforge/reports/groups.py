"""Runs of one method as a group, and what two groups differ by on the same items.

What is scored item by item stands in `RunFolder.episodes`: an agent's episodes, or the held-out
pairs and answers of an alignment run (`rayforge.reports.alignment.as_scored`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import Interval, paired_difference, seed_interval
from rayforge.reports.plots import shorten
from rayforge.reports.run_folder import RunFolder, flat, interval, number


@dataclass(frozen=True)
class Group:
    """Runs of one method that differ in their seeds alone."""

    name: str
    runs: tuple[RunFolder, ...]

    @property
    def label(self) -> str:
        """The names of its runs, as a person tells them apart."""
        names = [run.name for run in self.runs]
        stems = {re.sub(r"[-_. ]*(seed)?[-_. ]*\d+$", "", name) for name in names}
        if len(names) > 1 and len(stems) == 1 and "" not in stems:
            return f"{stems.pop()} ({len(names)} runs)"
        return ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"


def merge_seeds(runs: Sequence[RunFolder], not_learnt: Collection[str]) -> list[Group]:
    """Groups of runs with the same settings but for `not_learnt`, in the order they came.

    Two groups of the same method are told apart by the settings in which they differ.
    """
    members: dict[str, list[RunFolder]] = {}
    for run in runs:
        # A run without settings is compared under its own name: nothing says what it is.
        key = json.dumps(_learnt(run, not_learnt) or run.name, sort_keys=True, default=str)
        members.setdefault(key, []).append(run)
    found = list(members.values())
    names = [group[0].method for group in found]
    for name in {name for name in names if names.count(name) > 1}:
        places = [place for place, other in enumerate(names) if other == name]
        settings = [_learnt(found[place][0], not_learnt) for place in places]
        keys = sorted({key for known in settings for key in known})
        differing = [k for k in keys if len({str(known.get(k)) for known in settings}) > 1]
        for place, known in zip(places, settings, strict=True):
            said = ", ".join(f"{k}={known.get(k)}" for k in differing[:3])
            names[place] = f"{name} ({said or found[place][0].name})"
    return [Group(name, tuple(group)) for name, group in zip(names, found, strict=True)]


def _learnt(run: RunFolder, not_learnt: Collection[str]) -> dict[str, Any]:
    settings = flat(run.config)
    return {key: value for key, value in settings.items() if key not in not_learnt}


def over_seeds(group: Group, split: str, agent: str, metric: str) -> Interval:
    """A group's mean over its seeds with its t interval; of one run, its interval over episodes."""
    found = [interval(run.agents(split).get(agent, {}).get(metric)) for run in group.runs]
    found = [f for f in found if math.isfinite(f.mean)]
    return found[0] if len(found) == 1 else seed_interval([f.mean for f in found])


def over_episodes(a: Group, b: Group, split: str, metric: str) -> Interval:
    """a − b on the episodes that every run of both scored, each averaged over seeds first."""
    first, second = _per_episode(a, split, metric), _per_episode(b, split, metric)
    shared = sorted(first.keys() & second.keys())
    return paired_difference(
        np.array([first[name] for name in shared]), np.array([second[name] for name in shared])
    )


def over_same_seeds(a: Group, b: Group, split: str, metric: str) -> Interval:
    """a − b over the seeds that both have, with a t interval."""
    first, second = _per_seed(a, split, metric), _per_seed(b, split, metric)
    return seed_interval([first[s] - second[s] for s in sorted(first.keys() & second.keys())])


def why_not(a: Group, b: Group, split: str) -> str:
    """Why two groups cannot be subtracted on a split; "" where they can."""
    for fact, name in (("data", "data"), ("features", "observations")):
        first, second = ({_place(run.stated(fact)) for run in g.runs} for g in (a, b))
        if first != second:
            said = [", ".join(sorted(some)) or "not recorded" for some in (first, second)]
            return f"they differ in their {name} ({said[0]} against {said[1]})"
    for group in (a, b):
        for run in group.runs:
            if split not in run.episodes:
                return f"{run.name} was not scored on it"
    every = [_items(run, split) for group in (a, b) for run in group.runs]
    shared = set.intersection(*(set(items) for items in every))
    if not shared:
        return "they were not scored on the same episodes, pairs or prompts"
    for name in sorted(shared):
        if any(items[name] != every[0][name] for items in every):
            return f"what is called {shorten(name, 60)} is not the same in all of them: other data"
    return ""


def _place(stated: str) -> str:
    """A data folder by its full path, so that two ways of writing it are one; else as stated."""
    return str(Path(stated).resolve()) if stated and Path(stated).is_dir() else stated


def _items(run: RunFolder, split: str) -> dict[str, Any]:
    """What an item of a split is, by its name: the runs must have scored the same thing."""
    return {
        str(e.get("episode_id")): [e.get(k) for k in ("scan", "instruction", "goal", "reference")]
        for e in run.episodes[split]
    }


def _per_episode(group: Group, split: str, metric: str) -> dict[str, float]:
    """The mean over runs of an episode's figure, of the episodes that every run scored."""
    runs = [
        {str(e.get("episode_id")): number(e.get(metric)) for e in run.episodes.get(split, ())}
        for run in group.runs
    ]
    shared = set.intersection(*(set(values) for values in runs))
    means = {name: float(np.mean([values[name] for values in runs])) for name in shared}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _per_seed(group: Group, split: str, metric: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in group.runs:
        mean = interval(run.agents(split).get("agent", {}).get(metric)).mean
        if math.isfinite(mean) and run.stated("seed"):
            found[run.stated("seed")] = mean
    return found
