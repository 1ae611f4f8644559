"""Furniture for a floor plan: along walls, hung, in the middle of rooms, beside and on others.

Designed here. Pieces keep clear of doorways and of each other, and leave the middle of a room
walkable, so that viewpoints find a place.
"""

import random
from collections.abc import Iterator, Sequence

from envs.houses.catalogue import FURNITURE, SMALL, Piece
from envs.houses.house import WALL_THICKNESS, Door, Furniture, Room

_GAP = 0.02  # between a piece and the wall behind it, so that boxes never touch walls
_DOOR_CLEARANCE = 0.9
_Box = tuple[float, float, float, float, float, float]


def furnish(
    rng: random.Random, rooms: Sequence[Room], doors: Sequence[Door]
) -> tuple[Furniture, ...]:
    """Draw the furniture of all rooms, windows included.

    Args:
        rng: the only source of chance.
        rooms, doors: the floor plan; heights count from the floor at z = 0.
    """
    placed: list[Furniture] = []
    for index, room in enumerate(rooms):
        own = [d for d in doors if index in d.rooms]
        placed += _RoomFurnisher(rng, index, room, own, rooms).place()
    return tuple(placed)


class _RoomFurnisher:
    """Places pieces in one room; keeps what is occupied."""

    def __init__(
        self,
        rng: random.Random,
        index: int,
        room: Room,
        doors: Sequence[Door],
        rooms: Sequence[Room],
    ) -> None:
        self.rng, self.index, self.room = rng, index, room
        inset = WALL_THICKNESS / 2 + _GAP
        self.x0, self.y0 = room.low[0] + inset, room.low[1] + inset
        self.x1, self.y1 = room.high[0] - inset, room.high[1] - inset
        self.placed: list[Furniture] = []
        self.kept_free: list[_Box] = [_door_space(d) for d in doors]
        # A wall is an outer one where no other room touches it: only those have windows.
        self.outer = [
            wall
            for wall in range(4)
            if not any(_touches(room, wall, other) for other in rooms if other is not room)
        ]

    def place(self) -> list[Furniture]:
        pieces = [p for p in FURNITURE[self.room.label] if self.rng.random() < p.chance]
        if self.outer and self.room.label != "c" and self.rng.random() < 0.85:
            self._hang(Piece("window", 1.3, 0.04, 1.2, 1.0, "hung", 0.9), self.outer)
        for place in ("wall", "middle", "hung", "ceiling"):
            for piece in pieces:
                if piece.place == place:
                    self._put(piece)
        return self.placed

    def _put(self, piece: Piece) -> None:
        if piece.place == "hung":
            self._hang(piece, list(range(4)))
        elif piece.place == "wall":
            self._against_wall(piece)
        else:
            self._in_middle(piece)

    def _add(self, name: str, box: _Box) -> None:
        x0, y0, z0, x1, y1, z1 = (round(v, 3) for v in box)
        self.placed.append(Furniture(name, self.index, (x0, y0, z0), (x1, y1, z1)))

    def _free(self, box: _Box, margin: float = 0.05) -> bool:
        inside = (
            self.x0 - 1e-9 <= box[0]
            and self.y0 - 1e-9 <= box[1]
            and box[3] <= self.x1 + 1e-9
            and box[4] <= self.y1 + 1e-9
        )
        if not inside or any(_overlap(box, other, 0.0) for other in self.kept_free):
            return False
        return not any(_overlap(box, (*f.low, *f.high), margin) for f in self.placed)

    def _on_wall(
        self, wall: int, along: float, width: float, depth: float, base: float, height: float
    ) -> _Box:
        """Box against wall 0 (south), 1 (east), 2 (north), 3 (west) from `along` on."""
        if wall in (0, 2):
            y = self.y0 if wall == 0 else self.y1 - depth
            return (along, y, base, along + width, y + depth, base + height)
        x = self.x1 - depth if wall == 1 else self.x0
        return (x, along, base, x + depth, along + width, base + height)

    def _spots(self, walls: Sequence[int], width: float, tries: int) -> Iterator[tuple[int, float]]:
        for _ in range(tries):
            wall = self.rng.choice(walls)
            start, end = (self.x0, self.x1) if wall in (0, 2) else (self.y0, self.y1)
            if end - start > width:
                at = self.rng.uniform(start, end - width)
                if self.rng.random() < 0.35:  # corners are popular
                    at = self.rng.choice((start, end - width))
                yield wall, at

    def _hang(self, piece: Piece, walls: Sequence[int]) -> None:
        for wall, along in self._spots(walls, piece.width, 10):
            box = self._on_wall(wall, along, piece.width, piece.depth, piece.base, piece.height)
            if self._free(box):
                self._add(piece.name, box)
                return

    def _against_wall(self, piece: Piece) -> None:
        for wall, along in self._spots(range(4), piece.width, 16):
            box = self._on_wall(wall, along, piece.width, piece.depth, piece.base, piece.height)
            if not self._free(box) or self._blocks_passage(wall, piece):
                continue
            self._add(piece.name, box)
            for name, side in zip(piece.beside, (-1, 1), strict=False):
                width, depth, height = SMALL[name]
                at = along - width - 0.06 if side < 0 else along + piece.width + 0.06
                if name == "lamp":
                    height = 1.5  # beside a seat: a floor lamp
                near = self._on_wall(wall, at, width, depth, 0.0, height)
                if self._free(near):
                    self._add(name, near)
                    if name == "nightstand" and self.rng.random() < 0.5:
                        self._stand_on(("lamp",), near)
            if piece.around:
                width, depth, height = SMALL[piece.around]
                mid = along + piece.width / 2 - width / 2
                seat = _shift(self._on_wall(wall, mid, width, depth, 0.0, height), wall, piece)
                if self._free(seat, 0.0):
                    self._add(piece.around, seat)
            if piece.on and self.rng.random() < 0.75:
                self._stand_on(piece.on, box)
            return

    def _blocks_passage(self, wall: int, piece: Piece) -> bool:
        """Whether less than 1.1 m would be left in front of the piece."""
        across = self.y1 - self.y0 if wall in (0, 2) else self.x1 - self.x0
        return piece.depth > 0.1 and across - piece.depth < 1.1

    def _in_middle(self, piece: Piece) -> None:
        width, depth = piece.width, piece.depth
        if (self.x1 - self.x0) < (self.y1 - self.y0):
            width, depth = depth, width
        solid = piece.place == "middle" and piece.height > 0.1
        # Solid pieces leave 0.9 m to walk on two sides at least, rugs and lamps go anywhere.
        room = 1.15 if solid else 0.1
        free_x, free_y = self.x1 - self.x0 - width, self.y1 - self.y0 - depth
        if free_x < room or free_y < room:
            return
        for _ in range(6):
            x = self.x0 + free_x * self.rng.uniform(0.4, 0.6)
            y = self.y0 + free_y * self.rng.uniform(0.4, 0.6)
            box = (x, y, piece.base, x + width, y + depth, piece.base + piece.height)
            if self._free(box, 0.3 if solid else 0.0):
                self._add(piece.name, box)
                if piece.around:
                    self._seats(piece.around, box)
                if piece.on and self.rng.random() < 0.75:
                    self._stand_on(piece.on, box)
                return

    def _seats(self, name: str, box: _Box) -> None:
        width, depth, height = SMALL[name]
        cx, cy = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2
        lengthwise_x = box[3] - box[0] >= box[4] - box[1]
        spots = []
        for side in (-1, 1):
            for step in (-0.25, 0.25):
                if lengthwise_x:
                    x = cx + step * (box[3] - box[0]) * 1.2
                    y = box[4] + 0.03 + depth / 2 if side > 0 else box[1] - 0.03 - depth / 2
                else:
                    y = cy + step * (box[4] - box[1]) * 1.2
                    x = box[3] + 0.03 + depth / 2 if side > 0 else box[0] - 0.03 - depth / 2
                spots.append((x, y))
        for x, y in spots:
            seat = (x - width / 2, y - depth / 2, 0.0, x + width / 2, y + depth / 2, height)
            if self._free(seat, 0.0):
                self._add(name, seat)

    def _stand_on(self, names: Sequence[str], box: _Box) -> None:
        name = self.rng.choice(names)
        width, depth, height = SMALL[name]
        if box[3] - box[0] < box[4] - box[1]:
            width, depth = depth, width
        if width > box[3] - box[0] or depth > box[4] - box[1]:
            return
        x = self.rng.uniform(box[0], box[3] - width)
        y = self.rng.uniform(box[1], box[4] - depth)
        top = (x, y, box[5] + 0.01, x + width, y + depth, box[5] + 0.01 + height)
        if self._free(top, 0.0):
            self._add(name, top)


