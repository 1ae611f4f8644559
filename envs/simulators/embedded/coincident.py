"""Faces that lie back to back: in one plane, looking opposite ways.

A ray that meets the back of the one must see the front of the other at the same depth. Which of the
two a tree of triangles finds first is chance, and behind the one it does not find the other any
more; so such faces are kept apart, by the side to which they look, and asked again.
"""

from __future__ import annotations

import numpy as np

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
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    solid = length > 0
    normal = normal / np.where(solid, length, 1)[:, None]
    # Of two opposite normals one is turned round, by its first component that is not about 0.
    lead = np.where(np.abs(normal) > 1e-3, normal, 0)
    first = np.take_along_axis(lead, (lead != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    along = first > 0
    plane = np.where(along[:, None], normal, -normal)
    place = (plane * a).sum(axis=1)
    table = 1 << min(max(int(8 * len(faces)).bit_length(), 10), 26)
    for border in (0.0, 0.5):
        keys = np.floor(np.column_stack([plane * _TURNS, place / (4 * SAME_PLANE)]) + border)
        code = keys.astype(np.int64) @ np.array([1, 1_000_003, 998_244_353, 6_700_417_007])
        # Most planes are looked at from one side alone: a rough table of both sides sorts them out.
        rough = code & (table - 1)
        seen = np.zeros((2, table), dtype=bool)
        seen[0, rough[solid & ~along]] = True
        seen[1, rough[solid & along]] = True
        rows = np.flatnonzero(solid & (seen[0] & seen[1])[rough])
        own, own_along = code[rows], along[rows]
        both = np.intersect1d(own[~own_along], own[own_along])
        if len(both):
            rows = rows[np.isin(own, both)]
            side[rows] = np.where(along[rows], 2, 1)
    return side
