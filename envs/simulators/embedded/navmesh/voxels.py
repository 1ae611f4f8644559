"""From triangles to floor cells (Recast: rasterisation, filters, compact heightfield)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled
from envs.simulators.simulator import Body, Rules

OPEN_SKY = 0xFFFF
"""Height in cells of what has nothing above it."""
STEP_X = np.array([-1, 0, 1, 0], dtype=np.int64)
STEP_Z = np.array([0, 1, 0, -1], dtype=np.int64)
"""The four neighbours of a cell, in the order of `Field.link`."""


class Grid(NamedTuple):
    """The columns of cells over a scene; column = x + z * width."""

    low: np.ndarray  # float32 [3], the mesh's lowest corner, metres
    width: int  # cells along x
    depth: int  # cells along z
    cell: np.float32  # metres
    cell_height: np.float32  # metres


class Reach(NamedTuple):
    """A body in cells."""

    height: int
    climb: int
    radius: int


class Field(NamedTuple):
    """S pieces of floor one cell wide, sorted by column, then from the bottom up."""

    grid: Grid
    column: np.ndarray  # int32 [S]
    start: np.ndarray  # int32 [columns + 1], first piece of each column
    floor: np.ndarray  # int32 [S], height in cells above `grid.low`
    link: np.ndarray  # int32 [S, 4], the piece one can step to in each direction, -1 where none
    covered: np.ndarray  # bool [S], whether anything is above
    walkable: np.ndarray  # bool [S]; changed by erosion


def grid_of(vertices: np.ndarray, body: Body) -> Grid:
    """The grid over the bounds of `vertices` (float32 [V, 3])."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    cell = np.float32(body.cell)
    width, depth = (int((high[axis] - low[axis]) / cell + np.float32(0.5)) for axis in (0, 2))
    return Grid(low, max(width, 1), max(depth, 1), cell, np.float32(body.cell_height))


def reach_of(body: Body) -> Reach:
    """Headroom and radius rounded up to whole cells, the climb down."""
    cell, height = np.float32(body.cell), np.float32(body.cell_height)
    return Reach(
        height=int(np.ceil(np.float32(body.height) / height)),
        climb=int(np.floor(np.float32(body.climb) / height)),
        radius=int(np.ceil(np.float32(body.radius) / cell)),
    )


