"""Several navigation graphs as flat arrays: the tables that the simulator and the learner index.

Directions: a heading is in radians, clockwise from +y (north), in [0, 2 pi); an elevation is in
radians, positive upwards. Heading bin h is the 30-degree sector centred on h * 30 degrees, and
Matterport's view h + 12 * row looks at heading h * 30 degrees, elevation (row - 1) * 30 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from envs.graph.navigation_graph import NavigationGraph
from rayforge.errors import DataError
from rayforge.readers.faults import shown

HEADING_BINS = 12
VIEWS = 36
# Matterport has neighbours 0.2 mm apart. Nearer than this there is no heading between them, and
# every edge has to be far longer than the tolerance within which two paths count as equally short.
SHORTEST_EDGE = 1e-6
TIE = 1e-9


def heading_bin(heading: np.ndarray | float) -> np.ndarray:
    """Bin 0..11 of a heading in radians, of any shape and any number of turns: int32."""
    sector = np.floor(np.asarray(heading, dtype=np.float64) * (HEADING_BINS / (2 * np.pi)) + 0.5)
    return (sector.astype(np.int64) % HEADING_BINS).astype(np.int32)


def view_index(heading: np.ndarray | float, elevation: np.ndarray | float) -> np.ndarray:
    """Matterport's view 0..35 nearest to a direction (radians): int32."""
    row = np.floor(np.asarray(elevation, dtype=np.float64) * (6 / np.pi) + 0.5)
    return heading_bin(heading) + HEADING_BINS * (np.clip(row, -1, 1).astype(np.int32) + 1)


