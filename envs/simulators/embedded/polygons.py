"""Polygons of any number of corners as triangles."""

from __future__ import annotations

import numpy as np


def triangles_of(
    corners: np.ndarray, start: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of N polygons, in their order.

    A convex polygon is cut into a fan from its first corner; one that is not, ear by ear. Fewer
    than three corners give no triangle.

    Args:
        corners: int64 [sum of corners], rows of `points`, polygon after polygon.
        start: int64 [N + 1], where each polygon starts in `corners`.
        points: float [V, 3].

    Returns:
        Places in `corners`, int64 [T, 3], and the polygon of each triangle, int64 [T].
    """
    count = np.diff(start)
    fan = np.maximum(count - 2, 0)
    polygon = np.repeat(np.arange(len(count)), fan)
    within = np.arange(len(polygon)) - np.repeat(np.cumsum(fan) - fan, fan)
    first = start[:-1][polygon]
    places = np.stack([first, first + within + 1, first + within + 2], axis=1)
    if (count > 3).any():
        for number in _not_convex(places, polygon, corners, points):
            here = slice(start[number], start[number + 1])
            flat = _flat(points[corners[here]].astype(np.float64))
            places[polygon == number] = start[number] + np.array(_ears(flat))
    return places, polygon


def _not_convex(
    places: np.ndarray, polygon: np.ndarray, corners: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Polygons of whose fan a triangle is turned over."""
    corner = points[corners[places]].astype(np.float64)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros((int(polygon.max()) + 1, 3))
    np.add.at(total, polygon, normal)
    along = (normal * total[polygon]).sum(axis=1)
    size = np.linalg.norm(normal, axis=1) * np.linalg.norm(total, axis=1)[polygon]
    return np.unique(polygon[along < -1e-9 * size])


def _flat(points: np.ndarray) -> np.ndarray:
    """A polygon [K, 3] seen along its normal, counter-clockwise, [K, 2]."""
    after = np.roll(points, -1, axis=0)
    normal = np.cross(points - points[0], after - points[0]).sum(axis=0)
    drop = int(np.abs(normal).argmax())
    first, second = (drop + 1) % 3, (drop + 2) % 3
    flat = points[:, [first, second]]
    return flat if normal[drop] > 0 else flat * [1, -1]


def _ears(flat: np.ndarray) -> list[tuple[int, int, int]]:
    """Cut corner after corner off a polygon; of one that crosses itself, whatever is left."""
    left = list(range(len(flat)))
    ears = []
    while len(left) > 3:
        for k in range(len(left)):
            before, here, after = left[k - 1], left[k], left[(k + 1) % len(left)]
            others = [other for other in left if other not in (before, here, after)]
            if _side(flat[before], flat[here], flat[after]) > 0 and not any(
                _within(flat[other], flat[before], flat[here], flat[after]) for other in others
            ):
                break
        else:
            k = 1
        ears.append((left[k - 1], left[k], left[(k + 1) % len(left)]))
        del left[k]
    return [*ears, (left[0], left[1], left[2])]


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))


def _within(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    return min(_side(a, b, point), _side(b, c, point), _side(c, a, point)) >= 0
