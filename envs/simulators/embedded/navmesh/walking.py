"""Questions about points and steps on a navigation mesh (Detour's, as habitat-sim asks them).

All points are float32 metres; rounding decides on walls, so nothing here is done in double.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled

REACH = np.array([2.0, 4.0, 2.0], dtype=np.float32)
"""Metres along x, y, z within which a point finds the floor (habitat-sim)."""
MOST_KNOWN = 64
"""Polygons that one step can look at, and that can wait for it (Detour); enough for metres."""
MOST_WAITING = 48
HALF = np.float32(0.5)
SLACK = np.float32(0.001)
NUDGE = np.float32(1e-4)
FAR = np.float32(3.4e38)
FAR_ABOVE = np.float32(1e6)


class NavMesh(NamedTuple):
    """P convex polygons clockwise seen from above, their heights, and where to find them."""

    points: np.ndarray  # float32 [V + D, 3], corners of polygons, then extra points of heights
    polygon: np.ndarray  # int32 [P, 6], rows of `points`, -1 behind the last
    size: np.ndarray  # int32 [P], corners of each
    beside: np.ndarray  # int32 [P, 6], the polygon across each edge, -1 at a wall
    triangle: np.ndarray  # int32 [T, 3], rows of `points`
    rim: np.ndarray  # bool [T, 3], whether edge k to k + 1 is on the polygon's border
    start: np.ndarray  # int32 [P + 1], first triangle of each polygon
    island: np.ndarray  # int32 [P], connected floors, numbered from 0
    usable: np.ndarray  # bool [P], whether it has any area
    is_roof: np.ndarray  # bool [islands]
    bounds: np.ndarray  # int32 [P, 6], lowest and highest x, y, z in cells
    rank: np.ndarray  # int32 [P], of polygons equally near the one of lowest rank is taken
    low: np.ndarray  # float32 [3], metres
    high: np.ndarray  # float32 [3], metres
    cell: np.ndarray  # float32 [1], metres
    climb: np.ndarray  # float32 [1], metres
    buckets: np.ndarray  # int32 [2], squares of floor along x and z
    bucket: np.ndarray  # float32 [1], side of a square, metres
    bucket_start: np.ndarray  # int32 [squares + 1]
    bucket_polygon: np.ndarray  # int32 [N], the polygons that reach into each square


@compiled
def _inside(mesh, polygon, x, z):
    """Whether (x, z) is in the polygon seen from above; of two edges on each other, one counts."""
    inside = False
    size = mesh.size[polygon]
    before = mesh.polygon[polygon, size - 1]
    for i in range(size):
        here = mesh.polygon[polygon, i]
        ax, az = mesh.points[before, 0], mesh.points[before, 2]
        bx, bz = mesh.points[here, 0], mesh.points[here, 2]
        if (bz > z) != (az > z) and x < (ax - bx) * (z - bz) / (az - bz) + bx:
            inside = not inside
        before = here
    return inside


@compiled
def _along(a, b, x, z):
    """Squared distance of (x, z) from the segment a-b seen from above, and the share along it."""
    along_x, along_z = b[0] - a[0], b[2] - a[2]
    dx, dz = x - a[0], z - a[2]
    length = along_x * along_x + along_z * along_z
    share = along_x * dx + along_z * dz
    if length > 0:
        share /= length
    share = min(max(share, np.float32(0)), np.float32(1))
    dx = a[0] + share * along_x - x
    dz = a[2] + share * along_z - z
    return dx * dx + dz * dz, share


@compiled
def _crossing(a, b, c, d):
    """The share along a-b at which it meets c-d, both as segments seen from above; -1: nowhere."""
    ux, uz, vx, vz = b[0] - a[0], b[2] - a[2], d[0] - c[0], d[2] - c[2]
    wx, wz = a[0] - c[0], a[2] - c[2]
    area = ux * vz - uz * vx
    if abs(area) < np.float32(1e-6):
        return np.float32(-1)
    s = (vx * wz - vz * wx) / area
    t = (ux * wz - uz * wx) / area
    if s < 0 or s > 1 or t < 0 or t > 1:
        return np.float32(-1)
    return s


@compiled
def _height(mesh, polygon, x, z):
    """Whether (x, z) is over the polygon, and the floor's height there."""
    if not _inside(mesh, polygon, x, z):
        return False, np.float32(0)
    for t in range(mesh.start[polygon], mesh.start[polygon + 1]):
        a = mesh.points[mesh.triangle[t, 0]]
        b = mesh.points[mesh.triangle[t, 1]]
        c = mesh.points[mesh.triangle[t, 2]]
        ux, uz, vx, vz = c[0] - a[0], c[2] - a[2], b[0] - a[0], b[2] - a[2]
        wx, wz = x - a[0], z - a[2]
        area = ux * vz - uz * vx
        if abs(area) < np.float32(1e-6):
            continue
        u = vz * wx - vx * wz
        v = ux * wz - uz * wx
        if area < 0:
            area, u, v = -area, -u, -v
        if u >= 0 and v >= 0 and u + v <= area:
            return True, a[1] + ((c[1] - a[1]) * u + (b[1] - a[1]) * v) / area
    # On an edge between triangles: the nearest one.
    return True, _on_edges(mesh, polygon, x, z, False)[1]


