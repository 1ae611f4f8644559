"""A furnished house as plain data: rooms, doors, furniture, viewpoints and the edges between them.

Lengths are metres, x to the right, y forward, z up; headings are clockwise from +y. Every room is
an axis-aligned rectangle on one floor whose walking surface is `House.floor`. Nothing is derived
here but the walls: a house read from a file equals the house that was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rayforge.errors import DataError
from rayforge.readers.faults import reading

WALL_THICKNESS = 0.10
CAMERA_HEIGHT = 1.5

# R2R's room letters (the table of `vp2room_label.json`), in the order of its `label2index`.
ROOM_NAMES: dict[str, str] = {
    "a": "bathroom",
    "b": "bedroom",
    "c": "closet",
    "d": "dining_room",
    "e": "entryway/foyer/lobby",
    "f": "familyroom",
    "g": "garage",
    "h": "hallway",
    "i": "library",
    "j": "laundryroom/mudroom",
    "k": "kitchen",
    "l": "living room",
    "m": "meetingroom/conferenceroom",
    "n": "lounge",
    "o": "office",
    "p": "porch/terrace/deck/driveway",
    "r": "rec/game",
    "s": "stairs",
    "t": "toilet",
    "u": "utilityroom/toolroom",
    "v": "tv",
    "w": "workout/gym/exercise",
    "x": "outdoor areas",
    "y": "balcony",
    "z": "other room",
    "B": "bar",
    "C": "classroom",
    "D": "dining booth",
    "S": "spa/sauna",
    "Z": "junk",
}


@dataclass(frozen=True)
class Room:
    """A rectangular room."""

    label: str
    """R2R room letter, a key of `ROOM_NAMES`."""
    low: tuple[float, float]
    """Corner with the smallest x and y (metres), on the wall's centre line."""
    high: tuple[float, float]
    """Corner with the largest x and y (metres)."""

    @property
    def size(self) -> tuple[float, float]:
        """Extent along x and y, metres."""
        return (self.high[0] - self.low[0], self.high[1] - self.low[1])

    @property
    def area(self) -> float:
        """Square metres."""
        return self.size[0] * self.size[1]

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies in the closed rectangle."""
        return self.low[0] <= x <= self.high[0] and self.low[1] <= y <= self.high[1]


@dataclass(frozen=True)
class Door:
    """An opening in the wall between two rooms, always open."""

    rooms: tuple[int, int]
    """Indices into `House.rooms`."""
    centre: tuple[float, float]
    """Middle of the opening (metres)."""
    width: float
    """Metres along the wall."""
    along: int
    """0: the wall runs along x; 1: along y."""
    kind: str
    """'door' or 'archway' (wide, no leaf)."""
    height: float = 2.1
    """Metres from the floor to the lintel."""


@dataclass(frozen=True)
class Furniture:
    """A piece of furniture or fitting, an axis-aligned box."""

    name: str
    """Named as REVERIE's boxes are: words joined by '#', such as 'dining#chair'."""
    room: int
    """Index into `House.rooms`."""
    low: tuple[float, float, float]
    """Smallest x, y, z (metres)."""
    high: tuple[float, float, float]
    """Largest x, y, z (metres)."""


@dataclass(frozen=True)
class Viewpoint:
    """A place to stand, as in Matterport's navigation graphs."""

    id: str
    """32 hexadecimal digits."""
    position: tuple[float, float, float]
    """Camera position (metres): the floor plus `CAMERA_HEIGHT`."""
    room: int
    """Index into `House.rooms`; a viewpoint in a doorway belongs to the less public room."""
    door: int
    """Index into `House.doors` where it stands in a doorway, otherwise -1."""


@dataclass(frozen=True)
class House:
    """A furnished floor with its navigation graph."""

    scan: str
    """Name of the building, such as 'house00017'."""
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    furniture: tuple[Furniture, ...]
    viewpoints: tuple[Viewpoint, ...]
    edges: tuple[tuple[int, int], ...]
    """Pairs of viewpoint indices (smaller first) between which one can walk."""
    floor: float = 0.0
    """Height of the walking surface (metres)."""
    ceiling: float = 2.6
    """Metres from floor to ceiling."""

    def __hash__(self) -> int:
        # Houses key caches: comparing a few fields is enough to tell them apart quickly.
        return hash((self.scan, len(self.furniture), self.viewpoints[:1], len(self.edges)))

    @cached_property
    def walls(self) -> tuple[tuple[float, float, float, float], ...]:
        """Centre lines (x0, y0, x1, y1) of all walls, doors cut out, each once."""
        return wall_lines(self.rooms, self.doors)

    @cached_property
    def positions(self) -> np.ndarray:
        """float64 [n, 3] camera positions of the viewpoints."""
        return np.array([v.position for v in self.viewpoints], dtype=np.float64).reshape(-1, 3)


