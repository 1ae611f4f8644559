"""The navigation graph of a house: where to stand and between which places one can walk."""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from envs.houses.house import CAMERA_HEIGHT, House, Viewpoint
from envs.houses.sight import in_sight, obstacles, rays_blocked

MAX_EDGE = 4.0
"""Metres of the longest edge."""
_SPACING = 1.75  # metres between the viewpoints of a room, about
_APART = 0.95  # two viewpoints are never closer
# An edge goes when a stop on the way makes the walk this much longer at most.
_DETOUR = 1.06
_BRIDGES = 60  # attempts to connect what furniture keeps apart


def add_viewpoints(rng: random.Random, house: House) -> House | None:
    """The house with viewpoints and edges, or None where the graph would not be connected.

    Viewpoints stand in every doorway, along the middle of hallways (in front of their doors) and
    spread over rooms; edges join those at most `MAX_EDGE` apart with a free straight way, but an
    edge that a third viewpoint splits almost without a detour is left out, as in Matterport.
    """
    placer = _Placer(rng, house)
    for index in range(len(house.doors)):
        placer.add_door(index)
    for index, room in enumerate(house.rooms):
        if room.label == "h":
            placer.fill_hall(index)
    for index, room in enumerate(house.rooms):
        if room.label != "h":
            placer.fill_room(index)
    placer.bridge()
    spots = placer.connected_spots()
    if any(not any(r == i and d < 0 for _, r, d in spots) for i in range(len(house.rooms))):
        return None
    edges = placer.edges(np.array([p for p, _, _ in spots]))
    z = house.floor + CAMERA_HEIGHT
    viewpoints = tuple(
        Viewpoint(_identifier(house.scan, k, p), (p[0], p[1], z), room, door)
        for k, (p, room, door) in enumerate(spots)
    )
    return replace(house, viewpoints=viewpoints, edges=edges)


def line_of_sight(house: House) -> np.ndarray:
    """bool [n, n] symmetric, False on the diagonal: which viewpoints see each other."""
    points = house.positions
    rows, columns = np.triu_indices(len(points), 1)
    free = in_sight(house, points[rows], points[columns])
    visible = np.zeros((len(points), len(points)), dtype=bool)
    visible[rows, columns] = free
    return visible | visible.T


