"""Faces that lie back to back: in one plane, looking opposite ways.

A ray that meets the back of the one must see the front of the other at the same depth. Which of the
two a tree of triangles finds first is chance, and behind the one it does not find the other any
more; so such faces are kept apart, by the side to which they look, and asked again.
"""

from __future__ import annotations

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled

SAME_PLANE = 1e-4
"""Metres that two faces back to back may be apart."""
_TURNS = 256
"""Steps of a normal's direction, for each axis."""


def opposite_sides(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """For each face 0, or 1 or 2 where a face of the other number may lie back to back with it.

    Planes are told apart by rounded direction and place, twice with borders half a step apart, so
    that no pair is missed; a face may have a number without a partner at its place.

    Args:
        vertices: float32 [V, 3], metres.
        faces: int32 [F, 3].

    Returns:
        int8 [F].
    """
    side = np.zeros(len(faces), dtype=np.int8)
    if len(faces) == 0:
        return side
    codes, looks = _planes(vertices, faces, _TURNS, 4 * SAME_PLANE)
    table = 1 << min(max(int(8 * len(faces)).bit_length(), 10), 26)
    for code in codes:
        # Most planes are looked at from one side alone: a rough table of both sides sorts them out.
        rough = code & (table - 1)
        seen = np.zeros((2, table), dtype=bool)
        seen[0, rough[looks == 1]] = True
        seen[1, rough[looks == 2]] = True
        rows = np.flatnonzero((looks > 0) & (seen[0] & seen[1])[rough])
        own, own_side = code[rows], looks[rows]
        both = np.intersect1d(own[own_side == 1], own[own_side == 2])
        if len(both):
            rows = rows[np.isin(own, both)]
            side[rows] = looks[rows]
    return side


@compiled
def _planes(vertices, faces, turns, apart):  # type: ignore[no-untyped-def]
    """Two codes of each face's plane, int64 [2, F], with borders half a step apart, and the side to
    which it looks, int8 [F]: 1 or 2; 0 for a face without area."""
    codes = np.zeros((2, len(faces)), np.int64)
    looks = np.zeros(len(faces), np.int8)
    normal = np.zeros(3, np.float64)
    first = np.zeros(3, np.float64)
    second = np.zeros(3, np.float64)
    for row in range(len(faces)):
        a, b, c = faces[row]
        for axis in range(3):
            first[axis] = np.float64(vertices[b, axis]) - np.float64(vertices[a, axis])
            second[axis] = np.float64(vertices[c, axis]) - np.float64(vertices[a, axis])
        normal[0] = first[1] * second[2] - first[2] * second[1]
        normal[1] = first[2] * second[0] - first[0] * second[2]
        normal[2] = first[0] * second[1] - first[1] * second[0]
        length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        if not length > 0:
            continue
        # Of two opposite normals one is turned round, by its first component that is not about 0.
        turn = -1.0
        for axis in range(3):
            if abs(normal[axis]) > 1e-3 * length:
                turn = 1.0 if normal[axis] > 0 else -1.0
                break
        looks[row] = 2 if turn > 0 else 1
        place = 0.0
        for axis in range(3):
            normal[axis] *= turn / length
            place += normal[axis] * vertices[a, axis]
        for border in range(2):
            half = 0.5 * border
            code = np.int64(np.floor(normal[0] * turns + half))
            code += np.int64(np.floor(normal[1] * turns + half)) * 1_000_003
            code += np.int64(np.floor(normal[2] * turns + half)) * 998_244_353
            code += np.int64(np.floor(place / apart + half)) * 6_700_417_007
            codes[border, row] = code
    return codes, looks