def wall_lines(
    rooms: tuple[Room, ...], doors: tuple[Door, ...], jamb: float = 0.0
) -> tuple[tuple[float, float, float, float], ...]:
    """Centre lines of the walls around `rooms`, with the doors cut out.

    Args:
        rooms: rectangles; walls that two rooms share appear once.
        doors: openings to cut out.
        jamb: metres by which every opening is narrowed on each side (clearance for walking).

    Returns:
        (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, metres.
    """
    spans: dict[tuple[int, float], list[tuple[float, float]]] = {}
    for room in rooms:
        for y in (room.low[1], room.high[1]):
            spans.setdefault((0, y), []).append((room.low[0], room.high[0]))
        for x in (room.low[0], room.high[0]):
            spans.setdefault((1, x), []).append((room.low[1], room.high[1]))
    lines: list[tuple[float, float, float, float]] = []
    for (along, at), pieces in sorted(spans.items()):
        gaps = sorted(
            (d.centre[along] - d.width / 2 + jamb, d.centre[along] + d.width / 2 - jamb)
            for d in doors
            if d.along == along and d.centre[1 - along] == at
        )
        for start, end in _merged(pieces):
            cursor = start
            for gap_start, gap_end in gaps:
                if gap_end <= start or gap_start >= end:
                    continue
                if gap_start > cursor:
                    lines.append(_line(along, at, cursor, gap_start))
                cursor = max(cursor, gap_end)
            if cursor < end:
                lines.append(_line(along, at, cursor, end))
    return tuple(lines)


def _merged(pieces: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(pieces):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _line(along: int, at: float, start: float, end: float) -> tuple[float, float, float, float]:
    return (start, at, end, at) if along == 0 else (at, start, at, end)


def house_record(house: House) -> dict[str, Any]:
    """The house as JSON values; `house_from_record` gives the same house back."""
    return {
        "scan": house.scan,
        "floor": house.floor,
        "ceiling": house.ceiling,
        "rooms": [[r.label, *r.low, *r.high] for r in house.rooms],
        "doors": [[*d.rooms, *d.centre, d.width, d.along, d.kind, d.height] for d in house.doors],
        "furniture": [[f.name, f.room, *f.low, *f.high] for f in house.furniture],
        "viewpoints": [[v.id, *v.position, v.room, v.door] for v in house.viewpoints],
        "edges": [list(e) for e in house.edges],
    }


def house_from_record(record: Mapping[str, Any], place: str) -> House:
    """Inverse of `house_record`.

    Args:
        record: one element of `houses.json`.
        place: file and record, named in errors.

    Raises:
        DataError: a key is missing or a value has another shape or type.
    """
    with reading(place, remedy="write the folder again with `rayforge houses`"):
        house = House(
            scan=str(record["scan"]),
            rooms=tuple(
                Room(str(la), (float(x0), float(y0)), (float(x1), float(y1)))
                for la, x0, y0, x1, y1 in record["rooms"]
            ),
            doors=tuple(
                Door((int(a), int(b)), (float(x), float(y)), float(w), int(al), str(k), float(h))
                for a, b, x, y, w, al, k, h in record["doors"]
            ),
            furniture=tuple(
                Furniture(
                    str(name),
                    int(room),
                    (float(x0), float(y0), float(z0)),
                    (float(x1), float(y1), float(z1)),
                )
                for name, room, x0, y0, z0, x1, y1, z1 in record["furniture"]
            ),
            viewpoints=tuple(
                Viewpoint(str(i), (float(x), float(y), float(z)), int(r), int(d))
                for i, x, y, z, r, d in record["viewpoints"]
            ),
            edges=tuple((int(a), int(b)) for a, b in record["edges"]),
            floor=float(record["floor"]),
            ceiling=float(record["ceiling"]),
        )
    for what, indices, limit in (
        ("room", [v.room for v in house.viewpoints], len(house.rooms)),
        ("room", [f.room for f in house.furniture], len(house.rooms)),
        ("room", [r for d in house.doors for r in d.rooms], len(house.rooms)),
        ("viewpoint", [v for e in house.edges for v in e], len(house.viewpoints)),
        ("door", [max(v.door, 0) for v in house.viewpoints], len(house.doors)),
    ):
        for index in indices:
            if not 0 <= index < limit:
                raise DataError(f"{place}: {what} index {index} is not in 0..{limit - 1}")
    return house
