"""A house as tables for planning and following: distances, shortest paths, what is near what."""

from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from envs.houses.house import House
from envs.houses.sight import heading_degrees
from envs.houses.views import things, visible_things

NEAR = 1.8
"""Metres (floor plan, to the thing's nearest part) within which one stands next to it."""


class HouseMap:
    """Derived tables of one house; viewpoints, rooms, doors and things go by their index."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.count = len(house.viewpoints)
        self.index = {v.id: k for k, v in enumerate(house.viewpoints)}
        """Viewpoint id -> index."""
        points = house.positions
        lengths = np.zeros((self.count, self.count))
        for a, b in house.edges:
            lengths[a, b] = lengths[b, a] = np.linalg.norm(points[a] - points[b])
        self.distance, before = dijkstra(
            csr_matrix(lengths), directed=False, return_predecessors=True
        )
        """float64 [n, n] geodesic metres over the edges."""
        self._before = before.tolist()
        self.heading = heading_degrees(points[:, None], points[None]).tolist()
        """[a][b] heading from a to b, degrees in [0, 360) clockwise from +y."""
        self.rooms = [v.room for v in house.viewpoints]
        """Room index of each viewpoint."""
        self.labels = [house.rooms[r].label for r in self.rooms]
        """Room letter of each viewpoint."""
        self.neighbours: list[list[int]] = [[] for _ in range(self.count)]
        for a, b in house.edges:
            self.neighbours[a].append(b)
            self.neighbours[b].append(a)
        self._paths: dict[tuple[int, int], tuple[int, ...]] = {}
        self._ways: dict[tuple[int, int], tuple[float, ...]] = {}

    def path(self, start: int, goal: int) -> tuple[int, ...]:
        """Viewpoints of the shortest path, both ends included."""
        known = self._paths.get((start, goal))
        if known is None:
            back, before = [goal], self._before[start]
            while back[-1] != start:
                back.append(before[back[-1]])
            known = self._paths[start, goal] = tuple(reversed(back))
        return known

    def ways(self, start: int, goal: int) -> tuple[float, ...]:
        """Headings (degrees) of the steps of the shortest path."""
        known = self._ways.get((start, goal))
        if known is None:
            path = self.path(start, goal)
            known = tuple(self.heading[a][b] for a, b in pairwise(path))
            self._ways[start, goal] = known
        return known

    @cached_property
    def _frames(self) -> tuple[tuple[str, ...], list[list[bool]], list[list[float]], np.ndarray]:
        names, low, high = things(self.house)
        seen, distance = visible_things(self.house)
        return names, seen.tolist(), distance.tolist(), (low + high) / 2

    @cached_property
    def members(self) -> dict[int, tuple[int, ...]]:
        """Viewpoints of each room."""
        return {
            r: tuple(v for v in range(self.count) if self.rooms[v] == r)
            for r in range(len(self.house.rooms))
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each thing (furniture, then doors)."""
        return self._frames[0]

    @cached_property
    def places(self) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
        """(name, thing, viewpoints from nearest on) of all things that one can stand next to.

        A viewpoint counts where it sees the thing, no farther than `NEAR` or 0.4 m more than the
        nearest one.
        """
        names, seen, distance, _ = self._frames
        found = []
        for thing, name in enumerate(names):
            near = sorted(
                (distance[v][thing], v)
                for v in range(self.count)
                if seen[v][thing] and distance[v][thing] <= 2.5
            )
            if near:
                limit = min(NEAR, near[0][0] + 0.4)
                chosen = tuple(v for d, v in near if d <= limit)
                if chosen:
                    found.append((name, thing, chosen))
        return tuple(found)

    @cached_property
    def nearby(self) -> tuple[dict[str, tuple[int, ...]], ...]:
        """For each viewpoint: the things seen within 2.2 m, by name."""
        names, seen, distance, _ = self._frames
        tables: list[dict[str, tuple[int, ...]]] = []
        for v in range(self.count):
            table: dict[str, list[int]] = {}
            for thing, name in enumerate(names):
                if seen[v][thing] and distance[v][thing] <= 2.2:
                    table.setdefault(name, []).append(thing)
            tables.append({name: tuple(found) for name, found in table.items()})
        return tuple(tables)

    def bearing(self, viewpoint: int, thing: int) -> float:
        """Heading in degrees from a viewpoint to the middle of a thing."""
        middle = self._frames[3][thing]
        return float(heading_degrees(self.house.positions[viewpoint], middle))


@lru_cache(maxsize=256)
def house_map(house: House) -> HouseMap:
    """The tables of a house, made once and kept while it is in use."""
    return HouseMap(house)


def relative(before: float, after: float) -> float:
    """Turn from one heading to another in (-180, 180] degrees, positive to the right."""
    turn = (after - before) % 360.0
    return turn - 360.0 if turn > 180.0 else turn
