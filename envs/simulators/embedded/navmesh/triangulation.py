"""Triangles over a polygon and points within it: the hull's first, then point by point (Delaunay).

Points are float32 [n, 3], metres, the height second; what is inside and which way a corner turns is
seen from above. (Recast: polygon mesh detail.)
"""

from __future__ import annotations

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled


@compiled
def off_line(p, a, b, dimensions):
    """Squared distance of p from the segment a-b, in 3 dimensions or from above (2)."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    dx, dy, dz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    if dimensions == 2:
        uy = dy = np.float32(0)
    length = ux * ux + uy * uy + uz * uz
    share = ux * dx + uy * dy + uz * dz
    if length > 0:
        share /= length
    share = min(max(share, np.float32(0)), np.float32(1))
    dx -= share * ux
    dy -= share * uy
    dz -= share * uz
    return dx * dx + dy * dy + dz * dz


@compiled
def flat(a, b):
    """Metres between a and b seen from above."""
    dx, dz = b[0] - a[0], b[2] - a[2]
    return np.sqrt(dx * dx + dz * dz)


@compiled
def hull_triangles(points, hull, corners, triangles):
    """Cut the polygon `hull` from the ear with the shortest rim on; the number of triangles."""
    size = len(hull)
    start, left, right = 0, 1, size - 1
    shortest = np.float32(np.inf)
    for i in range(size):
        if hull[i] >= corners:
            continue
        a, b, c = points[hull[i - 1]], points[hull[i]], points[hull[(i + 1) % size]]
        rim = flat(a, b) + flat(b, c) + flat(c, a)
        if rim < shortest:
            start, left, right = i, (i + 1) % size, (i + size - 1) % size
            shortest = rim
    triangles[0, 0], triangles[0, 1], triangles[0, 2] = hull[start], hull[left], hull[right]
    count = 1
    while (left + 1) % size != right:
        after, before = (left + 1) % size, (right + size - 1) % size
        a, b = points[hull[left]], points[hull[right]]
        c, d = points[hull[after]], points[hull[before]]
        triangles[count, 0], triangles[count, 2] = hull[left], hull[right]
        if flat(a, c) + flat(c, b) < flat(b, d) + flat(a, d):
            triangles[count, 1] = hull[after]
            left = after
        else:
            triangles[count, 1] = hull[before]
            right = before
        count += 1
    return count


@compiled
def off_triangles(p, points, triangles):
    """How far p is above or below the triangles (-1: beside all of them), and above which."""
    least = np.float32(np.inf)
    found = -1
    slack = np.float32(1e-4)
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        ux, uz, vx, vz = c[0] - a[0], c[2] - a[2], b[0] - a[0], b[2] - a[2]
        wx, wz = p[0] - a[0], p[2] - a[2]
        area = ux * vz - uz * vx
        if area == 0:
            continue
        u = (wx * vz - wz * vx) / area
        v = (ux * wz - uz * wx) / area
        if u >= -slack and v >= -slack and u + v <= 1 + slack:
            off = abs(a[1] + (c[1] - a[1]) * u + (b[1] - a[1]) * v - p[1])
            if off < least:
                least = off
                found = t
    return (least if found >= 0 else np.float32(-1)), found


@compiled
def _in_circle(a, b, c, d):
    """Whether d lies inside the circle through a, b, c seen from above (either winding)."""
    ax, az = np.float64(a[0] - d[0]), np.float64(a[2] - d[2])
    bx, bz = np.float64(b[0] - d[0]), np.float64(b[2] - d[2])
    cx, cz = np.float64(c[0] - d[0]), np.float64(c[2] - d[2])
    inside = (
        (ax * ax + az * az) * (bx * cz - cx * bz)
        - (bx * bx + bz * bz) * (ax * cz - cx * az)
        + (cx * cx + cz * cz) * (ax * bz - bx * az)
    )
    winding = (bx - ax) * (cz - az) - (cx - ax) * (bz - az)
    return inside * np.sign(winding) > 1e-9


@compiled
def _turned(a, b, c):
    return (b[0] - a[0]) * (c[2] - a[2]) - (c[0] - a[0]) * (b[2] - a[2])


@compiled
def add_point(new, points, triangles, count, within):
    """Split triangle `within` at point `new` and flip edges until all are Delaunay; the count."""
    a, b, c = triangles[within, 0], triangles[within, 1], triangles[within, 2]
    triangles[within, 2] = new
    triangles[count, 0], triangles[count, 1], triangles[count, 2] = b, c, new
    triangles[count + 1, 0], triangles[count + 1, 1], triangles[count + 1, 2] = c, a, new
    count += 2
    for _ in range(4 * count):
        if not _flip_one(points, triangles[:count]):
            break
    return count


@compiled
def _flip_one(points, triangles):
    """Flip the first edge between two triangles that are not Delaunay; whether there was one."""
    for one in range(len(triangles)):
        for i in range(3):
            a, b, c = triangles[one, i], triangles[one, (i + 1) % 3], triangles[one, (i + 2) % 3]
            for other in range(len(triangles)):
                for j in range(3):
                    if triangles[other, j] != b or triangles[other, (j + 1) % 3] != a:
                        continue
                    d = triangles[other, (j + 2) % 3]
                    if not _in_circle(points[a], points[b], points[c], points[d]):
                        continue
                    one_side = _turned(points[c], points[d], points[a])
                    other_side = _turned(points[c], points[d], points[b])
                    if one_side * other_side >= 0:
                        continue  # not convex: the edge has to stay
                    triangles[one, 0], triangles[one, 1], triangles[one, 2] = c, a, d
                    triangles[other, 0], triangles[other, 1], triangles[other, 2] = d, b, c
                    return True
    return False


@compiled
def inside_by(polygon, size, p):
    """Squared distance from p to the polygon's border seen from above; negative outside."""
    inside = False
    least = np.float32(np.inf)
    for i in range(size):
        a, b = polygon[i - 1] if i else polygon[size - 1], polygon[i]
        if (b[2] > p[2]) != (a[2] > p[2]) and p[0] < (a[0] - b[0]) * (p[2] - b[2]) / (
            a[2] - b[2]
        ) + b[0]:
            inside = not inside
        least = min(least, off_line(p, a, b, 2))
    return least if inside else -least