def _identifier(scan: str, index: int, point: tuple[float, float]) -> str:
    text = f"rayforge {scan} {index} {point[0]:.3f} {point[1]:.3f}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class _Placer:
    """Collects (point, room, door) spots that keep apart from each other and from furniture."""

    def __init__(self, rng: random.Random, house: House) -> None:
        self.rng, self.house = rng, house
        self.low, self.high = obstacles(house)
        self.spots: list[tuple[tuple[float, float], int, int]] = []

    def _clear(self, x: float, y: float) -> bool:
        inside = (self.low <= (x, y)) & ((x, y) <= self.high)
        return not inside.all(axis=1).any()

    def _near(self, x: float, y: float) -> float:
        return min((math.dist((x, y), p) for p, _, _ in self.spots), default=math.inf)

    def _try(self, x: float, y: float, room: int, apart: float = _APART) -> bool:
        x, y = round(x, 3), round(y, 3)
        if not self._clear(x, y) or self._near(x, y) < apart:
            return False
        self.spots.append(((x, y), room, -1))
        return True

    def add_door(self, index: int) -> None:
        """A viewpoint in the doorway; it belongs to the room that is no hallway."""
        door = self.house.doors[index]
        first, second = door.rooms
        room = second if self.house.rooms[first].label == "h" else first
        if self._near(*door.centre) >= _APART:
            self.spots.append(((round(door.centre[0], 3), round(door.centre[1], 3)), room, index))

    def fill_hall(self, index: int) -> None:
        """Along the middle line: in front of doors first, then the ends and gaps."""
        hall = self.house.rooms[index]
        along = 0 if hall.size[0] >= hall.size[1] else 1
        middle = (hall.low[1 - along] + hall.high[1 - along]) / 2
        start, end = hall.low[along] + 0.7, hall.high[along] - 0.7
        fronts = sorted(
            min(max(d.centre[along], start), end) for d in self.house.doors if index in d.rooms
        )
        stops = _thinned(fronts, 1.3)
        for limit in (start, end):
            if not stops or min(abs(s - limit) for s in stops) > 1.5:
                stops.append(limit)
        stops.sort()
        for a, b in list(pairwise(stops)):
            pieces = math.ceil((b - a) / 2.6)
            stops += [a + (b - a) * k / pieces for k in range(1, pieces)]
        for at in sorted(stops):
            # Furniture may stand there: shift a little across and along before giving up.
            for across, shift in ((0, 0), (0.2, 0), (-0.2, 0), (0.3, 0.3), (-0.3, -0.3)):
                point = [middle + across, middle + across]
                point[along] = at + shift
                if self._try(point[0], point[1], index, 0.75):
                    break

    def fill_room(self, index: int) -> None:
        """A jittered grid over the room, at least one viewpoint."""
        room = self.house.rooms[index]
        counts = [max(1, round((s - 0.8) / _SPACING)) for s in room.size]
        before = len(self.spots)
        for i in range(counts[0]):
            for j in range(counts[1]):
                for attempt in range(12):
                    spread = 0.12 + 0.06 * attempt
                    x, y = (
                        room.low[a]
                        + 0.55
                        + (room.size[a] - 1.1) * (k + 0.5 + self.rng.uniform(-spread, spread)) / n
                        for a, k, n in ((0, i, counts[0]), (1, j, counts[1]))
                    )
                    if room.contains(x, y) and self._try(x, y, index):
                        break
        attempts = 0
        while len(self.spots) == before and attempts < 60:
            attempts += 1
            x = self.rng.uniform(room.low[0] + 0.3, room.high[0] - 0.3)
            y = self.rng.uniform(room.low[1] + 0.3, room.high[1] - 0.3)
            self._try(x, y, index, 0.7)

    def bridge(self) -> None:
        """Stand where one can walk to two parts of the graph that furniture keeps apart."""
        parts = self._parts()
        for _ in range(_BRIDGES):
            if len(set(parts)) == 1:
                return
            largest = _largest(parts)
            lonely = [k for k, part in enumerate(parts) if part != largest]
            (x, y), room, _ = self.spots[self.rng.choice(lonely)]
            x, y = (round(c + self.rng.uniform(-1.8, 1.8), 3) for c in (x, y))
            if (
                not self.house.rooms[room].contains(x, y)
                or not self._clear(x, y)
                or self._near(x, y) < 0.5
            ):
                continue
            points = np.array([p for p, _, _ in self.spots])
            near = np.flatnonzero(np.hypot(*(points - (x, y)).T) <= MAX_EDGE)
            free = self._walkable(np.broadcast_to((x, y), (len(near), 2)), points[near])
            if len({parts[k] for k in near[free].tolist()}) > 1:
                self.spots.append(((x, y), room, -1))
                parts = self._parts()

    def connected_spots(self) -> list[tuple[tuple[float, float], int, int]]:
        """The largest connected part."""
        parts = self._parts()
        largest = _largest(parts)
        return [s for s, part in zip(self.spots, parts, strict=True) if part == largest]

    def _parts(self) -> list[int]:
        points = np.array([p for p, _, _ in self.spots])
        return _components(len(points), self.edges(points))

    def _walkable(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.asarray(~rays_blocked(starts, ends, self.low, self.high).any(axis=1))

    def edges(self, points: np.ndarray) -> tuple[tuple[int, int], ...]:
        """Pairs of viewpoints (smaller first) that an edge joins."""
        distance = np.linalg.norm(points[:, None] - points[None], axis=2)
        rows, columns = np.nonzero(np.triu(distance <= MAX_EDGE, 1))
        free = self._walkable(points[rows], points[columns])
        rows, columns = rows[free], columns[free]
        ways = np.full(distance.shape, np.inf)
        ways[rows, columns] = ways[columns, rows] = distance[rows, columns]
        detour = (ways[rows] + ways[columns]).min(axis=1) / distance[rows, columns]
        kept = detour > _DETOUR
        return tuple(zip(rows[kept].tolist(), columns[kept].tolist(), strict=True))


def _largest(parts: Sequence[int]) -> int:
    """The part with most viewpoints (the one with the larger number of two)."""
    return max(set(parts), key=lambda p: (parts.count(p), p))


def _thinned(values: Sequence[float], apart: float) -> list[float]:
    """Values at least `apart` from each other; those closer are replaced by their mean."""
    groups: list[list[float]] = []
    for value in values:
        if groups and value - groups[-1][0] < apart:
            groups[-1].append(value)
        else:
            groups.append([value])
    return [sum(g) / len(g) for g in groups]


def _components(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """A number for each viewpoint, the same for those that are connected."""
    parent = list(range(count))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in edges:
        parent[root(a)] = root(b)
    return [root(k) for k in range(count)]
