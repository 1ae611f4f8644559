"""Floor plans: rooms by recursive subdivision around a hallway, labels, and doors that connect.

Designed here. Plans are drawn in units of 10 cm (integers), so that walls that two rooms share
have exactly equal coordinates.
"""

import random
from dataclasses import dataclass, replace

from envs.houses.house import Door, Room

UNIT = 0.1
MIN_SIDE, MIN_AREA = 22, 550  # 2.2 m and 5.5 m2, in plan units

# Rooms that flow into each other through a wide opening, and those joined by a plain second door.
_OPEN = {("d", "k"), ("d", "l"), ("k", "l"), ("f", "l"), ("f", "k"), ("e", "l"), ("e", "h")}
_OPEN |= {("d", "h"), ("h", "l"), ("h", "h"), ("d", "f"), ("f", "h")}
_JOINED = {("a", "b"), ("b", "c"), ("j", "k"), ("i", "l"), ("l", "o"), ("i", "o"), ("f", "r")}

# What a house may hold beside the rooms that each has, how often, and at most how many of each.
_EXTRA = "bbbaaodcjfreiw"
_AT_MOST = {"b": 4, "a": 3}

# Floor areas (m2) that suit a label.
_AREA = {
    "a": (5, 10),
    "b": (10, 20),
    "c": (5, 8),
    "d": (10, 20),
    "e": (5, 10),
    "f": (14, 30),
    "i": (9, 20),
    "j": (5, 10),
    "k": (10, 20),
    "l": (18, 45),
    "o": (8, 16),
    "r": (14, 30),
    "w": (10, 22),
}


@dataclass(frozen=True)
class _Rectangle:
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def depth(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.depth


def draw_floor_plan(rng: random.Random) -> tuple[tuple[Room, ...], tuple[Door, ...]]:
    """Rooms and doors of one floor; the doors connect all rooms.

    Args:
        rng: the only source of chance.

    Returns:
        rooms: 6 to 12 (hallways included), rectangles that do not overlap, no gaps between them.
        doors: each between two rooms that share at least 1.2 m of wall.
    """
    halls, cells = _subdivide(rng)
    labels = _label(rng, halls, cells)
    rectangles = halls + cells
    if rng.random() < 0.5:
        rectangles = [_Rectangle(r.y0, r.x0, r.y1, r.x1) for r in rectangles]
    doors = _place_doors(rng, rectangles, labels)
    rooms = tuple(
        Room(label, (_metres(r.x0), _metres(r.y0)), (_metres(r.x1), _metres(r.y1)))
        for label, r in zip(labels, rectangles, strict=True)
    )
    return rooms, tuple(doors)


def _metres(units: float) -> float:
    return round(units * UNIT, 3)


def _subdivide(rng: random.Random) -> tuple[list[_Rectangle], list[_Rectangle]]:
    """Hallways, then the cells on both sides of them."""
    width, depth = rng.randint(120, 185), rng.randint(95, 130)
    hall_width = rng.randint(17, 21)
    bottom = rng.randint(34, depth - 34 - hall_width)
    top = bottom + hall_width
    end = width
    cells: list[_Rectangle] = []
    if rng.random() < 0.5:  # a block across the whole depth, where the hallway ends
        end = width - rng.randint(36, 48)
        cells.append(_Rectangle(end, 0, width, depth))
    halls = [_Rectangle(0, bottom, end, top)]
    for y0, y1 in ((0, bottom), (top, depth)):
        strip = _Rectangle(0, y0, end, y1)
        if len(halls) == 1 and strip.depth >= 46 and strip.width >= 95 and rng.random() < 0.6:
            x = rng.randint(38, strip.width - 38 - 17)
            halls.append(_Rectangle(x, y0, x + 17, y1))
            cells += [_Rectangle(0, y0, x, y1), _Rectangle(x + 17, y0, end, y1)]
        else:
            cells.append(strip)
    area = sum(c.area for c in cells) * UNIT * UNIT
    wanted = min(12 - len(halls), max(6, round(area / rng.uniform(11.0, 19.0))))
    while len(cells) < wanted:
        ranked = sorted(
            (i for i in range(len(cells)) if _cuts(cells[i])), key=lambda i: (-cells[i].area, i)
        )
        if not ranked:
            break
        index = ranked[0] if rng.random() < 0.75 else rng.choice(ranked[:3])
        cell = cells.pop(index)
        vertical, at = rng.choice(_cuts(cell))
        if vertical:
            cells += [replace(cell, x1=at), replace(cell, x0=at)]
        else:
            cells += [replace(cell, y1=at), replace(cell, y0=at)]
    return halls, cells


def _cuts(cell: _Rectangle) -> list[tuple[bool, int]]:
    """Cuts (vertical?, coordinate) whose two halves are well-shaped; mostly across the length."""
    cuts: list[tuple[bool, int]] = []
    for vertical, start, length, other in (
        (True, cell.x0, cell.width, cell.depth),
        (False, cell.y0, cell.depth, cell.width),
    ):
        if length < other * 0.9:
            continue
        for share in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65):
            part = round(length * share)
            pieces = (part, length - part)
            if all(
                p >= MIN_SIDE and p * other >= MIN_AREA and max(p, other) <= 2.6 * min(p, other)
                for p in pieces
            ):
                cuts.append((vertical, start + part))
    return cuts


