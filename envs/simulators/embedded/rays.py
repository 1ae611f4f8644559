"""From poses to rays: where each pixel of a camera looks. One pass of machine code."""

from __future__ import annotations

import numpy as np

from envs.simulators.embedded.navmesh.compiled import compiled
from envs.simulators.simulator import Camera, Poses

NEAR = 0.01
"""Metres; habitat-sim's camera sees nothing nearer."""
FAR = 1000.0
"""Metres; nor anything farther."""


def pixel_rays(camera: Camera) -> np.ndarray:
    """Rays through the centres of the pixels, row by row, float32 [H * W, 3].

    In the agent's frame (+x right, +y up, -z ahead) under the camera's pitch and roll, one metre
    along the camera's axis: a ray's length is depth.
    """
    size = pixel_size(camera)
    x = (np.arange(camera.width) + 0.5 - camera.width / 2) * size
    y = (camera.height / 2 - 0.5 - np.arange(camera.height)) * size
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -1.0), axis=-1).reshape(-1, 3)
    if camera.pitch or camera.roll:
        rays = rays @ camera_turn(camera).T
    return np.ascontiguousarray(rays, dtype=np.float32)


def camera_turn(camera: Camera) -> np.ndarray:
    """Rotation [3, 3] from the camera's frame to the agent's: pitch around x, roll around z."""
    pitch, roll = np.radians([camera.pitch, camera.roll])
    up = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    around = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    turn: np.ndarray = around @ up
    return turn


def pixel_steps(camera: Camera) -> np.ndarray:
    """What a ray changes by from a pixel to the one at its right and to the one above it, float32
    [2, 3]."""
    turn, size = camera_turn(camera), pixel_size(camera)
    return np.ascontiguousarray(turn[:, :2].T * size, dtype=np.float32)


def pixel_size(camera: Camera) -> float:
    """Metres of a pixel's side at one metre of depth."""
    return float(2 * np.tan(np.radians(camera.field_of_view) / 2) / camera.width)


def world_rays(poses: Poses, pixels: np.ndarray, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Origins (on the near plane) and directions, float32 [N * P, 3], of N cameras."""
    count = len(poses.yaw) * len(pixels)
    origins, directions = np.empty((2, count, 3), dtype=np.float32)
    _world_rays(
        np.ascontiguousarray(poses.position, dtype=np.float32),
        np.ascontiguousarray(poses.yaw, dtype=np.float32),
        pixels,
        np.float32(above),
        origins,
        directions,
    )
    return origins, directions


@compiled
def _world_rays(position, yaw, pixels, above, origins, directions):
    row = 0
    near = np.float32(NEAR)
    for agent in range(len(yaw)):
        cosine = np.float32(np.cos(yaw[agent]))
        sine = np.float32(np.sin(yaw[agent]))
        for pixel in range(len(pixels)):
            x = cosine * pixels[pixel, 0] + sine * pixels[pixel, 2]
            y = pixels[pixel, 1]
            z = cosine * pixels[pixel, 2] - sine * pixels[pixel, 0]
            directions[row, 0] = x
            directions[row, 1] = y
            directions[row, 2] = z
            origins[row, 0] = position[agent, 0] + near * x
            origins[row, 1] = position[agent, 1] + above + near * y
            origins[row, 2] = position[agent, 2] + near * z
            row += 1
