"""What each viewpoint sees, in the 36 views of REVERIE's boxes.

View index = heading bin (0..11, 30 degrees each, clockwise from +y) + 12 * row, rows looking
30 degrees down, level and 30 degrees up. A view is 640 x 480 pixels with a vertical field of view
of 60 degrees; pixel (0, 0) is the upper left corner.
"""

import math
from typing import Any

import numpy as np

from envs.houses.house import House
from envs.houses.sight import furniture_boxes, rays_blocked, wall_boxes

SIGHT = 4.0
"""Objects up to this many metres (to the nearest part, on the floor plan) have boxes."""
WIDTH, HEIGHT, VERTICAL_FIELD = 640, 480, 60.0
FOCAL = HEIGHT / 2 / math.tan(math.radians(VERTICAL_FIELD / 2))
_SHARE = 0.3  # of an object's points must lie in a view for it to count as visible there


def things(house: House) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Everything that can be seen and named: the furniture, then the doors.

    Returns:
        names: as in the box files; doors are called 'door' or 'archway'.
        low, high: float64 [M, 3] corners.
    """
    low, high = furniture_boxes(house)
    frames = []
    for door in house.doors:
        half = [door.width / 2, 0.05] if door.along == 0 else [0.05, door.width / 2]
        x, y = door.centre
        frames.append(
            (
                *(x - half[0], y - half[1], house.floor),
                *(x + half[0], y + half[1], house.floor + door.height),
            )
        )
    doors = np.array(frames, dtype=np.float64).reshape(-1, 6)
    names = tuple(f.name for f in house.furniture) + tuple(d.kind for d in house.doors)
    return names, np.vstack([low, doors[:, :3]]), np.vstack([high, doors[:, 3:]])


def visible_things(house: House) -> tuple[np.ndarray, np.ndarray]:
    """Which things each viewpoint sees, and how far they are.

    Returns:
        seen: bool [n, M], a free line of sight to the thing's middle or top and within `SIGHT`.
        distance: float64 [n, M] metres on the floor plan from the viewpoint to the nearest part.
    """
    _, low, high = things(house)
    eye = house.positions
    gap = np.maximum(np.maximum(low[None] - eye[:, None], eye[:, None] - high[None]), 0.0)
    distance = np.hypot(gap[..., 0], gap[..., 1])
    viewpoint, thing = np.nonzero(distance <= SIGHT)
    wall_low, wall_high = wall_boxes(house)
    box_low, box_high = furniture_boxes(house)
    middle = (low + high) / 2
    top = np.concatenate([middle[:, :2], high[:, 2:] - 0.02], axis=1)
    seen = np.zeros(distance.shape, dtype=bool)
    for target in (middle, top):
        starts, ends = eye[viewpoint], target[thing]
        free = ~rays_blocked(starts, ends, wall_low, wall_high).any(axis=1)
        hit = rays_blocked(starts[free], ends[free], box_low, box_high)
        # A thing does not hide itself, nor does what it stands in or on.
        own = thing[free]
        inside = (box_low[None] <= ends[free][:, None] + 1e-9) & (
            ends[free][:, None] <= box_high[None] + 1e-9
        )
        hit &= ~inside.all(axis=2)
        within = own < len(box_low)
        hit[np.flatnonzero(within), own[within]] = False
        seen[viewpoint[free], own] |= ~hit.any(axis=1)
    return seen, distance


def boxes(house: House) -> tuple[dict[str, dict[str, Any]], ...]:
    """REVERIE's record for each viewpoint: {object id: {name, visible_pos, bbox2d}}.

    bbox2d is [x, y, width, height] in whole pixels, one for each entry of visible_pos.
    """
    names, low, high = things(house)
    seen, _ = visible_things(house)
    viewpoint, thing = np.nonzero(seen)
    pixels, shown = _projections(house.positions[viewpoint], low[thing], high[thing])
    records: tuple[dict[str, dict[str, Any]], ...] = tuple({} for _ in house.viewpoints)
    for row in np.flatnonzero(shown.any(axis=1)).tolist():
        views = np.flatnonzero(shown[row])
        records[int(viewpoint[row])][str(int(thing[row]))] = {
            "name": names[int(thing[row])],
            "visible_pos": views.tolist(),
            "bbox2d": pixels[row, views].tolist(),
        }
    return records


def _projections(
    eye: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel boxes int [P, 36, 4] and bool [P, 36] which views show the box.

    Points spread over the box stand for it: those in front of the camera and inside the picture
    span the rectangle, which is exact enough and stays sound when a box reaches behind the camera.
    """
    steps = np.linspace(0.0, 1.0, 3)
    mix = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    points = low[:, None] + (high - low)[:, None] * mix - eye[:, None]  # [P, 27, 3]
    pixels = np.zeros((len(eye), 36, 4), dtype=np.int64)
    shown = np.zeros((len(eye), 36), dtype=bool)
    for bin_ in range(12):
        heading = math.radians(30.0 * bin_)
        across = points[..., 0] * math.cos(heading) - points[..., 1] * math.sin(heading)
        ahead = points[..., 0] * math.sin(heading) + points[..., 1] * math.cos(heading)
        # The lower corners of a view that looks down reach farthest to the side: 4/3 of ahead.
        rows = np.flatnonzero((np.abs(across) < 1.4 * ahead).any(axis=1))
        right, level, up = across[rows], ahead[rows], points[rows, :, 2]
        for row in range(3):
            view = bin_ + 12 * row
            pixels[rows, view], shown[rows, view] = _in_view(right, level, up, 30.0 * (row - 1))
    return pixels, shown


def _in_view(
    right: np.ndarray, level: np.ndarray, up: np.ndarray, tilt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel boxes int [P, 4] and visibility bool [P] of points [P, 27] in one view.

    Args:
        right, level, up: metres in the frame of the view's heading.
        tilt: degrees by which the camera looks up.
    """
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    forward = level * cos + up * sin
    before = forward > 0.05
    depth = np.where(before, forward, 1.0)
    x = WIDTH / 2 + FOCAL * right / depth
    y = HEIGHT / 2 - FOCAL * (up * cos - level * sin) / depth
    inside = before & (x >= 0) & (x <= WIDTH) & (y >= 0) & (y <= HEIGHT)
    left, right_edge = _span(x, before, WIDTH)
    top, bottom = _span(y, before, HEIGHT)
    box = np.round(np.stack([left, top, right_edge - left, bottom - top], axis=1)).astype(np.int64)
    return box, (inside.mean(axis=1) >= _SHARE) & (box[:, 2:] > 0).all(axis=1)


def _span(values: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest pixel of each row's masked points, cut to the picture."""
    least = np.where(mask, values, size).min(axis=1)
    largest = np.where(mask, values, 0.0).max(axis=1)
    return np.clip(least, 0, size), np.clip(largest, 0, size)