def flat_enough(vertices: np.ndarray, faces: np.ndarray, slope: float) -> np.ndarray:
    """Whether each face looks up and is no steeper than `slope` degrees, bool [F]."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    length = np.sqrt((normal * normal).sum(axis=1, dtype=np.float32))
    steepest = np.float32(np.cos(np.float32(slope) / np.float32(180.0) * np.float32(np.pi)))
    with np.errstate(divide="ignore", invalid="ignore"):  # a face without area has no slope
        found: np.ndarray = (normal[:, 1] / length) > steepest
        return found


def find_field(
    vertices: np.ndarray, faces: np.ndarray, body: Body, rules: Rules = "0.3.4"
) -> Field:
    """The floor on which `body` has headroom and no drop at its feet.

    Args:
        vertices: float32 [V, 3], metres, +y up.
        faces: int32 [F, 3], counter-clockwise seen from the side one can stand on.
        body: who walks there.
        rules: "0.3.4" (Recast 1.6.0) keeps floor under exactly the body's headroom, and takes no
            face that lies on the upper x border of the grid; "0.3.3" (Recast of 2021) the contrary.
    """
    newer = rules != "0.3.3"
    grid, reach = grid_of(vertices, body), reach_of(body)
    start, bottom, top, walkable = _rasterise(
        vertices,
        faces,
        flat_enough(vertices, faces, body.slope),
        grid.low,
        np.float32(vertices[:, 1].max() - grid.low[1]),
        grid.width,
        grid.depth,
        grid.cell,
        np.float32(1) / grid.cell,
        np.float32(1) / grid.cell_height,
        reach.climb,
        newer,
    )
    _keep_low_obstacles(start, top, walkable, reach.climb)
    _drop_ledges(start, bottom, top, walkable, grid.width, grid.depth, reach.height, reach.climb)
    _drop_low_ceilings(start, bottom, top, walkable, reach.height if newer else reach.height + 1)
    column, first, floor, covered, link = _link(
        start, bottom, top, walkable, grid.width, grid.depth, reach.height, reach.climb
    )
    return Field(grid, column, first, floor, link, covered, np.ones(len(column), dtype=bool))


@compiled
def _divide(source, count, kept, rest, offset, axis):
    """Cut a convex polygon at `offset` along `axis`; sizes of the part below and of the rest."""
    below = above = 0
    before = count - 1
    for now in range(count):
        d_before = offset - source[before, axis]
        d_now = offset - source[now, axis]
        if (d_before >= 0) != (d_now >= 0):
            share = d_before / (d_before - d_now)
            for k in range(3):
                value = source[before, k] + (source[now, k] - source[before, k]) * share
                kept[below, k] = value
                rest[above, k] = value
            below += 1
            above += 1
            if d_now > 0:
                kept[below] = source[now]
                below += 1
            elif d_now < 0:
                rest[above] = source[now]
                above += 1
        else:
            if d_now >= 0:
                kept[below] = source[now]
                below += 1
            if d_now <= 0:
                rest[above] = source[now]
                above += 1
        before = now
    return below, above


@compiled
def _rasterise(
    vertices, faces, flat, low, tall, width, depth, cell, per_cell, per_height, climb, newer
):
    """Solid spans of every column, sorted upwards.

    Returns `start` int32 [columns + 1], `bottom` and `top` int32 in cells, `walkable` bool.
    """
    highest = (1 << 13) - 1
    columns = width * depth
    first = np.full(columns, -1, np.int32)
    capacity = max(1024, 2 * columns)
    bottom = np.empty(capacity, np.int32)
    top = np.empty(capacity, np.int32)
    walkable = np.empty(capacity, np.bool_)
    after = np.empty(capacity, np.int32)
    used = 0
    free = -1
    polygons = np.empty((4, 12, 3), np.float32)
    for face in range(len(faces)):
        whole, row, piece, spare = polygons[0], polygons[1], polygons[2], polygons[3]
        for corner in range(3):
            whole[corner] = vertices[faces[face, corner]]
        z_low = min(whole[0, 2], whole[1, 2], whole[2, 2])
        z_high = max(whole[0, 2], whole[1, 2], whole[2, 2])
        z0 = min(max(int((z_low - low[2]) * per_cell), 0), depth - 1)
        z1 = min(max(int((z_high - low[2]) * per_cell), 0), depth - 1)
        left_over = 3
        for z in range(z0, z1 + 1):
            edge = low[2] + np.float32(z) * cell + cell
            in_row, left_over = _divide(whole, left_over, row, piece, edge, 2)
            whole, piece = piece, whole
            if in_row < 3:
                continue
            x_low = x_high = row[0, 0]
            for corner in range(1, in_row):
                x_low = min(x_low, row[corner, 0])
                x_high = max(x_high, row[corner, 0])
            x0 = int((x_low - low[0]) * per_cell)
            if newer and x0 >= width:
                continue
            x0 = min(max(x0, 0), width - 1)
            x1 = min(max(int((x_high - low[0]) * per_cell), 0), width - 1)
            for x in range(x0, x1 + 1):
                edge = low[0] + np.float32(x) * cell + cell
                inside, in_row = _divide(row, in_row, piece, spare, edge, 0)
                row, spare = spare, row
                if inside < 3:
                    continue
                y_low = y_high = piece[0, 1]
                for corner in range(1, inside):
                    y_low = min(y_low, piece[corner, 1])
                    y_high = max(y_high, piece[corner, 1])
                y_low -= low[1]
                y_high -= low[1]
                if y_high < 0 or y_low > tall:
                    continue
                y_low = max(y_low, np.float32(0))
                y_high = min(y_high, tall)
                new_bottom = min(max(int(np.floor(y_low * per_height)), 0), highest)
                new_top = int(np.ceil(y_high * per_height))
                new_top = min(max(new_top, new_bottom + 1), highest)
                area = flat[face]
                # Swallow the spans of this column that the new one touches.
                column = x + z * width
                previous = -1
                current = first[column]
                while current >= 0:
                    if bottom[current] > new_top:
                        break
                    following = after[current]
                    if top[current] < new_bottom:
                        previous = current
                    else:
                        new_bottom = min(new_bottom, bottom[current])
                        new_top = max(new_top, top[current])
                        if abs(new_top - top[current]) <= climb:
                            area = area or walkable[current]
                        if previous >= 0:
                            after[previous] = following
                        else:
                            first[column] = following
                        after[current] = free
                        free = current
                    current = following
                if free >= 0:
                    span = free
                    free = after[free]
                else:
                    if used == capacity:
                        capacity *= 2
                        bottom = _grown(bottom, capacity)
                        top = _grown(top, capacity)
                        walkable = _grown(walkable, capacity)
                        after = _grown(after, capacity)
                    span = used
                    used += 1
                bottom[span] = new_bottom
                top[span] = new_top
                walkable[span] = area
                if previous >= 0:
                    after[span] = after[previous]
                    after[previous] = span
                else:
                    after[span] = first[column]
                    first[column] = span
    start = np.empty(columns + 1, np.int32)
    order = np.empty(used, np.int32)
    count = 0
    for column in range(columns):
        start[column] = count
        span = first[column]
        while span >= 0:
            order[count] = span
            count += 1
            span = after[span]
    start[columns] = count
    order = order[:count]
    return start, bottom[order], top[order], walkable[order]


@compiled
def _grown(values, capacity):
    grown = np.empty(capacity, values.dtype)
    grown[: len(values)] = values
    return grown


@compiled
def _keep_low_obstacles(start, top, walkable, climb):
    """What stands no higher than a step above walkable floor is walkable itself (kerbs, stairs)."""
    for column in range(len(start) - 1):
        below_walkable = below_area = False
        for span in range(start[column], start[column + 1]):
            was = walkable[span]
            if not was and below_walkable and top[span] - top[span - 1] <= climb:
                walkable[span] = below_area
            below_walkable = was
            below_area = walkable[span]


@compiled
def _drop_ledges(start, bottom, top, walkable, width, depth, height, climb):
    """No floor beside a drop deeper than a step, nor across a slope of more than a step."""
    for column in range(width * depth):
        x, z = column % width, column // width
        for span in range(start[column], start[column + 1]):
            if not walkable[span]:
                continue
            floor = top[span]
            ceiling = bottom[span + 1] if span + 1 < start[column + 1] else OPEN_SKY
            drop = OPEN_SKY
            lowest = highest = floor
            for way in range(4):
                nx, nz = x + STEP_X[way], z + STEP_Z[way]
                if nx < 0 or nz < 0 or nx >= width or nz >= depth:
                    drop = min(drop, -climb - floor)
                    continue
                beside = nx + nz * width
                first, last = start[beside], start[beside + 1]
                # Under the first span there is the void.
                other_floor = -climb
                other_ceiling = bottom[first] if first < last else OPEN_SKY
                if min(ceiling, other_ceiling) - max(floor, other_floor) > height:
                    drop = min(drop, other_floor - floor)
                for other in range(first, last):
                    other_floor = top[other]
                    other_ceiling = bottom[other + 1] if other + 1 < last else OPEN_SKY
                    if min(ceiling, other_ceiling) - max(floor, other_floor) > height:
                        drop = min(drop, other_floor - floor)
                        if abs(other_floor - floor) <= climb:
                            lowest = min(lowest, other_floor)
                            highest = max(highest, other_floor)
            if drop < -climb or highest - lowest > climb:
                walkable[span] = False


@compiled
def _drop_low_ceilings(start, bottom, top, walkable, least):
    """No floor with fewer than `least` cells above it."""
    for column in range(len(start) - 1):
        for span in range(start[column], start[column + 1] - 1):
            if bottom[span + 1] - top[span] < least:
                walkable[span] = False


@compiled
def _link(start, bottom, top, walkable, width, depth, height, climb):
    """The walkable spans alone, as (column, start, floor, covered, link) of a `Field`."""
    columns = width * depth
    count = 0
    for span in range(len(top)):
        count += walkable[span]
    column_of = np.empty(count, np.int32)
    floor = np.empty(count, np.int32)
    room = np.empty(count, np.int32)
    covered = np.empty(count, np.bool_)
    first = np.empty(columns + 1, np.int32)
    count = 0
    for column in range(columns):
        first[column] = count
        for span in range(start[column], start[column + 1]):
            if walkable[span]:
                ceiling = bottom[span + 1] if span + 1 < start[column + 1] else OPEN_SKY
                covered[count] = ceiling < OPEN_SKY
                column_of[count] = column
                floor[count] = top[span]
                room[count] = min(max(ceiling - top[span], 0), 255)
                count += 1
    first[columns] = count
    link = np.full((count, 4), -1, np.int32)
    for piece in range(count):
        x, z = column_of[piece] % width, column_of[piece] // width
        for way in range(4):
            nx, nz = x + STEP_X[way], z + STEP_Z[way]
            if nx < 0 or nz < 0 or nx >= width or nz >= depth:
                continue
            beside = nx + nz * width
            for other in range(first[beside], first[beside + 1]):
                low = max(floor[piece], floor[other])
                high = min(floor[piece] + room[piece], floor[other] + room[other])
                if high - low >= height and abs(floor[other] - floor[piece]) <= climb:
                    link[piece, way] = other
                    break
    return column_of, first, floor, covered, link