@dataclass(frozen=True, eq=False, repr=False)
class Buildings:
    """S buildings with V viewpoints in all, at most K neighbours each; a viewpoint is one index.

    Attributes:
        scans: building names.
        viewpoint_ids: global index to viewpoint id.
        building: int32 [V], index into `scans`.
        first: int32 [S + 1], first global index of each building; the last entry is V.
        positions: float64 [V, 3], metres, z up.
        neighbours: int32 [V, K], global indices, -1 pads; slots in order of absolute heading, the
            pads last.
        heading: float32 [V, K], absolute heading of the neighbour; 0 in pads, as the next two.
        elevation: float32 [V, K], its elevation.
        length: float32 [V, K], metres.
        openness: float32 [V, 12], metres to the farthest viewpoint in line of sight in each
            heading bin, 0 where none is.
        geodesic_first: int64 [S], where each building's block starts in the next two.
        geodesics: float32, the buildings' [n, n] matrices of shortest path lengths in metres, one
            after the other; inf where there is no path.
        next_slots: int8, the same layout: `next_slot` of (row, column).
    """

    scans: tuple[str, ...]
    viewpoint_ids: tuple[str, ...]
    building: np.ndarray
    first: np.ndarray
    positions: np.ndarray
    neighbours: np.ndarray
    heading: np.ndarray
    elevation: np.ndarray
    length: np.ndarray
    openness: np.ndarray
    geodesic_first: np.ndarray
    geodesics: np.ndarray
    next_slots: np.ndarray

    @cached_property
    def _indices(self) -> dict[tuple[str, str], int]:
        return {place: index for index, place in enumerate(self.places())}

    def places(self) -> list[tuple[str, str]]:
        """(scan, viewpoint id) of every global index, in order."""
        scans = [self.scans[building] for building in self.building.tolist()]
        return list(zip(scans, self.viewpoint_ids, strict=True))

    def index(self, scan: str, viewpoint: str) -> int:
        """Global index of a viewpoint.

        Raises:
            DataError: no such building or viewpoint.
        """
        try:
            return self._indices[scan, viewpoint]
        except KeyError:
            if scan not in self.scans:
                message = f"building {shown(scan)} is not among the {len(self.scans)} loaded ones"
            else:
                message = f"building {scan} has no viewpoint {shown(viewpoint)}"
            raise DataError(message) from None

    def distance(self, a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
        """Geodesic metres between viewpoints of the same building: float32, a and b broadcast;
        inf where there is no path.

        Raises:
            ValueError: a pair lies in two buildings.
        """
        found: np.ndarray = self.geodesics[self._pair(a, b)]
        return found

    def next_slot(self, a: np.ndarray | int, goal: np.ndarray | int) -> np.ndarray:
        """Neighbour slot (0..K-1) in which the shortest path from `a` to `goal` goes on: int32.

        -1 where a == goal or no path exists. Among equally short paths, the lowest slot.

        Raises:
            ValueError: a pair lies in two buildings.
        """
        found: np.ndarray = self.next_slots[self._pair(a, goal)].astype(np.int32)
        return found

    def _pair(self, a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
        row, column = np.asarray(a), np.asarray(b)
        building = self.building[row]
        if (building != self.building[column]).any():
            raise ValueError("distance between viewpoints of two buildings is not defined")
        start = self.first[building]
        width = self.first[building + 1] - start
        found: np.ndarray = (
            self.geodesic_first[building] + (row - start) * width.astype(np.int64) + column - start
        )
        return found


def join_graphs(graphs: Sequence[NavigationGraph]) -> Buildings:
    """Lay graphs side by side and precompute directions, shortest paths and openness.

    Raises:
        DataError: no graph, a building twice, or an edge shorter than a micrometre.
    """
    if not graphs:
        raise DataError("no navigation graph given; at least one building is needed")
    scans = tuple(graph.scan for graph in graphs)
    if len(set(scans)) != len(scans):
        raise DataError(f"building {max(scans, key=scans.count)} is given twice")
    sizes = [len(graph.viewpoints) for graph in graphs]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    slots = max(1, max(int(graph.adjacency.sum(axis=1).max()) for graph in graphs))
    tables = [_edges(graph, slots) for graph in graphs]
    paths = [
        _shortest_paths(graph, table[0], table[3])
        for graph, table in zip(graphs, tables, strict=True)
    ]
    neighbours = np.concatenate(
        [
            np.where(table[0] < 0, -1, table[0] + start)
            for table, start in zip(tables, first[:-1], strict=True)
        ]
    )
    squares = np.array([size * size for size in sizes], dtype=np.int64)
    return Buildings(
        scans=scans,
        viewpoint_ids=tuple(viewpoint for graph in graphs for viewpoint in graph.viewpoints),
        building=np.repeat(np.arange(len(graphs), dtype=np.int32), sizes),
        first=first,
        positions=np.concatenate([graph.positions for graph in graphs]),
        neighbours=neighbours.astype(np.int32),
        heading=np.concatenate([table[1] for table in tables]).astype(np.float32),
        elevation=np.concatenate([table[2] for table in tables]).astype(np.float32),
        length=np.concatenate([table[3] for table in tables]).astype(np.float32),
        openness=np.concatenate([_openness(graph) for graph in graphs]),
        geodesic_first=np.cumsum(squares) - squares,
        geodesics=np.concatenate([distance.astype(np.float32).ravel() for distance, _ in paths]),
        next_slots=np.concatenate([slot.ravel() for _, slot in paths]),
    )


def _directions(graph: NavigationGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heading, elevation, metres from row to column: float64 [n, n] each."""
    offset = graph.positions[None, :, :] - graph.positions[:, None, :]
    heading = np.arctan2(offset[..., 0], offset[..., 1]) % (2 * np.pi)
    level = np.hypot(offset[..., 0], offset[..., 1])
    return heading, np.arctan2(offset[..., 2], level), np.linalg.norm(offset, axis=-1)


def _edges(
    graph: NavigationGraph, slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Neighbour rows (-1 pads), heading, elevation, length: [n, slots] each."""
    heading, elevation, length = _directions(graph)
    short = np.argwhere(graph.adjacency & (length < SHORTEST_EDGE))
    if len(short):
        a, b = (graph.viewpoints[row] for row in short[0])
        raise DataError(
            f"building {graph.scan}: viewpoints {a} and {b} are neighbours at the same place;"
            " exclude one of them"
        )
    order = np.argsort(np.where(graph.adjacency, heading, np.inf), axis=1, kind="stable")
    if order.shape[1] < slots:
        order = np.pad(order, ((0, 0), (0, slots - order.shape[1])))
    order = order[:, :slots]
    degree = graph.adjacency.sum(axis=1)
    pad = np.arange(slots)[None, :] >= degree[:, None]
    row = np.arange(len(graph.viewpoints))[:, None]
    return (
        np.where(pad, -1, order),
        np.where(pad, 0.0, heading[row, order]),
        np.where(pad, 0.0, elevation[row, order]),
        np.where(pad, 0.0, length[row, order]),
    )


def _shortest_paths(
    graph: NavigationGraph, neighbours: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances float64 [n, n] and next slots int8 [n, n]."""
    count, slots = neighbours.shape
    if slots > np.iinfo(np.int8).max:
        raise DataError(f"building {graph.scan}: a viewpoint with {slots} neighbours; 127 at most")
    row, slot = np.nonzero(neighbours >= 0)
    weights = csr_array((length[row, slot], (row, neighbours[row, slot])), shape=(count, count))
    distance = dijkstra(weights, directed=False)
    via = np.full((count, slots, count), np.inf)
    via[row, slot] = length[row, slot, None] + distance[neighbours[row, slot]]
    best = via.min(axis=1)
    # Each edge is far longer than the tolerance, so every step of such a path comes nearer.
    next_slot = np.argmax(via <= best[:, None, :] + TIE, axis=1).astype(np.int8)
    next_slot[~np.isfinite(distance)] = -1
    np.fill_diagonal(next_slot, -1)
    return distance, next_slot


def _openness(graph: NavigationGraph) -> np.ndarray:
    heading, _, length = _directions(graph)
    seen = graph.visible.copy()
    np.fill_diagonal(seen, False)
    row, column = np.nonzero(seen)
    openness = np.zeros((len(graph.viewpoints), HEADING_BINS), dtype=np.float32)
    bins = heading_bin(heading[row, column])
    np.maximum.at(openness, (row, bins), length[row, column].astype(np.float32))
    return openness
