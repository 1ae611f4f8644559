"""A `NavMesh` from its polygons and triangles: islands, boxes, and what lies in which square."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from envs.simulators.embedded.navmesh.heights import Heights
from envs.simulators.embedded.navmesh.walking import NavMesh

NO_AREA = 1e-5
"""Square metres under which habitat-sim takes a polygon out of the floor."""
BUCKET = 0.5
"""Metres of the squares through which a point finds the polygons near it."""


class Frame(NamedTuple):
    """The box around a scene and the cells in which its floor was found."""

    low: np.ndarray  # float32 [3], metres
    high: np.ndarray  # float32 [3], metres
    cell: np.float32  # metres
    cell_height: np.float32  # metres
    climb: float  # metres


def assemble(
    frame: Frame,
    polygon: np.ndarray,
    beside: np.ndarray,
    heights: Heights,
    island: np.ndarray,
    is_roof: np.ndarray,
    walkable: np.ndarray | None = None,
) -> NavMesh:
    """Join the parts of a navigation mesh.

    Args:
        frame: box and cells.
        polygon: int32 [P, 6], rows of `heights.points`, -1 behind the last.
        beside: int32 [P, 6], the polygon across each edge, -1 at a wall.
        heights: triangles of every polygon; the corners of polygons come first in its points.
        island: int32 [P], from `islands_of`.
        is_roof: bool [islands].
        walkable: bool [P], polygons that are not switched off; None: all.
    """
    squares, bucket_start, bucket_polygon = _buckets(frame, heights)
    area = np.add.reduceat(triangle_areas(heights.points, heights.triangle), heights.start[:-1])
    usable = area >= NO_AREA
    bounds = _bounds(frame, int(polygon.max()) + 1, heights)
    return NavMesh(
        points=heights.points,
        polygon=polygon,
        size=(polygon >= 0).sum(axis=1).astype(np.int32),
        beside=beside,
        triangle=heights.triangle,
        rim=heights.rim,
        start=heights.start,
        island=island,
        usable=usable if walkable is None else usable & walkable,
        is_roof=is_roof,
        bounds=bounds,
        rank=_ranks(bounds),
        low=frame.low,
        high=frame.high,
        cell=np.array([frame.cell], dtype=np.float32),
        climb=np.array([frame.climb], dtype=np.float32),
        buckets=squares,
        bucket=np.array([BUCKET], dtype=np.float32),
        bucket_start=bucket_start,
        bucket_polygon=bucket_polygon,
    )


def islands_of(beside: np.ndarray) -> np.ndarray:
    """The connected floor that each polygon belongs to, int32 [P], numbered from 0."""
    rows, edges = np.nonzero(beside >= 0)
    shape = (len(beside), len(beside))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, beside[rows, edges])), shape)
    found: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int32)
    return found


def triangle_areas(points: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Square metres of each triangle, [T]."""
    a, b, c = (points[triangle[:, k]] for k in range(3))
    found: np.ndarray = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return found


def _bounds(frame: Frame, corners: int, heights: Heights) -> np.ndarray:
    """Lowest and highest x, y, z of each polygon in cells (the side of a cell also for y)."""
    points = heights.points - frame.low
    points[:corners, 1] += frame.cell_height  # Recast lifts corners here as it does extra points
    per_cell = np.float32(1) / frame.cell
    corner = np.clip(points * per_cell, 0, 0xFFFF).astype(np.int32)[heights.triangle]
    first = heights.start[:-1]
    low = np.minimum.reduceat(corner.min(axis=1), first)
    return np.concatenate([low, np.maximum.reduceat(corner.max(axis=1), first)], axis=1)


def _ranks(bounds: np.ndarray) -> np.ndarray:
    """The place of each polygon in Detour's tree of boxes, int32 [P]: of polygons equally near to
    a point (one on their common edge), the first there is taken.

    The tree halves the polygons, sorted by the lower end of their boxes along its longest side.
    """
    order = np.arange(len(bounds))
    waiting = [(0, len(bounds))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        own = bounds[order[first:last]]
        sides = own[:, 3:].max(axis=0) - own[:, :3].min(axis=0)
        axis = int(sides.argmax())
        order[first:last] = order[first:last][np.argsort(own[:, axis], kind="stable")]
        middle = first + (last - first) // 2
        waiting += [(first, middle), (middle, last)]
    rank = np.empty(len(bounds), dtype=np.int32)
    rank[order] = np.arange(len(bounds))
    return rank


def _buckets(frame: Frame, heights: Heights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which polygons' boxes reach into which squares of floor, as `NavMesh` keeps them."""
    extent = (frame.high - frame.low)[[0, 2]]
    squares = np.floor(extent / BUCKET).astype(np.int64) + 1
    corner = (heights.points - frame.low)[:, [0, 2]][heights.triangle]
    square = np.clip((corner / np.float32(BUCKET)).astype(np.int64), 0, squares - 1)
    first = np.minimum.reduceat(square.min(axis=1), heights.start[:-1])
    spans = np.maximum.reduceat(square.max(axis=1), heights.start[:-1]) - first + 1
    counts = spans.prod(axis=1)
    polygon = np.repeat(np.arange(len(first)), counts)
    within = np.arange(len(polygon)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = first[polygon, 0] + within % spans[polygon, 0]
    z = first[polygon, 1] + within // spans[polygon, 0]
    index = x + z * squares[0]
    order = np.argsort(index, kind="stable")
    start = np.searchsorted(index[order], np.arange(int(squares.prod()) + 1))
    return squares.astype(np.int32), start.astype(np.int32), polygon[order].astype(np.int32)