@compiled
def _on_edges(mesh, polygon, x, z, rim_only):
    """The nearest point (x, y, z) of the triangles' edges, seen from above."""
    least = FAR
    best_x = best_y = best_z = np.float32(0)
    for t in range(mesh.start[polygon], mesh.start[polygon + 1]):
        for k in range(3):
            if rim_only and not mesh.rim[t, k]:
                continue
            a = mesh.points[mesh.triangle[t, k]]
            b = mesh.points[mesh.triangle[t, (k + 1) % 3]]
            off, share = _along(a, b, x, z)
            if off < least:
                least = off
                best_x = a[0] + (b[0] - a[0]) * share
                best_y = a[1] + (b[1] - a[1]) * share
                best_z = a[2] + (b[2] - a[2]) * share
    return best_x, best_y, best_z


@compiled
def _nearest(mesh, point, found):
    """The polygon nearest to `point` (-1: none within reach); its nearest point into `found`.

    Straight below or above counts as nearest, up to a step's height.
    """
    x, y, z = point[0], point[1], point[2]
    found[:] = np.nan
    if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)) or len(mesh.size) == 0:
        return -1
    per_cell = np.float32(1) / mesh.cell[0]
    box = np.empty(6, np.int64)
    for k in range(3):
        # Polygons' boxes may reach above the scene's, by the lift of their points.
        top = mesh.high[k] if k != 1 else FAR_ABOVE
        low = min(max(point[k] - REACH[k], mesh.low[k]), top) - mesh.low[k]
        high = min(max(point[k] + REACH[k], mesh.low[k]), top) - mesh.low[k]
        box[k] = int(per_cell * low) & ~1
        box[3 + k] = int(per_cell * high + np.float32(1)) | 1
    side = mesh.bucket[0]
    across, along = mesh.buckets[0], mesh.buckets[1]
    own_x = min(max(int((x - mesh.low[0]) / side), 0), across - 1)
    own_z = min(max(int((z - mesh.low[2]) / side), 0), along - 1)
    least = FAR
    best = -1
    climb = mesh.climb[0]
    for ring in range(max(across, along) + 1):
        x0, x1, z0, z1 = own_x - ring, own_x + ring, own_z - ring, own_z + ring
        for bz in range(max(z0, 0), min(z1, along - 1) + 1):
            for bx in range(max(x0, 0), min(x1, across - 1) + 1):
                if ring and bx != x0 and bx != x1 and bz != z0 and bz != z1:
                    continue
                square = bx + bz * across
                for entry in range(mesh.bucket_start[square], mesh.bucket_start[square + 1]):
                    polygon = mesh.bucket_polygon[entry]
                    apart = not mesh.usable[polygon]
                    for k in range(3):
                        apart = apart or mesh.bounds[polygon, k] > box[3 + k]
                        apart = apart or mesh.bounds[polygon, 3 + k] < box[k]
                    if apart:
                        continue
                    px, pz = x, z
                    over, py = _height(mesh, polygon, x, z)
                    if over:
                        off = abs(y - py) - climb
                        off = off * off if off > 0 else np.float32(0)
                    else:
                        px, py, pz = _on_edges(mesh, polygon, x, z, True)
                        dx, dy, dz = x - px, y - py, z - pz
                        off = dx * dx + dy * dy + dz * dz
                    if off < least or (
                        off == least and best >= 0 and mesh.rank[polygon] < mesh.rank[best]
                    ):
                        least = off
                        best = polygon
                        found[0], found[1], found[2] = px, py, pz
        # Whatever was not seen yet lies beyond the squares seen so far.
        beyond = FAR
        if x0 > 0:
            beyond = min(beyond, x - (mesh.low[0] + np.float32(x0) * side))
        if z0 > 0:
            beyond = min(beyond, z - (mesh.low[2] + np.float32(z0) * side))
        if x1 < across - 1:
            beyond = min(beyond, mesh.low[0] + np.float32(x1 + 1) * side - x)
        if z1 < along - 1:
            beyond = min(beyond, mesh.low[2] + np.float32(z1 + 1) * side - z)
        if beyond > 0 and (beyond * beyond > least or beyond > REACH[0] + 2 * mesh.cell[0]):
            break
    return best


