"""What lies between two points of a house: rays against walls and furniture, as arrays."""

import numpy as np

from envs.houses.house import CAMERA_HEIGHT, WALL_THICKNESS, House, wall_lines

WALKING_CLEARANCE = 0.18  # metres kept from walls and furniture
_STEP_OVER = 0.1  # lower furniture (rugs) does not hinder walking
_HEAD_ROOM = 1.8  # nor does what hangs higher


def rays_blocked(
    starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Which rays meet which boxes (slab method).

    Args:
        starts, ends: float64 [P, D] end points of the segments, D = 2 or 3, metres.
        low, high: float64 [M, D] corners of the boxes.

    Returns:
        bool [P, M]: the closed segment touches the closed box.
    """
    direction = ends - starts
    # A tiny slope instead of zero keeps 0 * inf out of rays that run along an axis.
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    to_low = (low[None] - starts[:, None]) / direction[:, None]
    to_high = (high[None] - starts[:, None]) / direction[:, None]
    enter = np.minimum(to_low, to_high).max(axis=2)
    leave = np.maximum(to_low, to_high).min(axis=2)
    blocked: np.ndarray = (enter <= leave) & (leave >= 0.0) & (enter <= 1.0)
    return blocked


def wall_boxes(house: House, jamb: float = 0.0, grow: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Corners [M, 3] of the walls as boxes, openings narrowed by `jamb`, thickened by `grow`.

    The lintels above doors are left out: nothing is looked at through them.
    """
    lines = np.array(wall_lines(house.rooms, house.doors, jamb), dtype=np.float64).reshape(-1, 4)
    half = WALL_THICKNESS / 2 + grow
    along_x = (lines[:, 1] == lines[:, 3])[:, None]
    margin = np.where(along_x, [[0.0, half]], [[half, 0.0]])
    floor = np.full((len(lines), 1), house.floor)
    low = np.hstack([lines[:, :2] - margin, floor])
    high = np.hstack([lines[:, 2:] + margin, floor + house.ceiling])
    return low, high


def furniture_boxes(house: House) -> tuple[np.ndarray, np.ndarray]:
    """Corners [M, 3] of the furniture, in the order of `house.furniture`."""
    low = np.array([f.low for f in house.furniture], dtype=np.float64).reshape(-1, 3)
    high = np.array([f.high for f in house.furniture], dtype=np.float64).reshape(-1, 3)
    return low, high


def obstacles(house: House) -> tuple[np.ndarray, np.ndarray]:
    """Corners [M, 2], on the floor, of all that hinders walking, grown by the clearance."""
    wall_low, wall_high = wall_boxes(house, jamb=WALKING_CLEARANCE, grow=WALKING_CLEARANCE)
    low, high = furniture_boxes(house)
    solid = (high[:, 2] - house.floor > _STEP_OVER) & (low[:, 2] - house.floor < _HEAD_ROOM)
    return (
        np.vstack([wall_low[:, :2], low[solid, :2] - WALKING_CLEARANCE]),
        np.vstack([wall_high[:, :2], high[solid, :2] + WALKING_CLEARANCE]),
    )


def walkable(house: House, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """bool [P]: whether one can walk straight from starts [P, 2] to ends [P, 2]."""
    low, high = obstacles(house)
    blocked = np.asarray(rays_blocked(starts, ends, low, high).any(axis=1))
    return ~blocked


def in_sight(house: House, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """bool [P]: whether the camera at starts [P, 3] sees the point ends [P, 3]."""
    wall_low, wall_high = wall_boxes(house)
    low, high = furniture_boxes(house)
    tall = high[:, 2] > house.floor + CAMERA_HEIGHT
    low, high = np.vstack([wall_low, low[tall]]), np.vstack([wall_high, high[tall]])
    blocked = np.asarray(rays_blocked(starts, ends, low, high).any(axis=1))
    return ~blocked


def heading_degrees(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Heading of each ray in [0, 360) degrees, clockwise from +y."""
    delta = ends - starts
    found: np.ndarray = np.degrees(np.arctan2(delta[..., 0], delta[..., 1])) % 360.0
    return found
