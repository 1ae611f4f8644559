"""Room-to-Room and its kin, read as one `Episode` for each instruction. What a record is decides
its keys, not its file's name:

- R2R (Anderson et al. 2018) and R4R (Jain et al. 2019): JSON, one record a path with ``scan``,
  ``path_id``, ``path``, ``heading`` and ``instructions``.
- REVERIE (Qi et al. 2020): the same, one record an object at the end of a path, with ``id`` and
  ``objId``.
- RxR (Ku et al. 2020): JSONL, one record an instruction. A guide's has ``instruction_id``,
  ``language`` and ``instruction``; a follower's has ``demonstration_id`` and the path that the
  follower took, and the guide's file beside it has the rest.

A blind test split (the goals are a leaderboard's secret) has paths of one viewpoint, the start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from envs.episodes.episode import Episode
from envs.graph.navigation_graph import NavigationGraph
from rayforge.errors import DataError
from rayforge.files import write_text
from rayforge.readers.content import is_blank
from rayforge.readers.faults import kind_of, one_line, shown
from rayforge.readers.json_text import read_json, read_json_lines

REQUIRED = ("scan", "path_id", "path", "heading", "instructions")
_RXR = ("scan", "path_id", "path", "heading", "instruction_id", "instruction")
_FOLLOWER = ("demonstration_id", "instruction_id", "path")
_HEADING = 1e4
"""Radians beyond which a heading is a mistake: its sine means nothing any more."""
_NAME = 200
"""Characters of a building's name: file names hold 255."""


def read_r2r(
    file: Path, graphs: Mapping[str, NavigationGraph] | None = None
) -> tuple[Episode, ...]:
    """Read one file of R2R's family, in file order, one `Episode` for each instruction.

    Args:
        file: a JSON list (``R2R_{split}.json``), or lines (``rxr_{split}_guide.jsonl.gz``).
        graphs: if given, every path is checked against its building's graph.

    Raises:
        DataError: the file or a record is malformed (missing or wrongly typed key, an id twice,
            empty path or instruction, heading not finite, a follower without its guide), or, with
            `graphs`, a building has no graph, a viewpoint is not in it, or a step is no edge.
    """
    episodes: list[Episode] = []
    seen: dict[str, str] = {}
    guides: dict[str, Episode] | None = None
    for label, record in _records(file):
        place = f"{file}: {label}"
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: expected an object, found {kind_of(record)}")
        if "demonstration_id" in record and "instruction" not in record:
            guides = _guides(file) if guides is None else guides
            found = [_followed(place, record, guides)]
            name, identity = "demonstration_id", found[0].episode_id
        elif "instruction_id" in record:
            found = [_guided(place, record)]
            name, identity = "instruction_id", found[0].episode_id
        else:
            found = _told(place, record)
            name, identity = _identity(record)
        if identity in seen:
            raise DataError(
                f"{place} ({name} {one_line(identity)}): {seen[identity]} has this {name} too;"
                " ids are unique"
            )
        seen[identity] = label
        episodes.extend(found)
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
    checked: set[tuple[str, tuple[str, ...]]] = set()
    for episode in episodes:
        if (episode.scan, episode.path) not in checked:
            checked.add((episode.scan, episode.path))
            place = f"{file}: path_id {one_line(episode.path_id)}"
            _check_path(place, episode.scan, episode.path, graphs)


