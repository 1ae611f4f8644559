"""Walks, distances and standing room against recorded ones of habitat-sim.

Part of `python -m benchmarks.parity`. Recordings count their actions 0 `move_forward` (0.25 m),
1 `turn_left`, 2 `turn_right` (15 degrees), and keep rotations as quaternions x, y, z, w.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.parity_views import STRICT, Check
from envs.simulators.simulator import Action, Poses, Simulator


def check_floor(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> list[Check]:
    """Single steps, whole walks, geodesic distances and navigability of one recording."""
    return [
        *check_steps(simulator, recorded),
        check_walks(simulator, recorded),
        *check_geodesics(simulator, recorded),
        check_navigable(simulator, recorded),
        *check_snapped(simulator, recorded),
    ]


def check_steps(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> list[Check]:
    """From each recorded state one action: where it ends and whether it was a collision."""
    position, yaw = recorded["walk_position"], yaws(recorded["walk_rotation_xyzw"])
    poses = Poses(position[:, :-1].reshape(-1, 3), yaw[:, :-1].reshape(-1))
    moved = simulator.step(poses, actions(recorded).reshape(-1))
    off = np.linalg.norm(moved.poses.position - position[:, 1:].reshape(-1, 3), axis=1)
    same = moved.collided == recorded["walk_collided"].reshape(-1)
    return [
        Check("step ends within 1 mm", float((off <= 0.001).mean()), STRICT, True),
        Check("collision flag equal", float(same.mean()), STRICT, True),
    ]


def check_walks(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> Check:
    """The recorded actions one after another, from the first state on."""
    position, action = recorded["walk_position"], actions(recorded)
    poses = Poses(position[:, 0], yaws(recorded["walk_rotation_xyzw"])[:, 0])
    for step in range(action.shape[1]):
        poses = simulator.step(poses, action[:, step]).poses
    off = np.linalg.norm(poses.position - position[:, -1], axis=1)
    return Check("end of whole walks off by (median)", float(np.median(off)), 0.01, False, "m")


def check_geodesics(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> list[Check]:
    """Distances of pairs; a pair without a way must have none here either."""
    distance = recorded["geodesic_distance"]
    found = simulator.geodesic_distance(recorded["geodesic_start"], recorded["geodesic_end"])
    none = np.isinf(distance)
    close = np.isinf(found) == none
    same = float(close.mean())
    close[~none] &= np.abs(found[~none] - distance[~none]) <= 0.01
    return [
        Check("geodesic distance within 1 cm", float(close.mean()), STRICT, True),
        Check("reachability equal", same, 1.0, True),
    ]


def check_navigable(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> Check:
    same = simulator.navigable(recorded["navigable_query"]) == recorded["navigable"]
    return Check("navigability equal", float(same.mean()), STRICT, True)


def check_snapped(simulator: Simulator, recorded: Mapping[str, np.ndarray]) -> list[Check]:
    """Where the queries find the floor, where it was recorded."""
    if "snap" not in recorded:
        return []
    there = recorded["snap"]
    here = simulator.snap(recorded["navigable_query"])
    none = np.isnan(there).any(axis=1)
    close = np.isnan(here).any(axis=1) == none
    close[~none] &= np.linalg.norm(here[~none] - there[~none], axis=1) <= 0.01
    return [Check("snapped point within 1 cm", float(close.mean()), STRICT, True)]


def actions(recorded: Mapping[str, np.ndarray]) -> np.ndarray:
    """The walks' actions as the protocol numbers them, int64 [walks, steps]."""
    return recorded["walk_action"].astype(np.int64) + int(Action.MOVE_FORWARD)


def yaws(rotation: np.ndarray) -> np.ndarray:
    """Yaws float32 [...] of turns about +y alone, quaternions [..., 4] as x, y, z, w."""
    found: np.ndarray = (2 * np.arctan2(rotation[..., 1], rotation[..., 3])).astype(np.float32)
    return found
