"""The episode viewer: one self-contained page of episodes, on a map and step by step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.reports.page import asset, embed, render, write_page
from rayforge.reports.run_folder import number
from rayforge.reports.section import spoken

SCRIPTS = "viewer_map.js", "viewer_plan.js", "viewer.js"
_STOREY = 2.2
"""Metres between two floors at least; heights of one floor differ by a step or a gallery less."""


def write_viewer(
    run: Path,
    split: str,
    episodes: Sequence[Mapping[str, Any]],
    maps: Mapping[str, Mapping[str, Any]],
    file: Path,
    scored: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write the viewer's page; returns its path.

    Args:
        run: the run folder, for its name and a link to its report.
        split: name of the split that the episodes are of.
        episodes: as in `episodes_<split>.jsonl`, each optionally with `steps`, one a viewpoint of
            its path: {"viewpoint", "heading" (radians, clockwise from +y), "probability" (of the
            action taken), "seen" (words for what is ahead)}; any of these may be missing. With a
            `plan` ({"words", "ways" [viewpoint ids], "alike" [numbers of ways], "belief" [words,
            ways]}) the page shows what a planner believes word by word.
        maps: per building {"positions": [[x, y, z] metres], "edges": [[i, j]], "rooms": [label],
            "ids": [viewpoint id]}; only the buildings of `episodes` are embedded.
        file: the page to write.
        scored: all episodes of the split, of which `episodes` are a choice; empty where they are
            all there are.

    Raises ValueError naming episode and building or viewpoint where a path leaves its map, or a
    map's lists do not fit together.
    """
    scans = {str(episode["scan"]) for episode in episodes}
    missing = sorted(scans - set(maps))
    if missing:
        raise ValueError(f"episodes lie in building {missing[0]}, of which no map was given")
    buildings = {scan: _building(scan, maps[scan]) for scan in sorted(scans)}
    places = {scan: {name: i for i, name in enumerate(maps[scan]["ids"])} for scan in scans}
    shown = [_episode(episode, places[str(episode["scan"])]) for episode in episodes]
    count = Counter(room for building in buildings.values() for room in building["rooms"])
    data = {
        "split": split,
        "scans": buildings,
        "episodes": shown,
        # Frequent rooms first: they get the colours that differ most.
        "rooms": sorted((room for room in count if room), key=lambda room: (-count[room], room)),
    }
    return write_page(
        file,
        render(
            "viewer.html", script="".join(map(asset, SCRIPTS)),
            style=asset("viewer.css"), title=f"{_heading(split)} of {run.resolve().name}",
            run=run.resolve().name, heading=_heading(split), chosen=_chosen(episodes, scored),
            report=file.parent == run, data=embed(data),
        ),
    )  # fmt: skip


def _heading(split: str) -> str:
    where = {"val_seen": "in buildings of the training", "val_unseen": "in new buildings"}
    return f"Episodes {where[split]} ({split})" if split in where else f"Episodes, {spoken(split)}"


def _chosen(shown: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]]) -> str:
    """That a choice of episodes is none by chance: its share of successes says nothing."""
    if not scored:
        return ""
    won = sum(bool(episode.get("success")) for episode in scored)
    return (
        f"{len(shown)} of {len(scored):,} scored episodes, chosen so that half of them miss the "
        f"goal where there are as many. Of all {len(scored):,}, {won / len(scored):.0%} reach it."
    )


def floors(heights: np.ndarray) -> np.ndarray:
    """The storey of each viewpoint, int [n], 0 the lowest, from heights [n] in metres.

    Designed here: storeys are the crowded heights at least 2.2 m apart, and each viewpoint
    belongs to the nearest, so that those on stairs go with the storey they are closer to.
    """
    z = np.asarray(heights, np.float64)
    if not len(z):
        return np.zeros(0, np.int64)
    crowd = (np.abs(z[:, None] - z[None, :]) < 0.4).sum(1)
    # A lone viewpoint half-way up is a stair, not a storey, unless all are that lonely.
    fewest = min(crowd.max(), max(2, 0.03 * len(z)))
    levels: list[float] = []
    for place in np.argsort(-crowd, kind="stable"):
        if crowd[place] >= fewest and all(abs(z[place] - level) >= _STOREY for level in levels):
            levels.append(float(z[place]))
    found: np.ndarray = np.abs(z[:, None] - np.sort(levels)[None, :]).argmin(1)
    return found


def _building(scan: str, given: Mapping[str, Any]) -> dict[str, Any]:
    positions = np.asarray(given["positions"], np.float64).reshape(-1, 3)
    count = len(positions)
    edges = np.asarray(given["edges"], np.int64).reshape(-1, 2)
    for name in ("rooms", "ids"):
        if len(given[name]) != count:
            raise ValueError(
                f"map of building {scan}: {count} positions but {len(given[name])} {name}"
            )
    if edges.size and not (edges.min() >= 0 and edges.max() < count):
        raise ValueError(f"map of building {scan}: an edge names a viewpoint beyond {count - 1}")
    return {
        "positions": positions.round(2),
        "edges": edges,
        "rooms": [str(room or "") for room in given["rooms"]],
        "floors": floors(positions[:, 2]),
    }


def _episode(given: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    """An episode with viewpoints as numbers; facts it lacks become null."""
    name = str(given.get("episode_id", "?"))

    def numbers_of(viewpoints: Sequence[str], what: str) -> list[int]:
        found = [places.get(viewpoint, -1) for viewpoint in viewpoints]
        if -1 in found:
            raise ValueError(
                f"episode {name}: viewpoint {viewpoints[found.index(-1)]} of its {what} is not on "
                f"the map of building {given['scan']}"
            )
        return found

    path = numbers_of(given.get("path", ()), "path")
    reference = numbers_of(given.get("reference", ()), "reference")
    if not path or not reference:
        raise ValueError(f"episode {name}: path and reference need one viewpoint at least")
    steps = [dict(step) for step in given.get("steps") or ()]
    if steps and len(steps) != len(path):
        raise ValueError(f"episode {name}: {len(steps)} steps for {len(path)} viewpoints")
    plan = given.get("plan")
    if plan is not None:
        ways = [numbers_of(way, "plan") for way in plan["ways"]]
        alike = [[int(k) for k in near] for near in plan["alike"]]
        belief = [[_rounded(p) for p in row] for row in plan["belief"]]
        if not len(ways) == len(alike) == len(belief[0]) or len(belief) != len(plan["words"]):
            raise ValueError(f"episode {name}: the lists of its plan do not fit together")
        words = [str(word) for word in plan["words"]]
        plan = {"words": words, "ways": ways, "alike": alike, "belief": belief}
    return {
        "plan": plan,
        "id": name,
        "scan": str(given["scan"]),
        "text": str(given.get("instruction", "")),
        "path": path,
        "reference": reference,
        "success": bool(given.get("success")),
        "distance": number(given.get("distance")),
        "spl": number(given.get("spl")),
        "forced": bool(given.get("forced_stop")),
        "heading": [_rounded(step.get("heading")) for step in steps],
        "probability": [_rounded(step.get("probability")) for step in steps],
        "seen": [[str(word) for word in step.get("seen") or ()] for step in steps],
    }


def _rounded(value: Any) -> float:
    figure = number(value)
    return round(figure, 3) if math.isfinite(figure) else math.nan