@compiled
def _slide(mesh, polygon, start, end, sliding, reached, passed):
    """Go from `start` on `polygon` towards `end` over connected polygons, along walls if `sliding`.

    Writes the end of the way into `reached` (its height is not the floor's), the polygons that
    lead there into `passed` from the last to the first, and returns how many they are; 0 if there
    was no way at all.
    """
    known = np.empty(MOST_KNOWN, np.int64)
    parent = np.full(MOST_KNOWN, -1, np.int64)  # places in `known`
    own = np.empty(MOST_KNOWN, np.int64)  # the place of each that waits
    own[0] = 0
    queued_already = np.empty(MOST_KNOWN, np.bool_)
    waiting = np.empty(MOST_KNOWN, np.int64)
    known[0] = waiting[0] = polygon
    queued_already[0] = True
    seen = queued = 1
    taken = 0
    best = -1
    least = FAR
    reached[:] = start
    middle_x = start[0] + (end[0] - start[0]) * HALF
    middle_z = start[2] + (end[2] - start[2]) * HALF
    dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    radius = np.sqrt(dx * dx + dy * dy + dz * dz) / np.float32(2) + SLACK
    while taken < queued:
        here = waiting[taken]
        own_place = own[taken]
        taken += 1
        if _inside(mesh, here, end[0], end[2]):
            reached[:] = end
            best = own_place
            break
        size = mesh.size[here]
        edge = size - 1
        for corner in range(size):
            a, b = mesh.points[mesh.polygon[here, edge]], mesh.points[mesh.polygon[here, corner]]
            beyond = mesh.beside[here, edge]
            edge = corner
            if beyond < 0 or not mesh.usable[beyond]:
                if sliding:
                    off, share = _along(a, b, end[0], end[2])
                else:
                    share = _crossing(a, b, start, end)
                    if share < 0:
                        continue
                    px, pz = a[0] + (b[0] - a[0]) * share, a[2] + (b[2] - a[2]) * share
                    off = (px - end[0]) * (px - end[0]) + (pz - end[2]) * (pz - end[2])
                if off < least:
                    least = off
                    best = own_place
                    for k in range(3):
                        reached[k] = a[k] + (b[k] - a[k]) * share
                continue
            place = 0
            while place < seen and known[place] != beyond:
                place += 1
            if place == seen:
                if seen == MOST_KNOWN:
                    continue
                known[seen] = beyond
                queued_already[seen] = False
                seen += 1
            if queued_already[place]:
                continue
            off, share = _along(a, b, middle_x, middle_z)
            if off > radius * radius:
                continue
            if not sliding and _crossing(a, b, start, end) < 0:
                continue
            if queued - taken < MOST_WAITING:
                queued_already[place] = True
                parent[place] = own_place
                own[queued] = place
                waiting[queued] = beyond
                queued += 1
    count = 0
    while best >= 0:
        passed[count] = known[best]
        count += 1
        best = parent[best]
    return count


