"""Bodies that move through a scene: their own depth and colour, their whole mask, and true flow.

A body is one more set of triangles with a pose for each frame. Rays are turned into its frame
instead of the triangles into the world, so that one tree serves every pose, and all frames are one
batch. Scenes and their renderers stay as they are: what is nearer is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.embree import Embree
from envs.simulators.embedded.rays import camera_turn, pixel_rays, pixel_size, world_rays
from envs.simulators.simulator import Camera, Poses


class Alone(NamedTuple):
    """A body rendered alone by N cameras."""

    mask: np.ndarray  # bool [N, H, W], its whole outline
    depth: np.ndarray  # float32 [N, H, W], metres along the axis; 0 where it is not
    colour: np.ndarray  # uint8 [N, H, W, 3]; 0 where it is not


@dataclass(frozen=True)
class Body:
    """Triangles in a frame of their own: +y up, -z ahead, the origin on the floor below it."""

    vertices: np.ndarray  # float32 [V, 3], metres
    faces: np.ndarray  # int32 [F, 3], counter-clockwise seen from outside
    colour: np.ndarray  # uint8 [F, 3]


class MovingBody:
    """One body, ready for rays."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._rays = Embree(np.ascontiguousarray(body.vertices, np.float32), body.faces)

    def render(self, poses: Poses, camera: Camera, bodies: Poses) -> Alone:
        """The body alone at `bodies` [N], seen from `poses` [N]; no light, as in the scene."""
        origins, directions = world_rays(poses, pixel_rays(camera), camera.above_floor)
        count = len(poses.yaw)
        shape = (count, -1, 3)
        # Into the body's frame: moved to its origin, turned back by its yaw.
        turn = yaw_turn(bodies.yaw)  # [N, 3, 3], from the body's frame to the world's
        near = (origins.reshape(shape) - bodies.position[:, None]) @ turn
        ahead = directions.reshape(shape) @ turn
        hits = self._rays.cast(
            np.ascontiguousarray(near.reshape(-1, 3), np.float32),
            np.ascontiguousarray(ahead.reshape(-1, 3), np.float32),
        )
        size = (count, camera.height, camera.width)
        mask = hits.face.reshape(size) >= 0
        depth = np.where(mask, hits.depth.reshape(size), 0).astype(np.float32)
        colour = self.body.colour[np.maximum(hits.face, 0)].reshape(*size, 3)
        return Alone(mask, depth, np.where(mask[..., None], colour, 0).astype(np.uint8))


def yaw_turn(yaw: np.ndarray) -> np.ndarray:
    """Rotations float32 [N, 3, 3] around +y from the frame of something with that yaw to the
    world's."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    found = np.zeros((len(yaw), 3, 3), np.float32)
    found[:, 0, 0], found[:, 0, 2] = cosine, sine
    found[:, 2, 0], found[:, 2, 2] = -sine, cosine
    found[:, 1, 1] = 1
    return found


class Cameras(NamedTuple):
    """Where the cameras of N poses are and how they are turned."""

    rotation: np.ndarray  # float32 [N, 3, 3], from the camera's frame (-z ahead) to the world's
    position: np.ndarray  # float32 [N, 3], metres


def cameras_of(poses: Poses, camera: Camera) -> Cameras:
    """The cameras that agents at `poses` look through."""
    position = np.array(poses.position, np.float32)
    position[:, 1] += camera.above_floor
    return Cameras((yaw_turn(poses.yaw) @ camera_turn(camera)).astype(np.float32), position)


def true_flow(
    depth: np.ndarray, here: Cameras, there: Cameras, camera: Camera,
    moving: np.ndarray | None = None, bodies: tuple[Poses, Poses] | None = None,
) -> np.ndarray:  # fmt: skip
    """Optical flow float32 [N, H, W, 2] (u to the right, v down, pixels) from images with `depth`
    [N, H, W] to those of other cameras; 0 where nothing was hit.

    Args:
        here, there: the cameras of the images, and those that flow leads to.
        moving: bool [N, H, W], pixels that show the body.
        bodies: its poses in the images and in those that flow leads to; the scene stands still.
    """
    height, width = camera.height, camera.width
    size = pixel_size(camera)
    y, x = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    rays = np.stack([x * size, -y * size, -np.ones_like(x)], -1)
    points = rays * depth[..., None].astype(np.float64)
    world = np.einsum("nij,nhwj->nhwi", here.rotation, points) + here.position[:, None, None]
    if moving is not None and bodies is not None:
        before, after = bodies
        step = yaw_turn(after.yaw) @ yaw_turn(before.yaw).transpose(0, 2, 1)
        carried = np.einsum("nij,nhwj->nhwi", step, world - before.position[:, None, None])
        world = np.where(moving[..., None], carried + after.position[:, None, None], world)
    seen = np.einsum("nji,nhwj->nhwi", there.rotation, world - there.position[:, None, None])
    ahead = np.maximum(-seen[..., 2], 1e-3) * size
    flow = np.stack([seen[..., 0] / ahead - x, -seen[..., 1] / ahead - y], -1)
    return np.where(depth[..., None] > 0, flow, 0.0).astype(np.float32)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
    """A box as 12 triangles with corners float32 [12, 3, 3], front faces outside."""
    corners = np.array([[(low, high)[k >> a & 1][a] for a in range(3)] for k in range(8)])
    quads = ((0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6))
    triangles = [corners[[q[0], q[i], q[i + 1]]] for q in quads for i in (1, 2)]
    return np.array(triangles, np.float32)


Corner = tuple[float, float, float]
Colour = tuple[int, int, int]


def body_of_boxes(boxes: list[tuple[Corner, Corner, Colour]]) -> Body:
    """A body of boxes: lower corner, upper corner, colour."""
    corners = np.concatenate([box(low, high) for low, high, _ in boxes])
    colour = np.repeat(np.array([c for *_, c in boxes], np.uint8), 12, 0)
    faces = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    return Body(corners.reshape(-1, 3), faces, colour)


def person(shirt: Colour) -> Body:
    """A standing person of boxes, 1.7 m tall."""
    trousers, skin, hair = (48, 54, 84), (214, 170, 140), (60, 40, 30)
    return body_of_boxes(
        [
            ((-0.18, 0.0, -0.1), (-0.03, 0.8, 0.1), trousers),
            ((0.03, 0.0, -0.1), (0.18, 0.8, 0.1), trousers),
            ((-0.24, 0.8, -0.13), (0.24, 1.4, 0.13), shirt),
            ((-0.34, 0.75, -0.08), (-0.24, 1.38, 0.08), shirt),
            ((0.24, 0.75, -0.08), (0.34, 1.38, 0.08), shirt),
            ((-0.1, 1.42, -0.11), (0.1, 1.6, 0.11), skin),
            ((-0.11, 1.6, -0.12), (0.11, 1.7, 0.12), hair),
        ]
    )


def pet(fur: Colour) -> Body:
    """A dog of boxes, 0.6 m tall."""
    dark = (fur[0] // 2, fur[1] // 2, fur[2] // 2)
    legs = [((x, 0.0, z), (x + 0.07, 0.28, z + 0.07), dark)
            for x in (-0.14, 0.07) for z in (-0.32, 0.25)]  # fmt: skip
    return body_of_boxes(
        [
            *legs,
            ((-0.15, 0.28, -0.35), (0.15, 0.5, 0.35), fur),
            ((-0.1, 0.4, -0.6), (0.1, 0.62, -0.33), fur),
            ((-0.03, 0.45, 0.35), (0.03, 0.52, 0.6), dark),
        ]
    )
