"""Rotations in single precision, with habitat-sim's order of operations.

Rounding decides on the borders of floor cells: a floor that is turned by a rounding error is level
in one order of operations and not in another.
"""

from __future__ import annotations

import numpy as np

Vector = tuple[float, float, float]
UP, FRONT = (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
"""habitat-sim's axes."""


def rotation_of(quaternion: np.ndarray) -> np.ndarray:
    """The rotation matrix, float32 [3, 3], of a quaternion x, y, z, w."""
    x, y, z, w = np.asarray(quaternion, dtype=np.float32)
    one, two = np.float32(1), np.float32(2)
    xx, yy, zz = two * (x * x), two * (y * y), two * (z * z)
    xy, xz, yz = two * x * y, two * x * z, two * y * z
    xw, yw, zw = two * x * w, two * y * w, two * z * w
    rows = [[one - yy - zz, xy - zw, xz + yw], [xy + zw, one - xx - zz, yz - xw]]
    rows.append([xz - yw, yz + xw, one - xx - yy])
    return np.array(rows, dtype=np.float32)


def axes_rotation(up: Vector, front: Vector) -> np.ndarray:
    """Rotation, float32 [3, 3], from a mesh with these axes to the scene's (+y up, -z front).

    Made of quaternions in single precision, as habitat-sim makes it: turned floors are a rounding
    error off level there, which decides on borders of cells.
    """
    above = direction(up)
    upright = _between(direction(UP), above, direction((1, 0, 0)))
    ahead = _between(_turned(upright, direction(FRONT)), direction(front), above)
    both = _times(ahead, upright)
    x, y, z, w = both / np.sqrt(_dot(both, both))
    return rotation_of(np.array([-x, -y, -z, w]))  # the way back


def direction(axis: Vector) -> np.ndarray:
    vector = np.array(axis, dtype=np.float32)
    found: np.ndarray = vector / np.sqrt(_dot(vector, vector))
    return found


def _between(first: np.ndarray, second: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The shortest turn from one direction to another, a quaternion x, y, z, w; half a turn is
    made around `axis`."""
    cosine = _dot(first, second)
    near = np.float32(1e-5)
    if cosine > 1 - near:
        return np.array([0, 0, 0, 1], dtype=np.float32)
    if cosine < near - 1:
        return np.append(axis, 0).astype(np.float32)
    root = np.sqrt((1 + cosine) * np.float32(2))
    return np.append(np.cross(first, second) / root, np.float32(0.5) * root).astype(np.float32)


def _turned(turn: np.ndarray, vector: np.ndarray) -> np.ndarray:
    twice = np.float32(2) * np.cross(turn[:3], vector)
    moved: np.ndarray = vector + turn[3] * twice + np.cross(turn[:3], twice)
    return moved


def _times(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    vector = first[3] * second[:3] + second[3] * first[:3] + np.cross(first[:3], second[:3])
    scalar = first[3] * second[3] - _dot(first[:3], second[:3])
    return np.append(vector, scalar).astype(np.float32)


def _dot(first: np.ndarray, second: np.ndarray) -> np.float32:
    total = np.float32(0)
    for product in first * second:  # in order: NumPy adds pairs
        total = np.float32(total + product)
    return total