def _shift(box: _Box, wall: int, piece: Piece) -> _Box:
    """The box moved away from the wall to the front edge of `piece`."""
    dx, dy = ((0, 1), (-1, 0), (0, -1), (1, 0))[wall]
    by = piece.depth + 0.02
    return (
        box[0] + dx * by,
        box[1] + dy * by,
        box[2],
        box[3] + dx * by,
        box[4] + dy * by,
        box[5],
    )


def _door_space(door: Door) -> _Box:
    """Room to keep free on both sides of a door."""
    half, deep = door.width / 2 + 0.1, _DOOR_CLEARANCE
    x, y = door.centre
    dx, dy = (half, deep) if door.along == 0 else (deep, half)
    return (x - dx, y - dy, 0.0, x + dx, y + dy, door.height)


def _overlap(a: _Box, b: _Box, margin: float) -> bool:
    return (
        a[0] < b[3] + margin
        and b[0] < a[3] + margin
        and a[1] < b[4] + margin
        and b[1] < a[4] + margin
        and a[2] < b[5]
        and b[2] < a[5]
    )


def _touches(room: Room, wall: int, other: Room) -> bool:
    along = 0 if wall in (0, 2) else 1
    overlap = min(room.high[along], other.high[along]) - max(room.low[along], other.low[along])
    if overlap <= 0.05:
        return False
    if wall in (0, 3):
        axis = 1 if wall == 0 else 0
        return abs(room.low[axis] - other.high[axis]) < 1e-9
    axis = 0 if wall == 1 else 1
    return abs(room.high[axis] - other.low[axis]) < 1e-9
