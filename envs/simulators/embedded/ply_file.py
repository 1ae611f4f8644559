"""The container of a .ply: elements of named columns, text or binary, lists of any length.

Format: Greg Turk, "The PLY Polygon File Format" (1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled
from rayforge.errors import SceneError
from rayforge.readers.faults import REASON, one_line, shown

_KINDS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_HEADER = 1 << 20
"""Bytes in which a header must end."""


class Lists(NamedTuple):
    """N lists of numbers, one behind the other."""

    values: np.ndarray  # [sum of counts]
    start: np.ndarray  # int64 [N + 1]


Column = np.ndarray | Lists


@dataclass(frozen=True)
class PlyFile:
    columns: dict[str, dict[str, Column]]
    """By element and property."""
    texture_files: list[str]
    """What its comments call TextureFile (MeshLab)."""


class _Property(NamedTuple):
    name: str
    kind: str
    count_kind: str | None  # of a list


class _Element(NamedTuple):
    name: str
    rows: int
    properties: list[_Property]


def read_ply_file(path: Path) -> PlyFile:
    """All columns of a .ply; bytes behind the last element are left alone.

    Raises:
        SceneError: no .ply, or one whose elements are cut off; names the file and the element.
    """
    content = path.read_bytes()
    order, elements, textures, body = _header(path, content)
    columns = {}
    if order is None:
        try:
            data = np.array(content[body:].split(), dtype=np.float64)
        except ValueError as error:
            raise SceneError(
                f"scene {path}: its text is no list of numbers: {one_line(error, REASON)}"
            ) from error
        position = 0
    else:
        data, position = np.frombuffer(content, dtype=np.uint8), body
    for element in elements:
        columns[element.name], position = _element(path, data, position, element, order)
    return PlyFile(columns, textures)


def _header(path: Path, content: bytes) -> tuple[str | None, list[_Element], list[str], int]:
    """Byte order (None: text), elements, textures, and where the first element starts."""
    end = content.find(b"end_header", 0, _HEADER)
    if not content.startswith(b"ply") or end < 0:
        raise SceneError(
            f"scene {path} cannot be read as a mesh: a .ply starts with ply and has an end_header,"
            f" not {content[:10]!r}"
        )
    stop = end + len(b"end_header")
    body = stop + (2 if content[stop : stop + 2] == b"\r\n" else 1)
    orders = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
    order: str | None = "?"
    elements: list[_Element] = []
    textures: list[str] = []
    for line in content[:end].decode("utf-8", errors="replace").splitlines()[1:]:
        words = line.split()
        try:
            match words:
                case ["format", name, *_]:
                    order = orders[name]
                case ["element", name, rows]:
                    elements.append(_Element(name, int(rows), []))
                case ["property", "list", count_kind, kind, name]:
                    name = name.lower()
                    whole = _KINDS[count_kind]
                    if whole[0] == "f":
                        raise ValueError("a list is counted in whole numbers")
                    elements[-1].properties.append(_Property(name, _KINDS[kind], whole))
                case ["property", kind, name]:
                    elements[-1].properties.append(_Property(name.lower(), _KINDS[kind], None))
                case ["comment", "TextureFile", *name]:
                    textures.append(" ".join(name))
                case [] | ["comment" | "obj_info", *_]:
                    pass
                case _:
                    raise ValueError("unknown word")
        except (KeyError, IndexError, ValueError) as error:
            raise SceneError(
                f"scene {path} cannot be read as a mesh: header line {shown(line)}:"
                f" {one_line(error)}"
            ) from error
    named = [(element.name, None) for element in elements]
    named += [(e.name, p.name) for e in elements for p in e.properties]  # type: ignore[misc]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        what = f"element {twice[0]}" + (f", property {twice[1]}" if twice[1] else "")
        raise SceneError(f"scene {path}: {one_line(what)} stands twice in its header; mend it")
    if order == "?" or any(element.rows < 0 for element in elements):
        raise SceneError(f"scene {path} cannot be read as a mesh: its header names no format")
    return order, elements, textures, body


def _element(
    path: Path, data: np.ndarray, position: int, element: _Element, order: str | None
) -> tuple[dict[str, Column], int]:
    """The columns of one element, and where the next one starts (in bytes or words)."""
    text = order is None
    sizes = [1 if text else np.dtype(p.kind).itemsize for p in element.properties]
    counted = [
        0 if p.count_kind is None else 1 if text else np.dtype(p.count_kind).itemsize
        for p in element.properties
    ]
    smallest = sum(c or s for c, s in zip(counted, sizes, strict=True))
    if element.rows * smallest > len(data) - position:
        raise _cut_off(path, element)
    if not any(counted):
        return _rows(data, position, element, order)
    offset, count, end = _scan(
        data,
        position,
        element.rows,
        np.array(sizes, np.int64),
        np.array(counted, np.int64),
        np.array([(p.count_kind or "u")[0] == "i" for p in element.properties]),
        order == ">",
        text,
    )
    if end < 0:
        raise _cut_off(path, element)
    columns: dict[str, Column] = {}
    for number, (name, kind, count_kind) in enumerate(element.properties):
        values = _gathered(data, offset[:, number], count[:, number], kind, order)
        start = np.concatenate([[0], np.cumsum(count[:, number])])
        columns[name] = values if count_kind is None else Lists(values, start)
    return columns, int(end)


def _rows(
    data: np.ndarray, position: int, element: _Element, order: str | None
) -> tuple[dict[str, Column], int]:
    """Columns of an element without lists."""
    properties = element.properties
    if order is None:
        end = position + element.rows * len(properties)
        table = data[position:end].reshape(element.rows, len(properties))
        return {p.name: _as(table[:, k], p.kind) for k, p in enumerate(properties)}, end
    row = np.dtype([(f"{k} {p.name}", order + p.kind) for k, p in enumerate(properties)])
    records = np.frombuffer(data.data, row, element.rows, position)
    named = {p.name: records[f"{k} {p.name}"] for k, p in enumerate(properties)}
    return named, position + element.rows * row.itemsize  # type: ignore[return-value]


def _gathered(
    data: np.ndarray, offset: np.ndarray, count: np.ndarray, kind: str, order: str | None
) -> np.ndarray:
    """The values of all lists, one behind the other."""
    row = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    if order is None:
        return _as(data[offset[row] + within], kind)
    size = np.dtype(kind).itemsize
    place = offset[row] + within * size
    raw = data[place[:, None] + np.arange(size)]
    return np.ascontiguousarray(raw).view(order + kind).reshape(-1)


def _as(words: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of a text as the kind that its header says; one too large is the largest."""
    if kind[0] != "f":
        limits = np.iinfo(kind)
        words = np.clip(np.nan_to_num(words), limits.min, limits.max)
    return words.astype(kind)