@compiled
def _stop_at_wall(mesh, passed, count, start, end, reached):
    """Put `reached` where start-end meets a wall of the polygons passed, if it meets one.

    habitat-sim 0.3.4 slides first and looks for walls then, on the polygons of that way alone: an
    agent whose line leaves them meets no wall there, and has slid.
    """
    least = FAR
    for row in range(count - 1, -1, -1):
        here = passed[row]
        size = mesh.size[here]
        for corner in range(size):
            if mesh.beside[here, corner] >= 0:
                continue
            a = mesh.points[mesh.polygon[here, corner]]
            b = mesh.points[mesh.polygon[here, (corner + 1) % size]]
            share = _crossing(a, b, start, end)
            if share < 0:
                continue
            px, pz = a[0] + (b[0] - a[0]) * share, a[2] + (b[2] - a[2]) * share
            off = (px - end[0]) * (px - end[0]) + (pz - end[2]) * (pz - end[2])
            if off < least:
                least = off
                for k in range(3):
                    reached[k] = a[k] + (b[k] - a[k]) * share


@compiled
def _try_step(mesh, start, end, sliding, newer, reached, scratch, passed):
    """habitat-sim's try_step: from `start` towards `end`, into `reached`; it stays if it cannot.

    `newer`: without sliding as 0.3.4 does it (`_stop_at_wall`), else as 0.3.3 did.
    """
    aim = _nearest(mesh, end, scratch)
    polygon = _nearest(mesh, start, scratch)
    if polygon < 0 or aim < 0 or mesh.island[polygon] != mesh.island[aim]:
        reached[:] = start
        return
    count = _slide(mesh, polygon, scratch, end, sliding or newer, reached, passed)
    if count == 0:
        reached[:] = start
        return
    last = passed[0]
    if newer and not sliding:
        _stop_at_wall(mesh, passed, count, scratch, end, reached)
    over, y = _height(mesh, last, reached[0], reached[2])
    if over:
        reached[1] = y
    # On an edge that two islands share, the next step could start on the other one.
    now = _nearest(mesh, reached, scratch)
    if now < 0 or mesh.island[now] != mesh.island[polygon]:
        centre = np.zeros(3, np.float32)
        for corner in range(mesh.size[last]):
            centre += mesh.points[mesh.polygon[last, corner]]
        away = centre / np.float32(mesh.size[last]) - reached
        reached += NUDGE * away / np.sqrt((away * away).sum())


@compiled
def nearest(mesh, points):
    """The nearest polygons int32 [N] (-1: none) and points on them float32 [N, 3] (else NaN)."""
    polygon = np.empty(len(points), np.int32)
    found = np.empty((len(points), 3), np.float32)
    for row in range(len(points)):
        polygon[row] = _nearest(mesh, points[row], found[row])
    return polygon, found


@compiled
def try_steps(mesh, starts, ends, sliding, newer):
    """Where each agent that walks from `starts` towards `ends` arrives, float32 [N, 3]."""
    reached = np.empty((len(starts), 3), np.float32)
    scratch = np.empty(3, np.float32)
    passed = np.empty(MOST_KNOWN, np.int64)
    for row in range(len(starts)):
        _try_step(mesh, starts[row], ends[row], sliding, newer, reached[row], scratch, passed)
    return reached
