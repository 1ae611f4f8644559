"""Room-to-Room JSON: one record a path with its instructions, read as one `Episode` each.

Format: Anderson et al. 2018 (R2R): a list of objects with the keys ``scan``, ``path_id``,
``path``, ``heading``, ``instructions`` and, where written by the authors, ``distance``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from envs.episodes.episode import Episode
from envs.episodes.strict_json import read_json
from envs.graph.navigation_graph import NavigationGraph
from rayforge.errors import DataError
from rayforge.files import write_text

REQUIRED = ("scan", "path_id", "path", "heading", "instructions")


def read_r2r(
    file: Path, graphs: Mapping[str, NavigationGraph] | None = None
) -> tuple[Episode, ...]:
    """Read one R2R file, in file order, one `Episode` for each instruction.

    Args:
        file: ``R2R_{split}.json``.
        graphs: if given, every path is checked against its building's graph.

    Raises:
        DataError: the file or a record is malformed (missing or wrongly typed key, path id used
            twice, empty path or instruction, heading not finite), or, with `graphs`, a building
            has no graph, a viewpoint is not in it, or a step is no edge.
    """
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{file}: expected a list of records, found {_kind(records)}")
    episodes: list[Episode] = []
    seen: dict[int, int] = {}
    for number, record in enumerate(records):
        place = f"{file}: record {number}"
        _check_record(place, record)
        path_id = record["path_id"]
        place = f"{place} (path_id {path_id})"
        if path_id in seen:
            raise DataError(f"{place}: record {seen[path_id]} has this path_id too; ids are unique")
        seen[path_id] = number
        path = tuple(record["path"])
        episodes.extend(
            Episode(
                episode_id=f"{path_id}_{k}",
                path_id=path_id,
                scan=record["scan"],
                path=path,
                heading=float(record["heading"]),
                instruction=instruction,
            )
            for k, instruction in enumerate(record["instructions"])
        )
    if graphs is not None:
        check_paths(file, episodes, graphs)
    return tuple(episodes)


def check_paths(
    file: Path, episodes: Iterable[Episode], graphs: Mapping[str, NavigationGraph]
) -> None:
    """Check that every episode's path walks along edges of its building's graph.

    Args:
        file: where the episodes are from, for the error.

    Raises:
        DataError: a building without a graph, an unknown viewpoint or a step that is no edge;
            names the record by its path_id.
    """
    checked: set[int] = set()
    for episode in episodes:
        if episode.path_id not in checked:
            checked.add(episode.path_id)
            place = f"{file}: path_id {episode.path_id}"
            _check_path(place, episode.scan, episode.path, graphs)


def write_r2r(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write R2R records (mappings with the keys above), one a line; the same records give the
    same bytes.

    Raises:
        DataError: a record that `read_r2r` would refuse, before anything is written.
    """
    lines = []
    for number, record in enumerate(records):
        _check_record(f"{file}: record {number}", record)
        lines.append(json.dumps(dict(record), ensure_ascii=False))
    text = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
    write_text(file, text)


def _check_record(place: str, record: Any) -> None:
    if not isinstance(record, Mapping):
        raise DataError(f"{place}: expected an object, found {_kind(record)}")
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise DataError(f"{place}: missing key {missing[0]!r}; it has {sorted(record)}")
    path_id, scan, path = record["path_id"], record["scan"], record["path"]
    heading, instructions = record["heading"], record["instructions"]
    if not isinstance(path_id, int) or isinstance(path_id, bool):
        raise DataError(f"{place}: path_id must be a whole number, found {path_id!r}")
    place = f"{place} (path_id {path_id})"
    if not isinstance(scan, str) or not scan:
        raise DataError(f"{place}: scan must be a building's name, found {scan!r}")
    if not isinstance(path, list | tuple) or not all(isinstance(v, str) for v in path):
        raise DataError(f"{place}: path must be a list of viewpoint ids, found {path!r}")
    if not path:
        raise DataError(f"{place}: path is empty; it needs at least the start viewpoint")
    if isinstance(heading, bool) or not isinstance(heading, int | float):
        raise DataError(f"{place}: heading must be a number (radians), found {heading!r}")
    if not math.isfinite(heading):
        raise DataError(f"{place}: heading must be finite (radians), found {heading!r}")
    if not isinstance(instructions, list | tuple) or not instructions:
        raise DataError(f"{place}: instructions must be a list of texts, found {instructions!r}")
    for k, instruction in enumerate(instructions):
        if not isinstance(instruction, str):
            raise DataError(f"{place}: instruction {k} must be a text, found {instruction!r}")
        if not instruction.strip():
            raise DataError(f"{place}: instruction {k} is empty; remove it or write one")


def _check_path(
    place: str, scan: str, path: tuple[str, ...], graphs: Mapping[str, NavigationGraph]
) -> None:
    if scan not in graphs:
        raise DataError(
            f"{place}: building {scan!r} has no navigation graph;"
            f" expected {scan}_connectivity.json in the connectivity folder"
        )
    graph = graphs[scan]
    rows = graph.rows
    for viewpoint in path:
        if viewpoint not in rows:
            raise DataError(
                f"{place}: viewpoint {viewpoint!r} is not in the graph of building {scan}"
                " (unknown, or not `included` there)"
            )
    for step, (here, there) in enumerate(pairwise(path)):
        if not graph.adjacency[rows[here], rows[there]]:
            raise DataError(
                f"{place}: step {step} from {here} to {there} is no edge of building {scan}"
            )


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else type(value).__name__
