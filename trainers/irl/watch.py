"""The episode viewer's page for a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.graph.boxes import Boxes, SeenObject, read_boxes, read_room_labels
from envs.graph.buildings import HEADING_BINS, heading_bin
from envs.graph.navigation_graph import SUFFIX, NavigationGraph, read_connectivity
from envs.houses.house import ROOM_NAMES
from rayforge.errors import ConfigurationError, RunError
from rayforge.readers.json_text import read_json_lines, read_object
from rayforge.reports.viewer import write_viewer
from trainers.irl.run_folder import data_folder, load_run

PLANNER = "planner.json"
"""In the folder of a run that plans (`rayforge irl plan`)."""
FILMED = 12
"""Episodes of a film at most: a minute or two."""
SPOKEN = {
    "dining_room": "dining room", "familyroom": "family room", "laundryroom": "laundry room",
    "meetingroom": "meeting room", "rec": "recreation room", "tv": "TV room",
    "utilityroom": "utility room", "workout": "gym",
}  # fmt: skip
"""Names of rooms of which R2R's file has a short form."""
WORDS = 8
"""Things named at most as being ahead."""


def watch(run: Path, split: str, count: int, data: Path | None) -> Path:
    """Write `watch_SPLIT.html` into a run folder from its evaluated episodes; returns its path. In
    3-D scenes it is a film, `watch_SPLIT.mp4`, with a contact sheet beside it.

    Shows up to `count` episodes. Maps, room labels and objects come from the folder `data`, or
    from the one that was evaluated; rooms and objects are left out where it has none.

    Raises:
        ConfigurationError: the split was not evaluated, or its files do not fit together.
        DataError: the data folder lacks a building's graph, or something in it is malformed.
    """
    if count < 1:
        raise ConfigurationError(f"episodes must be at least 1, got {count}")
    config, _, _ = load_run(run)
    if split == "unseen":
        split = "held_out" if config.held_out else "val_unseen"
    if config.env == "continuous":
        count = min(count, FILMED)
    scored = _evaluated(run, split)
    if not scored:
        raise ConfigurationError(f"{run} was evaluated on no episode of split {split}")
    episodes = choose_episodes(scored, count)
    folder = data or _folder_of(run, split) or data_folder(config)
    if config.env == "continuous":
        from trainers.irl.watch_walks import watch_walks

        return watch_walks(run, split, config, episodes, folder)
    scans = sorted({episode["scan"] for episode in episodes})
    graphs = [read_connectivity(folder / "connectivity" / f"{scan}{SUFFIX}") for scan in scans]
    labels_file = folder / "vp2room_label.json"
    labels = read_room_labels(labels_file, scans) if labels_file.is_file() else {}
    source = next((folder / n for n in ("BBox", "BBox.tar.gz") if (folder / n).exists()), None)
    boxes = read_boxes(source, scans) if source is not None else {}
    page = run / f"watch_{split}.html"
    maps = {graph.scan: building_map(graph, labels) for graph in graphs}
    if (run / PLANNER).is_file():
        from trainers.irl.watch_plan import with_plans

        episodes = with_plans(run, split, folder, episodes)
    try:
        shown = [with_steps(boxes, e) for e in episodes]
        return write_viewer(run, split, shown, maps, page, scored)
    except ValueError as error:
        raise ConfigurationError(
            f"{run / f'episodes_{split}.jsonl'} does not fit {folder}: {error}; name the evaluated "
            "folder with --data"
        ) from error


def choose_episodes(lines: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Up to `count` episodes, half failures where there are as many, spread over the buildings.

    Episodes of different paths in which the agent moves come first: several instructions of one
    path, or an agent that stands still, show little.
    """
    seen: set[str] = set()
    first: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for line in lines:
        path = json.dumps([line["scan"], line.get("reference", line.get("expert"))])
        places = line.get("path", line.get("positions", []))
        fresh = path not in seen and any(place != places[0] for place in places)
        seen |= {path} if fresh else set()
        (first if fresh else others).append(line)

    def spread(items: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
        return [items[i] for i in np.linspace(0, len(items) - 1, n).astype(int)] if n else []

    def some(success: bool, n: int) -> list[dict[str, Any]]:
        best, rest = ([line for line in part if line["success"] == success]
                      for part in (first, others))  # fmt: skip
        return spread(best, min(n, len(best))) + spread(rest, max(0, n - len(best)))

    won = sum(line["success"] for line in lines)
    failures = min(len(lines) - won, max(count // 2, count - won))
    return some(False, failures) + some(True, min(won, count - failures))


def building_map(graph: NavigationGraph, labels: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Positions (metres), edges, rooms' names and ids of a building's viewpoints."""
    rooms = [labels.get((graph.scan, viewpoint), "") for viewpoint in graph.viewpoints]
    return {
        "positions": graph.positions.round(3).tolist(),
        "edges": np.argwhere(np.triu(graph.adjacency)).tolist(),
        "rooms": [room_name(label) for label in rooms],
        "ids": list(graph.viewpoints),
    }


def room_name(label: str) -> str:
    """A room's name as people say it, "" for a label without one: R2R's list several in one, as in
    "entryway/foyer/lobby", of which the first is taken."""
    name = ROOM_NAMES.get(label, "").split("/")[0]
    return SPOKEN.get(name, name)


def with_steps(boxes: Boxes, episode: dict[str, Any]) -> dict[str, Any]:
    """An episode with what the viewer shows at each step."""
    facts = zip(episode["path"], episode["headings"], episode["probability"], strict=True)
    steps = [
        {
            "viewpoint": place,
            "heading": heading,
            "probability": probability,
            "seen": seen_ahead(boxes.get((episode["scan"], place), ()), heading),
        }
        for place, heading, probability in facts
    ]
    return {**episode, "steps": steps}


def seen_ahead(objects: Sequence[SeenObject], heading: float) -> list[str]:
    """Names of objects within 45 degrees of a heading (radians), the most frequent first: what
    the agent is shown as being ahead, at all elevations."""
    ahead = (int(heading_bin(heading)) + np.arange(-1, 2)) % HEADING_BINS
    names = Counter(
        " ".join(seen.words)
        for seen in objects
        if np.isin(np.array(seen.views) % HEADING_BINS, ahead).any()
    )
    return [name for name, _ in names.most_common(WORDS) if name]


def _evaluated(run: Path, split: str) -> list[dict[str, Any]]:
    """The evaluated episodes of a split."""
    file, submission = run / f"episodes_{split}.jsonl", run / f"submission_{split}.json"
    if not file.is_file() and submission.is_file():
        raise RunError(
            f"{run}: split {split} has no goals, so there is no success or failure to watch; where "
            f"the agent went is in {submission}"
        )
    if not file.is_file():
        done = sorted(p.stem.removeprefix("episodes_") for p in run.glob("episodes_*.jsonl"))
        raise RunError(
            f"{run} has no evaluation of split {split} (there are: {', '.join(done) or 'none'}); "
            f"make it with: rayforge irl evaluate {run} --split {split}"
        )
    episodes = []
    for place, record in read_json_lines(file, RunError):
        if not isinstance(record, dict):
            raise RunError(
                f"{place}: no episode; make the file again with: rayforge irl evaluate {run} "
                f"--split {split}"
            )
        episodes.append(record)
    return episodes


def _folder_of(run: Path, split: str) -> Path | None:
    """The data folder that was evaluated, where the run says so and it is still there."""
    try:
        named = read_object(run / f"evaluation_{split}.json", RunError).get("data")
    except RunError:
        return None
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else None