def write_r2r(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write R2R records (mappings with the keys above), one a line; the same records give the
    same bytes.

    Raises:
        DataError: a record that `read_r2r` would refuse, before anything is written.
    """
    lines = []
    for number, record in enumerate(records):
        _told(f"{file}: record {number}", record)
        lines.append(json.dumps(dict(record), ensure_ascii=False))
    text = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
    write_text(file, text)


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """("record 3" or "line 4", record) of a JSON list or of lines."""
    if file.name.endswith((".jsonl", ".jsonl.gz")):
        for place, record in read_json_lines(file):
            yield place.removeprefix(f"{file}: "), record
        return
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{file}: expected a list of records, found {kind_of(records)}")
    for number, record in enumerate(records):
        yield f"record {number}", record


def _told(place: str, record: Mapping[str, Any]) -> list[Episode]:
    """The episodes of a record of R2R, R4R or REVERIE."""
    _need(place, record, REQUIRED)
    place = f"{place} (path_id {one_line(_id(place, record, 'path_id'))})"
    scan, path, heading = _route(place, record)
    instructions = record["instructions"]
    if not isinstance(instructions, list | tuple) or not instructions:
        raise DataError(
            f"{place}: instructions must be a list of texts, found {shown(instructions)}"
        )
    object_id = record.get("objId")
    _, identity = _identity(record)
    return [
        Episode(
            episode_id=f"{identity}_{k}",
            path_id=record["path_id"],
            scan=scan,
            path=path,
            heading=heading,
            instruction=_text(place, f"instruction {k}", instruction),
            object_id=None if object_id is None else str(_id(place, record, "objId")),
        )
        for k, instruction in enumerate(instructions)
    ]


def _identity(record: Mapping[str, Any]) -> tuple[str, str]:
    """(key, value) that tell the record from the others: REVERIE has several of one path."""
    path_id, own = str(record["path_id"]), record.get("id")
    if isinstance(own, str) and own.startswith(f"{path_id}_"):
        return "id", own
    if record.get("objId") is not None:
        return "id", f"{path_id}_{record['objId']}"
    return "path_id", path_id


def _guided(place: str, record: Mapping[str, Any]) -> Episode:
    """The episode of a guide's record of RxR."""
    _need(place, record, _RXR)
    identity = str(_id(place, record, "instruction_id"))
    place = f"{place} (instruction_id {one_line(identity)})"
    scan, path, heading = _route(place, record)
    language = record.get("language", "")
    if not isinstance(language, str):
        raise DataError(f'{place}: language must be a tag as "hi-IN", found {shown(language)}')
    return Episode(
        episode_id=identity,
        path_id=_id(place, record, "path_id"),
        scan=scan,
        path=path,
        heading=heading,
        instruction=_text(place, "instruction", record["instruction"]),
        language=language,
    )


def _followed(place: str, record: Mapping[str, Any], guides: Mapping[str, Episode]) -> Episode:
    """The episode of a follower's record of RxR: a guide's instruction, the follower's path."""
    _need(place, record, _FOLLOWER)
    identity, told = (str(_id(place, record, key)) for key in _FOLLOWER[:2])
    place = f"{place} (demonstration_id {one_line(identity)})"
    if told not in guides:
        raise DataError(
            f"{place}: its instruction_id {shown(told)} is not in the guide's file; take both files"
            " of the same split"
        )
    guide, walked = guides[told], _viewpoints(place, record["path"])
    # A follower may stay where it is; in a graph that is no step.
    path = walked[:1] + tuple(there for here, there in pairwise(walked) if here != there)
    return Episode(
        identity, guide.path_id, guide.scan, path, guide.heading, guide.instruction, guide.language
    )


def _guides(file: Path) -> dict[str, Episode]:
    """The guide's episodes that a follower's file refers to, by instruction_id."""
    beside = file.with_name(file.name.replace("follower", "guide"))
    if beside == file or not beside.is_file():
        raise DataError(
            f"{file}: a follower's file needs the guide's beside it, which has the instructions"
            " (rxr_SPLIT_follower.jsonl.gz and rxr_SPLIT_guide.jsonl.gz)"
        )
    return {episode.episode_id: episode for episode in read_r2r(beside)}


def _route(place: str, record: Mapping[str, Any]) -> tuple[str, tuple[str, ...], float]:
    """Building, viewpoints and start heading."""
    scan, heading = record["scan"], record["heading"]
    if not isinstance(scan, str) or not scan:
        raise DataError(f"{place}: scan must be a building's name, found {shown(scan)}")
    if len(scan) > _NAME or "/" in scan or "\0" in scan:
        raise DataError(f"{place}: scan must be a name that a file may have, found {shown(scan)}")
    path = _viewpoints(place, record["path"])
    if isinstance(heading, bool) or not isinstance(heading, int | float):
        raise DataError(f"{place}: heading must be a number (radians), found {shown(heading)}")
    if not math.isfinite(heading) or abs(heading) > _HEADING:
        raise DataError(f"{place}: heading must be finite (radians), found {shown(heading)}")
    return scan, path, float(heading)


def _viewpoints(place: str, path: Any) -> tuple[str, ...]:
    if not isinstance(path, list | tuple) or not all(isinstance(v, str) for v in path):
        raise DataError(f"{place}: path must be a list of viewpoint ids, found {shown(path)}")
    if not path:
        raise DataError(f"{place}: path is empty; it needs at least the start viewpoint")
    return tuple(path)


def _id(place: str, record: Mapping[str, Any], key: str) -> int | str:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"{place}: {key} must be a whole number or a text, found {shown(value)}")
    return value


def _text(place: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: {name} must be a text, found {shown(value)}")
    if is_blank(value):
        raise DataError(f"{place}: {name} is empty; remove it or write one")
    return value


def _need(place: str, record: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(record, Mapping):
        raise DataError(f"{place}: expected an object, found {kind_of(record)}")
    missing = [key for key in keys if key not in record]
    if missing:
        raise DataError(f"{place}: missing key {missing[0]!r}; it has {shown(sorted(record))}")


def _check_path(
    place: str, scan: str, path: tuple[str, ...], graphs: Mapping[str, NavigationGraph]
) -> None:
    if scan not in graphs:
        raise DataError(
            f"{place}: building {shown(scan)} has no navigation graph;"
            f" expected {scan}_connectivity.json in the connectivity folder"
        )
    graph = graphs[scan]
    rows = graph.rows
    for viewpoint in path:
        if viewpoint not in rows:
            raise DataError(
                f"{place}: viewpoint {shown(viewpoint)} is not in the graph of building {scan}"
                " (unknown, or not `included` there)"
            )
    for step, (here, there) in enumerate(pairwise(path)):
        if not graph.adjacency[rows[here], rows[there]]:
            raise DataError(
                f"{place}: step {step} from {here} to {there} is no edge of building {scan}"
            )
