"""Navigation graphs in the Matterport3D simulator's connectivity format.

A file ``{scan}_connectivity.json`` is a list of viewpoints with ``image_id``, ``pose`` (4 x 4,
row-major, camera to world), ``included``, and two rows of flags over all viewpoints of the file:
``visible`` (line of sight) and ``unobstructed`` (one can walk there).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import DataError
from rayforge.readers.faults import kind_of, one_line, shown
from rayforge.readers.json_text import read_json

SUFFIX = "_connectivity.json"
_FAR = 1e6
"""Metres from the origin that no building has."""
REQUIRED = ("image_id", "pose", "included", "visible", "unobstructed")


@dataclass(frozen=True, eq=False)
class NavigationGraph:
    """The included viewpoints of one building.

    Attributes:
        scan: the building.
        viewpoints: ids, in file order (n of them).
        positions: float64 [n, 3], metres, x east, y north, z up (the camera's place).
        adjacency: bool [n, n], symmetric, False on the diagonal: one can walk between the two.
        visible: bool [n, n]: row i sees column j.
        rows: viewpoint id to its row.
    """

    scan: str
    viewpoints: tuple[str, ...]
    positions: np.ndarray
    adjacency: np.ndarray
    visible: np.ndarray
    rows: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.viewpoints)
        rows = {viewpoint: row for row, viewpoint in enumerate(self.viewpoints)}
        if len(rows) != count:
            raise DataError(f"building {self.scan}: a viewpoint id stands twice")
        if self.positions.shape != (count, 3) or not np.isfinite(self.positions).all():
            raise DataError(
                f"building {self.scan}: positions must be finite [{count}, 3],"
                f" found shape {self.positions.shape}"
            )
        for name in ("adjacency", "visible"):
            flags = getattr(self, name)
            if flags.shape != (count, count) or flags.dtype != np.bool_:
                raise DataError(
                    f"building {self.scan}: {name} must be bool [{count}, {count}],"
                    f" found {flags.dtype} {flags.shape}"
                )
        if (self.adjacency != self.adjacency.T).any() or self.adjacency.diagonal().any():
            raise DataError(f"building {self.scan}: adjacency must be symmetric and free of loops")
        object.__setattr__(self, "rows", rows)


def read_connectivity(file: Path) -> NavigationGraph:
    """Read one ``{scan}_connectivity.json``.

    An edge needs both ends ``included`` and the flag ``unobstructed`` in either direction, as in
    the Matterport3D simulator's own loader (an undirected graph).

    Raises:
        DataError: the file is missing, wrongly named, not JSON, or a viewpoint in it is malformed
            (missing key, id twice, pose without 16 finite numbers, flag rows of another length).
    """
    if not file.name.endswith(SUFFIX) or file.name == SUFFIX:
        raise DataError(f"{file}: a navigation graph's file is called {{scan}}{SUFFIX}")
    entries = read_json(file)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{file}: expected a list of viewpoints, one at least")
    count = len(entries)
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        place = f"{file}: viewpoint {number}"
        _check_entry(place, entry, count)
        other = first.setdefault(entry["image_id"], number)
        if other != number:
            raise DataError(
                f"{place}: image_id {shown(entry['image_id'])} is viewpoint {other}'s too"
            )
    poses = np.array([entry["pose"] for entry in entries], dtype=np.float64)
    included = np.array([entry["included"] for entry in entries])
    if not included.any():
        raise DataError(f"{file}: no viewpoint is `included`")
    kept = np.flatnonzero(included)
    square = np.ix_(kept, kept)
    walkable = np.array([entry["unobstructed"] for entry in entries])[square]
    adjacency = walkable | walkable.T
    np.fill_diagonal(adjacency, False)
    return NavigationGraph(
        scan=file.name.removesuffix(SUFFIX),
        viewpoints=tuple(entries[row]["image_id"] for row in kept),
        positions=poses[kept][:, [3, 7, 11]],
        adjacency=adjacency,
        visible=np.array([entry["visible"] for entry in entries])[square],
    )


def write_connectivity(file: Path, graph: NavigationGraph) -> None:
    """Write a graph as ``{scan}_connectivity.json``; the same graph gives the same bytes.

    Poses carry the position only (no rotation), ``height`` is the camera's 1.5 m.

    Raises:
        DataError: the file's name does not fit the building.
    """
    if file.name != graph.scan + SUFFIX:
        raise DataError(f"{file}: the graph of {graph.scan} belongs in {graph.scan}{SUFFIX}")
    lines = []
    for row, viewpoint in enumerate(graph.viewpoints):
        x, y, z = (float(value) for value in graph.positions[row])
        entry = {
            "image_id": viewpoint,
            "pose": [1.0, 0.0, 0.0, x, 0.0, 1.0, 0.0, y, 0.0, 0.0, 1.0, z, 0.0, 0.0, 0.0, 1.0],
            "included": True,
            "visible": graph.visible[row].tolist(),
            "unobstructed": graph.adjacency[row].tolist(),
            "height": 1.5,
        }
        lines.append(json.dumps(entry))
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _check_entry(place: str, entry: Any, count: int) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{place}: expected an object, found {kind_of(entry)}")
    missing = [key for key in REQUIRED if key not in entry]
    if missing:
        raise DataError(f"{place}: missing key {shown(missing[0])}; it has {shown(sorted(entry))}")
    if not isinstance(entry["image_id"], str) or not entry["image_id"]:
        raise DataError(f"{place}: image_id must be a text, found {shown(entry['image_id'])}")
    place = f"{place} ({one_line(entry['image_id'])})"
    pose = entry["pose"]
    if (
        not isinstance(pose, list)
        or len(pose) != 16
        or not all(type(v) in (int, float) and -_FAR <= v <= _FAR for v in pose)
    ):
        raise DataError(
            f"{place}: pose must be 16 finite numbers (4 x 4, row-major; metres), none above"
            f" {_FAR:,.0f}"
        )
    if not isinstance(entry["included"], bool):
        raise DataError(
            f"{place}: included must be true or false, found {shown(entry['included'])}"
        )
    for key in ("visible", "unobstructed"):
        flags = entry[key]
        if not isinstance(flags, list) or len(flags) != count:
            found = len(flags) if isinstance(flags, list) else type(flags).__name__
            raise DataError(f"{place}: {key} must have {count} flags, one a viewpoint; has {found}")
        if set(map(type, flags)) != {bool}:
            raise DataError(f"{place}: {key} must hold true or false only")