def _label(rng: random.Random, halls: list[_Rectangle], cells: list[_Rectangle]) -> list[str]:
    """Room letters for halls + cells: a random assignment, improved by exchanges."""
    labels = ["l", "k", "b", "a"]
    while len(labels) < len(cells):
        labels.append(_another(rng, labels))
    labels = labels[: len(cells)]
    rng.shuffle(labels)
    touching = [
        (i, j)
        for i in range(len(cells))
        for j in range(i)
        if _shared(cells[i], cells[j]) is not None
    ]
    best = _suitability(labels, cells, touching)
    for _ in range(150):
        trial = labels[:]
        i, j = rng.randrange(len(cells)), rng.randrange(len(cells))
        if rng.random() < 0.8 or trial[i] in "lkba":
            trial[i], trial[j] = trial[j], trial[i]
        else:
            trial[i] = _another(rng, trial[:i] + trial[i + 1 :])
        score = _suitability(trial, cells, touching)
        if score > best:
            labels, best = trial, score
    return ["h"] * len(halls) + labels


def _another(rng: random.Random, labels: list[str]) -> str:
    """A further room for a house that has these."""
    while True:
        letter = rng.choice(_EXTRA)
        if labels.count(letter) < _AT_MOST.get(letter, 1):
            return letter


def _suitability(
    labels: list[str], cells: list[_Rectangle], touching: list[tuple[int, int]]
) -> float:
    """How well the floor areas suit the labels (square metres off), and neighbours each other."""
    score = 0.0
    for letter, cell in zip(labels, cells, strict=True):
        low, high = _AREA[letter]
        area = cell.area * UNIT * UNIT
        score -= max(low - area, 0.0, area - high)
    for i, j in touching:
        pair = (min(labels[i], labels[j]), max(labels[i], labels[j]))
        score += 2.0 * (pair in _OPEN) + 1.0 * (pair in _JOINED)
    return score


def _shared(a: _Rectangle, b: _Rectangle) -> tuple[int, int, int, int] | None:
    """(along, coordinate, start, end) of the wall that two rectangles share, if over 1.2 m."""
    for along, at_a, at_b, low, high in (
        (1, (a.x0, a.x1), (b.x1, b.x0), max(a.y0, b.y0), min(a.y1, b.y1)),
        (0, (a.y0, a.y1), (b.y1, b.y0), max(a.x0, b.x0), min(a.x1, b.x1)),
    ):
        if high - low < 12:
            continue
        for p, q in zip(at_a, at_b, strict=True):
            if p == q:
                return along, p, low, high
    return None


def _place_doors(rng: random.Random, cells: list[_Rectangle], labels: list[str]) -> list[Door]:
    """Hall doors first, then whatever connects the rest, then some second doors."""
    walls = {
        (i, j): wall
        for i in range(len(cells))
        for j in range(i + 1, len(cells))
        if (wall := _shared(cells[i], cells[j])) is not None
    }
    parent = list(range(len(cells)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    chosen: list[tuple[int, int]] = []

    def join(i: int, j: int) -> None:
        chosen.append((i, j))
        parent[root(i)] = root(j)

    def pair(i: int, j: int) -> tuple[str, str]:
        return (min(labels[i], labels[j]), max(labels[i], labels[j]))

    order = sorted(walls)
    rng.shuffle(order)
    for i, j in order:
        if pair(i, j) == ("h", "h"):
            join(i, j)
    for i, j in order:
        # Some closets and bathrooms are reached from a bedroom only.
        ensuite = any(
            (k in (i, j)) and pair(k, other) in (("b", "c"), ("a", "b"))
            for k in (i, j)
            for other in range(len(labels))
            if labels[k] in "ca" and (min(k, other), max(k, other)) in walls
        )
        if "h" in pair(i, j) and root(i) != root(j) and not (ensuite and rng.random() < 0.4):
            join(i, j)
    for wanted in (_JOINED, _OPEN, None):
        for i, j in order:
            if root(i) != root(j) and (wanted is None or pair(i, j) in wanted):
                join(i, j)
    for i, j in order:
        chance = 0.7 if pair(i, j) in _OPEN else 0.4 if pair(i, j) in _JOINED else 0.0
        if (i, j) not in chosen and rng.random() < chance:
            chosen.append((i, j))
    return [_door(rng, (i, j), walls[i, j], pair(i, j)) for i, j in sorted(chosen)]


def _door(
    rng: random.Random,
    rooms: tuple[int, int],
    wall: tuple[int, int, int, int],
    pair: tuple[str, str],
) -> Door:
    along, at, start, end = wall
    if pair == ("h", "h"):
        width, centre = end - start - 2, (start + end) // 2
    else:
        wide = pair in _OPEN and end - start >= 20
        width = min(rng.randint(14, 20), end - start - 5) if wide else 9
        # An odd width about a whole unit would leave the grid of 5 cm; rounding is harmless.
        margin = width // 2 + 3
        centre = rng.randint(start + margin, max(start + margin, end - margin))
    point = (_metres(centre), _metres(at)) if along == 0 else (_metres(at), _metres(centre))
    kind = "archway" if width > 9 else "door"
    return Door(rooms, point, _metres(width), along, kind)
