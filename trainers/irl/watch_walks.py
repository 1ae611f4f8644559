"""The film of a run in 3-D scenes: walks rendered again from their evaluated poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from envs.continuous.homes import Homes
from envs.graph.boxes import read_room_labels
from envs.graph.navigation_data import SCENES
from envs.graph.navigation_graph import SUFFIX, read_connectivity
from envs.simulators.opening import open_simulator
from envs.simulators.simulator import Poses, Simulator
from rayforge.errors import ConfigurationError
from rayforge.files import whole_file, write_whole
from rayforge.reports.film import FloorPlan, contact_sheet, draw_frame, write_film
from trainers.irl.config import IRLConfig
from trainers.irl.watch import room_name

PIXELS = 256
"""Side of the views in the film; the agent saw smaller ones."""
PER_SECOND = 8
HOLD = 12
"""Frames for which a walk's end is shown."""
SHOWN = 6
"""Frames of a walk on the contact sheet."""
CELL = 0.1
"""Metres of a cell of the map."""
AROUND = 1.5
"""Metres of map around the paths."""


def watch_walks(
    run: Path, split: str, config: IRLConfig, lines: Sequence[dict[str, Any]], folder: Path
) -> Path:
    """Write `watch_SPLIT.mp4` and the contact sheet `watch_SPLIT.png`; returns the film's path.

    Args:
        lines: the evaluated episodes to show (`evaluate_walks.walk_lines`).
        folder: the data folder that was evaluated.

    Raises:
        ConfigurationError: a scene is missing.
        SceneError: a scene cannot be used.
    """
    where = Path(config.scenes) if config.scenes else folder / SCENES
    scenes = sorted({line["scene"] for line in lines})
    missing = [scene for scene in scenes if not (where / scene).is_file()]
    if missing:
        raise ConfigurationError(
            f"{where} lacks {len(missing)} of the scenes that were evaluated, the first "
            f"{missing[0]}; name the evaluated folder with --data"
        )
    camera = replace(
        config.simulation.camera, width=PIXELS, height=PIXELS, colour=True, depth=False,
        semantic=False,
    )  # fmt: skip
    opened = partial(
        open_simulator, kind=config.simulator, config=replace(config.simulation, camera=camera),
        own_process=config.simulator_processes,
    )  # fmt: skip
    homes = Homes(where, scenes, opened, min(8, config.open_scenes))
    sheet: list[list[np.ndarray]] = []
    film = run / f"watch_{split}.mp4"
    try:
        with whole_file(film) as part:
            write_film(part, _frames(homes, lines, sheet, folder), PER_SECOND)
    finally:
        homes.close()
    write_whole(
        run / f"watch_{split}.png", lambda stream: contact_sheet(sheet).save(stream, format="PNG")
    )
    return film


def _frames(
    homes: Homes, lines: Sequence[dict[str, Any]], sheet: list[list[np.ndarray]], folder: Path
) -> Iterator[np.ndarray]:
    """The film's frames, walk after walk; those of the contact sheet are put into `sheet`."""
    for number, line in enumerate(lines, start=1):
        scene = homes.scenes.index(line["scene"])
        position = np.array(line["positions"], np.float32)
        simulator = homes.simulator(scene)
        plan = floor_plan(simulator, np.concatenate([position, np.array(line["expert"])]))
        plan = replace(plan, rooms=room_names(folder, line["scan"], float(position[0, 1])))
        chosen = np.unique(np.linspace(0, len(position) - 1, SHOWN).round())
        row: list[np.ndarray] = []
        for step, yaw in enumerate(line["yaws"]):
            pose = Poses(position[step : step + 1], np.array([yaw], np.float32))
            views = simulator.render(pose).colour
            assert views is not None
            frame = draw_frame(views[0], plan, line, step, f"{number} of {len(lines)}")
            if step in chosen:
                row.append(frame)
            yield frame
        sheet.append(row)
        yield from [frame] * HOLD


def room_names(folder: Path, scan: str, height: float) -> list[tuple[str, float, float]]:
    """The rooms of a storey that stands at `height`, by name and middle (x, z) in habitat's axes;
    none where the data folder has no graph of the building, or no labels of its viewpoints."""
    graph_file, labels_file = (
        folder / "connectivity" / f"{scan}{SUFFIX}", folder / "vp2room_label.json"
    )  # fmt: skip
    if not (graph_file.is_file() and labels_file.is_file()):
        return []
    graph = read_connectivity(graph_file)
    labels = read_room_labels(labels_file, [scan])
    room = np.array([labels.get((scan, viewpoint), "") for viewpoint in graph.viewpoints])
    above = graph.positions[:, 2] - height  # viewpoints are at the height of eyes
    here = (above > -0.5) & (above < 2.5) & (room != "")
    joined = graph.adjacency & (room[:, None] == room) & here[:, None] & here
    count, group = connected_components(joined, directed=False)
    middles = [(group == n) & here for n in range(count)]
    return [
        (room_name(room[found][0]), *(graph.positions[found, :2].mean(0) * (1, -1)))
        for found in middles
        if found.any() and room_name(room[found][0])
    ]


def floor_plan(simulator: Simulator, points: np.ndarray) -> FloorPlan:
    """Where one can stand around points [n, 3], at the height of the first."""
    low, high = points.min(0)[[0, 2]] - AROUND, points.max(0)[[0, 2]] + AROUND
    side = float((high - low).max())  # a square, with the paths in its middle
    corner = (low + high - side) / 2
    count = max(1, round(side / CELL))
    across, down = np.meshgrid(np.arange(count), np.arange(count))
    places = np.stack(
        [
            corner[0] + (across + 0.5) * CELL,
            np.full(across.shape, points[0, 1]),
            corner[1] + (down + 0.5) * CELL,
        ],
        axis=-1,
    )
    open_there = simulator.navigable(places.reshape(-1, 3).astype(np.float32))
    return FloorPlan(open_there.reshape(count, count), corner, CELL)
