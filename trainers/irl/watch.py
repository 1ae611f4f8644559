"""The episode viewer's page for a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rayforge.reports.viewer import write_viewer

from envs.graph.navigation_data import NavigationData, read_navigation_data
from trainers.configuration import ConfigurationError
from trainers.irl.run import data_folder, load_run


def watch(run: Path, split: str, count: int, data: Path | None) -> Path:
    """Write `watch_SPLIT.html` into a run folder from its evaluated episodes; returns its path.

    Raises ConfigurationError where the split was not evaluated.
    """
    config, _, objects = load_run(run)
    file = run / f"episodes_{split}.jsonl"
    if not file.is_file():
        done = sorted(p.stem.removeprefix("episodes_") for p in run.glob("episodes_*.jsonl"))
        raise ConfigurationError(
            f"{run} has no evaluation of split {split} (there are: {', '.join(done) or 'none'}); "
            f"make it with: rayforge irl evaluate {run} --split {split}"
        )
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    chosen = choose_episodes(lines, count)
    semantic = config.features == "semantic"
    document = json.loads((run / f"evaluation_{split}.json").read_text())
    folder = data or (Path(document["data"]) if document.get("data") else data_folder(config))
    known = read_navigation_data(
        folder, splits=(split,), held_out=config.held_out, features=config.features,
        neighbour_rooms=config.neighbour_rooms, objects=objects if semantic else None,
    )  # fmt: skip
    page = run / f"watch_{split}.html"
    maps = {scan: building_map(known, scan) for scan in {line["scan"] for line in chosen}}
    write_viewer(run, split, [with_steps(known, line) for line in chosen], maps, page)
    return page


def choose_episodes(lines: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Up to `count` episodes, half failures where there are as many, spread over the buildings."""
    won = [line for line in lines if line["success"]]
    lost = [line for line in lines if not line["success"]]
    failures = min(len(lost), max(count // 2, count - len(won)))

    def spread(items: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
        return [items[i] for i in np.linspace(0, len(items) - 1, n).astype(int)] if n else []

    return spread(lost, failures) + spread(won, min(len(won), count - failures))


def building_map(known: NavigationData, scan: str) -> dict[str, Any]:
    """Positions (metres), edges, room labels and ids of a building's viewpoints."""
    graph = known.graphs[scan]
    a, b = np.nonzero(np.triu(graph.adjacency))
    return {
        "positions": graph.positions.round(3).tolist(),
        "edges": np.stack([a, b], 1).tolist(),
        "rooms": [known.rooms.get((scan, name), "") for name in graph.viewpoints],
        "ids": list(graph.viewpoints),
    }


def with_steps(known: NavigationData, line: dict[str, Any]) -> dict[str, Any]:
    """An episode with what the viewer shows at each step."""
    steps = [
        {"viewpoint": place, "heading": heading, "probability": probability,
         "seen": known.seen_ahead(line["scan"], place, heading)}
        for place, heading, probability in zip(
            line["path"], line["headings"], line["probability"], strict=True
        )
    ]  # fmt: skip
    return {**line, "steps": steps}