def _cut_off(path: Path, element: _Element) -> SceneError:
    return SceneError(
        f"scene {path} is cut off: it promises {element.rows:,} of element {element.name}; copy it"
        " anew"
    )


@compiled
def _scan(data, position, rows, sizes, counted, signed, big, text):  # type: ignore[no-untyped-def]
    """Where each value or list of each row starts, how many numbers it has, and where the last
    row ends (-1: beyond the data)."""
    offset = np.empty((rows, len(sizes)), np.int64)
    count = np.ones((rows, len(sizes)), np.int64)
    total = len(data)
    for row in range(rows):
        for k in range(len(sizes)):
            if counted[k]:
                if position + counted[k] > total:
                    return offset, count, -1
                number = np.int64(0)
                if text:
                    number = np.int64(data[position])
                else:
                    for byte in range(counted[k]):
                        place = byte if big else counted[k] - 1 - byte
                        number = number * 256 + np.int64(data[position + place])
                    if signed[k] and number >= np.int64(1) << (8 * counted[k] - 1):
                        number = np.int64(-1)
                if number < 0:
                    return offset, count, -1
                count[row, k] = number
                position += counted[k]
            offset[row, k] = position
            position += count[row, k] * sizes[k]
            if position > total:
                return offset, count, -1
    return offset, count, position
