"""The floor's height within polygons: triangles with extra points where it is not flat.

(Recast: polygon mesh detail.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled
from envs.simulators.embedded.navmesh.polygons import Polygons
from envs.simulators.embedded.navmesh.triangulation import (
    add_point,
    flat,
    hull_triangles,
    inside_by,
    off_line,
    off_triangles,
)
from envs.simulators.embedded.navmesh.voxels import Field

SAMPLE_CELLS = 6
"""Cells between the places where the height is looked up (habitat-sim's default)."""
SAMPLE_ERROR = 1.0
"""Cell heights that a triangle may be off before it gets another point (habitat-sim's default)."""
SEARCH = 2
"""Cells around a place in which a height is looked for (the outlines' error, rounded up)."""
MOST_POINTS = 127
MOST_ON_EDGE = 32


class Heights(NamedTuple):
    """Triangles of P polygons over the corners of all of them and the extra points behind those."""

    points: np.ndarray  # float32 [V + D, 3], metres
    triangle: np.ndarray  # int32 [T, 3], rows of `points`
    rim: np.ndarray  # bool [T, 3], whether edge k to k + 1 lies on the polygon's border
    start: np.ndarray  # int32 [P + 1], first triangle of each polygon


def find_heights(field: Field, region: np.ndarray, polygons: Polygons) -> Heights:
    """Triangulate every polygon so that it is `SAMPLE_ERROR` off the cells' height at most."""
    grid = field.grid
    scale = np.array([grid.cell, grid.cell_height, grid.cell], dtype=np.float32)
    corners = grid.low + polygons.corners.astype(np.float32) * scale
    extra, triangle, rim, start = _refine(
        polygons.corners,
        polygons.polygon,
        polygons.region,
        field.column,
        field.start,
        field.floor,
        field.link,
        region,
        grid.width,
        grid.depth,
        grid.cell,
        grid.cell_height,
        grid.cell * np.float32(SAMPLE_CELLS),
        grid.cell_height * np.float32(SAMPLE_ERROR),
    )
    # Recast lifts its extra points by one cell, and only those.
    extra += grid.low + np.array([0, grid.cell_height, 0], dtype=np.float32)
    return Heights(np.concatenate([corners, extra]), triangle, rim, start)


@compiled
def _fill_patch(patch, x0, z0, own, corners, outline, column, start, floor, link, region, width):
    """Heights of the floor around a polygon: its region's, then its neighbours' next to that.

    `patch` int32 [depth, width] gets cells, -1 where there is no floor; `x0`, `z0` is its corner.
    """
    patch[:] = -1
    depth, across = patch.shape
    queue = np.empty(patch.size + 1, np.int32)
    waiting = 0
    for z in range(depth):
        for x in range(across):
            cell = x0 + x + (z0 + z) * width
            for piece in range(start[cell], start[cell + 1]):
                if region[piece] == own:
                    patch[z, x] = floor[piece]
                    for way in range(4):
                        other = link[piece, way]
                        if other >= 0 and region[other] != own:
                            queue[waiting] = piece
                            waiting += 1
                            break
                    break
    if patch.max() < 0:
        # An outline that was simplified off its region: start from the nearest floor.
        least = 1 << 30
        for corner in outline:
            x, y, z = corners[corner, 0], corners[corner, 1], corners[corner, 2]
            for nz in range(max(z - 1, z0), min(z + 2, z0 + depth)):
                for nx in range(max(x - 1, x0), min(x + 2, x0 + across)):
                    cell = nx + nz * width
                    for piece in range(start[cell], start[cell + 1]):
                        if abs(floor[piece] - y) < least:
                            least = abs(floor[piece] - y)
                            queue[0] = piece
                            waiting = 1
        for entry in range(waiting):
            cell = column[queue[entry]]
            patch[cell // width - z0, cell % width - x0] = floor[queue[entry]]
    taken = 0
    while taken < waiting:
        piece = queue[taken]
        taken += 1
        for way in range(4):
            other = link[piece, way]
            if other < 0:
                continue
            x, z = column[other] % width - x0, column[other] // width - z0
            if x < 0 or z < 0 or x >= across or z >= depth or patch[z, x] >= 0:
                continue
            patch[z, x] = floor[other]
            queue[waiting] = other
            waiting += 1


@compiled
def _look_up(patch, x0, z0, x, y, z, cell, cell_height):
    """Height in cells at (x, z), or the one nearest to y in the nearest ring; -1: none near."""
    per_cell = np.float32(1) / cell
    depth, across = patch.shape
    ix = min(max(int(np.floor(x * per_cell + np.float32(0.01))) - x0, 0), across - 1)
    iz = min(max(int(np.floor(z * per_cell + np.float32(0.01))) - z0, 0), depth - 1)
    for ring in range(SEARCH + 1):
        best = -1
        off = np.float32(np.inf)
        for nz in range(max(iz - ring, 0), min(iz + ring, depth - 1) + 1):
            for nx in range(max(ix - ring, 0), min(ix + ring, across - 1) + 1):
                height = patch[nz, nx]
                if height < 0 or max(abs(nx - ix), abs(nz - iz)) != ring:
                    continue
                apart = abs(np.float32(height) * cell_height - y)
                if apart < off:
                    off = apart
                    best = height
        if best >= 0:
            return best
    return -1


@compiled
def _refine(
    corners,
    polygon,
    polygon_region,
    column,
    start,
    floor,
    link,
    region,
    width,
    depth,
    cell,
    cell_height,
    spacing,
    error,
):
    """Extra points [D, 3] (metres above the grid's corner), triangles, rims and starts."""
    count = len(polygon)
    first = np.zeros(count + 1, np.int32)
    extra = np.empty((1024, 3), np.float32)
    triangle = np.empty((4096, 3), np.int32)
    rim = np.empty((4096, 3), np.bool_)
    extras = used = 0
    points = np.empty((MOST_POINTS + MOST_ON_EDGE + 1, 3), np.float32)
    edge = np.empty((MOST_ON_EDGE + 1, 3), np.float32)
    kept = np.empty(MOST_ON_EDGE + 1, np.int64)
    hull = np.empty(MOST_POINTS + MOST_ON_EDGE + 1, np.int32)
    triangles = np.empty((3 * MOST_POINTS, 3), np.int32)
    p = np.empty(3, np.float32)
    for number in range(count):
        own = polygon_region[number]
        size = 0
        while size < polygon.shape[1] and polygon[number, size] >= 0:
            corner = corners[polygon[number, size]]
            points[size, 0] = np.float32(corner[0]) * cell
            points[size, 1] = np.float32(corner[1]) * cell_height
            points[size, 2] = np.float32(corner[2]) * cell
            size += 1
        outline = points[:size].copy()
        own_corners = polygon[number, :size]
        x0, x1, z0, z1 = width, 0, depth, 0
        for corner in own_corners:
            x0, x1 = min(x0, corners[corner, 0]), max(x1, corners[corner, 0])
            z0, z1 = min(z0, corners[corner, 2]), max(z1, corners[corner, 2])
        x0, x1, z0, z1 = max(x0 - 1, 0), min(x1 + 1, width), max(z0 - 1, 0), min(z1 + 1, depth)
        patch = np.empty((z1 - z0, x1 - x0), np.int32)
        _fill_patch(
            patch, x0, z0, own, corners, own_corners, column, start, floor, link, region, width
        )
        total = size
        on_hull = 0
        for i in range(size):
            j = i - 1 if i else size - 1
            a, b = outline[j], outline[i]
            # The same way along an edge from both sides, or there would be seams.
            straight = abs(a[0] - b[0]) < np.float32(1e-6)
            swapped = a[2] > b[2] if straight else a[0] > b[0]
            if swapped:
                a, b = b, a
            steps = 1 + int(np.floor(flat(a, b) / spacing))
            steps = min(steps, MOST_ON_EDGE - 1, MOST_POINTS - 1 - total)
            for k in range(steps + 1):
                share = np.float32(k) / np.float32(max(steps, 1))
                for axis in range(3):
                    edge[k, axis] = a[axis] + (b[axis] - a[axis]) * share
                height = _look_up(
                    patch, x0, z0, edge[k, 0], edge[k, 1], edge[k, 2], cell, cell_height
                )
                if height >= 0:
                    edge[k, 1] = np.float32(height) * cell_height
            kept[0], kept[1] = 0, steps
            keeping = 2
            k = 0
            while k < keeping - 1:
                farthest = -1
                most = np.float32(0)
                for m in range(kept[k] + 1, kept[k + 1]):
                    off = off_line(edge[m], edge[kept[k]], edge[kept[k + 1]], 3)
                    if off > most:
                        most = off
                        farthest = m
                if farthest >= 0 and most > error * error:
                    for m in range(keeping, k + 1, -1):
                        kept[m] = kept[m - 1]
                    kept[k + 1] = farthest
                    keeping += 1
                else:
                    k += 1
            hull[on_hull] = j
            on_hull += 1
            for k in range(1, keeping - 1):
                points[total] = edge[kept[keeping - 1 - k] if swapped else kept[k]]
                hull[on_hull] = total
                on_hull += 1
                total += 1
        made = hull_triangles(points, hull[:on_hull], size, triangles)
        widest = np.float32(np.inf)
        for i in range(size):
            far = np.float32(0)
            for j in range(size):
                if j != i and j != (i + 1) % size:
                    far = max(far, off_line(outline[j], outline[i], outline[(i + 1) % size], 2))
            widest = min(widest, far)
        if np.sqrt(widest) >= spacing * 2:
            low_x, high_x = outline[:, 0].min(), outline[:, 0].max()
            low_z, high_z = outline[:, 2].min(), outline[:, 2].max()
            middle = (outline[:, 1].max() + outline[:, 1].min()) * np.float32(0.5)
            ix0, ix1 = int(np.floor(low_x / spacing)), int(np.ceil(high_x / spacing))
            iz0, iz1 = int(np.floor(low_z / spacing)), int(np.ceil(high_z / spacing))
            samples = np.empty((max((ix1 - ix0) * (iz1 - iz0), 0), 3), np.float32)
            sampled = 0
            for iz in range(iz0, iz1):
                for ix in range(ix0, ix1):
                    p[0], p[1], p[2] = np.float32(ix) * spacing, middle, np.float32(iz) * spacing
                    # As in Recast, a squared distance against one that is not squared.
                    if inside_by(outline, size, p) < spacing / 2:
                        continue
                    height = _look_up(patch, x0, z0, p[0], p[1], p[2], cell, cell_height)
                    # A little off the grid: four points on a circle have no one triangulation.
                    shake = np.float32(0.1) * cell
                    jitter_x = np.float32((sampled * 0x8DA6B343) & 0xFFFF) / np.float32(65535)
                    jitter_z = np.float32((sampled * 0xD8163841) & 0xFFFF) / np.float32(65535)
                    samples[sampled, 0] = p[0] + (jitter_x * 2 - 1) * shake
                    samples[sampled, 1] = np.float32(height) * cell_height
                    samples[sampled, 2] = p[2] + (jitter_z * 2 - 1) * shake
                    if height < 0:
                        samples[sampled, 1] = np.nan
                    sampled += 1
            for _ in range(sampled):
                if total >= MOST_POINTS:
                    break
                worst = -1
                most = np.float32(0)
                within = -1
                for s in range(sampled):
                    off, above = off_triangles(samples[s], points, triangles[:made])
                    if off > most:
                        worst, most, within = s, off, above
                if worst < 0 or most <= error:
                    break
                points[total] = samples[worst]
                samples[worst, 1] = np.nan
                made = add_point(total, points, triangles, made, within)
                total += 1
        while extras + total - size > len(extra):
            more = np.empty((2 * len(extra), 3), np.float32)
            more[:extras] = extra[:extras]
            extra = more
        while used + made > len(triangle):
            more_triangles = np.empty((2 * len(triangle), 3), np.int32)
            more_triangles[:used] = triangle[:used]
            triangle = more_triangles
            more_rim = np.empty((2 * len(rim), 3), np.bool_)
            more_rim[:used] = rim[:used]
            rim = more_rim
        for t in range(made):
            for k in range(3):
                a, b = points[triangles[t, k]], points[triangles[t, (k + 1) % 3]]
                rim[used, k] = False
                for i in range(size):
                    c, d = outline[i], outline[(i + 1) % size]
                    if off_line(a, c, d, 2) < np.float32(1e-6) and off_line(
                        b, c, d, 2
                    ) < np.float32(1e-6):
                        rim[used, k] = True
                point = triangles[t, k]
                if point < size:
                    triangle[used, k] = polygon[number, point]
                else:
                    triangle[used, k] = len(corners) + extras + point - size
            used += 1
        extra[extras : extras + total - size] = points[size:total]
        extras += total - size
        first[number + 1] = used
    return extra[:extras].copy(), triangle[:used].copy(), rim[:used].copy(), first
