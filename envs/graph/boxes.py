"""REVERIE's object boxes (Qi et al. 2020) and Matterport's room labels, as the semantic store
uses them.

Boxes: one JSON file a viewpoint, ``{scan}_{viewpoint}.json``, in a folder or a tar archive:
``{viewpoint: {object id: {"name": "coffee#table", "visible_pos": [views 0..35], ...}}}``.
Labels: ``vp2room_label.json``: ``{"pano_info": {scan: {viewpoint: {"label": letter}}}}``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from envs.graph.buildings import VIEWS
from envs.progress import Progress
from rayforge.errors import DataError
from rayforge.readers import limits
from rayforge.readers.archives import read_tar
from rayforge.readers.content import read_bytes
from rayforge.readers.faults import one_line, shown
from rayforge.readers.json_text import parse_json, read_json

# Matterport3D's region labels in the order of their published index; "-" means no label.
ROOM_LABELS = "abcdefghijklmnoprstuvwxyzBCDSZ"
NO_LABEL = "-"


class SeenObject(NamedTuple):
    """An object's words and the views (0..35) that show it."""

    words: tuple[str, ...]
    views: tuple[int, ...]


Boxes = Mapping[tuple[str, str], tuple[SeenObject, ...]]


def read_boxes(source: Path, scans: Collection[str]) -> Boxes:
    """Read the objects of some buildings, by (scan, viewpoint), in one pass over `source`.

    Args:
        source: a folder of box files, or a tar archive (any compression) that holds them. An
            archive is read as a stream, nothing is extracted.
        scans: the buildings wanted; other buildings' files are not even parsed.

    Raises:
        DataError: `source` is missing or broken, a member's name points out of the archive or is
            no plain file, a viewpoint comes twice, or a box file is malformed.
    """
    boxes: dict[tuple[str, str], tuple[SeenObject, ...]] = {}
    prefixes = tuple(f"{scan}_" for scan in scans)
    wanted = set(scans)
    with Progress(f"reading {source.name}") as progress:
        for stem, content, place in _files(source, prefixes):
            progress.add()
            viewpoint, objects = _objects(place, content)
            if not stem.endswith(f"_{viewpoint}"):
                raise DataError(
                    f"{place}: holds viewpoint {shown(viewpoint)}, which is not in its name"
                )
            scan = stem.removesuffix(f"_{viewpoint}")
            if scan not in wanted:
                continue
            if (scan, viewpoint) in boxes:
                raise DataError(f"{place}: viewpoint {viewpoint} of building {scan} comes twice")
            boxes[scan, viewpoint] = objects
    return boxes


def object_words(
    boxes: Boxes | Path, scans: Collection[str], min_count: int = 5
) -> tuple[str, ...]:
    """The words in the names of the objects of `scans` that occur `min_count` times, sorted.

    An object counts once in each viewpoint that sees it. Pass the training buildings, so that
    evaluation elsewhere uses the same vocabulary.

    Raises:
        DataError: as `read_boxes`, where `boxes` is a path.
    """
    if isinstance(boxes, Path):
        boxes = read_boxes(boxes, scans)
    counts = Counter(
        word
        for (scan, _), objects in boxes.items()
        if scan in scans
        for seen in objects
        for word in seen.words
    )
    return tuple(sorted(word for word, count in counts.items() if count >= min_count))


def read_room_labels(file: Path, scans: Collection[str]) -> dict[tuple[str, str], str]:
    """Room label (a letter of `ROOM_LABELS`, or "-") of each viewpoint of `scans`.

    Raises:
        DataError: the file is malformed, has no entry for one of `scans`, or a label is unknown.
    """
    content = read_json(file)
    panoramas = content.get("pano_info") if isinstance(content, dict) else None
    if not isinstance(panoramas, dict):
        raise DataError(f"{file}: expected an object with the key 'pano_info'")
    labels: dict[tuple[str, str], str] = {}
    for scan in scans:
        if not isinstance(panoramas.get(scan), dict):
            raise DataError(f"{file}: no room labels for building {scan} under 'pano_info'")
        for viewpoint, entry in panoramas[scan].items():
            label = entry.get("label") if isinstance(entry, dict) else None
            if not isinstance(label, str) or label not in {*ROOM_LABELS, NO_LABEL}:
                raise DataError(
                    f"{file}: building {scan}, viewpoint {one_line(viewpoint)}: room label"
                    f" {shown(label)} is not one of the letters {ROOM_LABELS} or {NO_LABEL!r}"
                )
            labels[scan, viewpoint] = label
    return labels


def _files(source: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, bytes, str]]:
    """(name without .json, content, how errors call it) of the box files with these prefixes."""
    if source.is_dir():
        for file in sorted(source.glob("*.json")):
            if file.name.startswith(prefixes):
                yield file.stem, read_bytes(file, limits.MEMBER), str(file)
        return
    if not source.exists():
        raise DataError(f"{source}: no such folder or archive")

    def wanted(name: str) -> bool:
        return name.endswith(".json") and name.startswith(prefixes)

    for name, content in read_tar(source, wanted):
        yield (
            name.rpartition("/")[2].removesuffix(".json"),
            content,
            f"{source}: member {shown(name)}",
        )


def _objects(place: str, content: bytes) -> tuple[str, tuple[SeenObject, ...]]:
    record = parse_json(content, place)
    if not isinstance(record, dict) or len(record) != 1:
        raise DataError(f"{place}: expected an object with one key, the viewpoint's id")
    viewpoint, entries = next(iter(record.items()))
    if not isinstance(entries, dict):
        raise DataError(f"{place}: expected the objects of {one_line(viewpoint)} by their id")
    return viewpoint, tuple(_seen(place, key, entry) for key, entry in entries.items())


def _seen(place: str, key: str, entry: Any) -> SeenObject:
    name = entry.get("name") if isinstance(entry, dict) else None
    views = entry.get("visible_pos") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise DataError(
            f"{place}: object {one_line(key)}: name must be a text, found {shown(name)}"
        )
    if not isinstance(views, list) or not all(
        isinstance(view, int) and not isinstance(view, bool) and 0 <= view < VIEWS for view in views
    ):
        raise DataError(
            f"{place}: object {one_line(key)}: visible_pos must be a list of views 0..35,"
            f" found {shown(views)}"
        )
    words = tuple(word for part in name.split("#") if (word := part.strip().lower()))
    return SeenObject(words, tuple(views))
