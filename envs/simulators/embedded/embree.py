"""Rays against triangles on the processor, with Embree (through `embreex`)."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from envs.simulators.embedded.coincident import SAME_PLANE, opposite_sides
from envs.simulators.embedded.rays import FAR, NEAR, pixel_rays, world_rays
from envs.simulators.embedded.shading import (
    Hits,
    TensorViews,
    colour_image,
    depth_image,
    from_behind,
    id_image,
    packed_faces,
    packed_image,
    painted_id_image,
)
from envs.simulators.embedded.stored import Model
from envs.simulators.simulator import Camera, Poses, Views

RAYS_AT_ONCE = 1 << 16
"""Rays of a call to Embree: few enough that what it answers stays in the processor's caches."""

STEP = np.float32(1e-6)
"""Share of a depth (and of a metre) behind a back face from which a ray goes on."""
MOST_BACK_FACES = 64
"""A ray that has passed so many sees nothing."""


class Opposite(NamedTuple):
    """Faces that may lie back to back with others."""

    side: np.ndarray  # int8 [F], of `opposite_sides`
    trees: list[tuple[EmbreeScene, np.ndarray]]
    """Faces of side 2, then of side 1, with their rows; neither where there are none."""


class Embree:
    """The triangles of one mesh. Rays may be cast from several threads (the work is outside the
    interpreter's lock)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, watertight: bool = True) -> None:
        """`watertight`: no ray slips through where two triangles meet. Without, rays are a tenth
        faster; of 400,000 into a rough scan none slipped."""
        self._vertices, self._faces, self._watertight = vertices, faces, watertight
        self._scene = _tree(vertices, faces, watertight)
        self._opposite: Opposite | None = None
        self._lock = threading.Lock()

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """The first front face on each ray; back faces are not seen, as in habitat-sim.

        Args:
            origins: float32 [M, 3], on the near plane.
            directions: float32 [M, 3], as long as one metre of depth.
        """
        found = self._scene.run(origins, directions, output=1)
        depth, face, u, v = found["tfar"], found["primID"], found["u"], found["v"]
        hits = Hits(depth, face, u, v)
        behind = from_behind(face, found["Ng"], directions)
        for _ in range(MOST_BACK_FACES):
            behind = self._turned_over(hits, behind, origins, directions)
            if len(behind) == 0:
                break
            start = depth[behind] + STEP * (1 + depth[behind])
            ahead = directions[behind]
            found = self._scene.run(origins[behind] + start[:, None] * ahead, ahead, output=1)
            depth[behind] = found["tfar"] + start
            face[behind], u[behind], v[behind] = found["primID"], found["u"], found["v"]
            behind = behind[from_behind(found["primID"], found["Ng"], ahead)]
        face[behind] = -1
        depth += np.float32(NEAR)
        face[depth > FAR] = -1
        return hits

    def _opposite_faces(self) -> Opposite:
        """Made when a ray first meets a back face: in many scans none does, and it is a third of
        what opening takes."""
        with self._lock:
            if self._opposite is None:
                side = opposite_sides(self._vertices, self._faces)
                # For a face of side 1 the tree of side 2, and the other way round.
                rows = [np.flatnonzero(side == which) for which in (2, 1)]
                trees = [
                    (_tree(self._vertices, self._faces[own], self._watertight), own)
                    for own in rows
                    if len(own)
                ]
                self._opposite = Opposite(side, trees)
            return self._opposite

    def _turned_over(
        self, hits: Hits, behind: np.ndarray, origins: np.ndarray, directions: np.ndarray
    ) -> np.ndarray:
        """Of the rays that met a back face those that meet no front face in the same plane; into
        `hits` what the others meet."""
        if len(behind) == 0:
            return behind
        sides, trees = self._opposite_faces()
        done = np.zeros(len(behind), dtype=bool)
        side = sides[hits.face[behind]]
        for which, (scene, rows) in enumerate(trees, 1):
            asked = np.flatnonzero(side == which)
            if len(asked) == 0:
                continue
            ray = behind[asked]
            start = np.maximum(hits.depth[ray] - np.float32(SAME_PLANE), 0)
            ahead = directions[ray]
            found = scene.run(origins[ray] + start[:, None] * ahead, ahead, output=1)
            front = found["primID"] >= 0
            front &= found["tfar"] <= np.float32(2 * SAME_PLANE)
            front &= (found["Ng"] * ahead).sum(axis=1) <= 0
            ray = ray[front]
            hits.depth[ray] = found["tfar"][front] + start[front]
            hits.face[ray] = rows[found["primID"][front]]
            hits.u[ray], hits.v[ray] = found["u"][front], found["v"][front]
            done[asked[front]] = True
        rest: np.ndarray = behind[~done]
        return rest


def _tree(vertices: np.ndarray, faces: np.ndarray, watertight: bool) -> EmbreeScene:
    scene = EmbreeScene(robust=watertight)
    TriangleMesh(scene, vertices, np.ascontiguousarray(faces))
    nowhere = np.zeros((1, 3), dtype=np.float32)
    scene.run(nowhere, nowhere)  # the first ray builds the tree
    return scene


class EmbreeRenderer:
    """Views of one scene on the processor."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pixels: dict[Camera, np.ndarray] = {}
        # Rays hit the seams of a built house (its walls are in line with its pixels), not a scan's.
        self._rays = Embree(model.surface.vertices, model.surface.faces, not model.large)
        self._packed: np.ndarray | None = None
        self._is_packed = False
        other = model.annotated
        self._annotated_rays = Embree(other.vertices, other.faces) if other else None

    def render(self, poses: Poses, camera: Camera) -> Views:
        if camera not in self._pixels:
            self._pixels[camera] = pixel_rays(camera)
        rays = self._pixels[camera]
        count, pixels, packed = len(poses.yaw), len(rays), self._packing(camera)
        depth = np.empty((count, pixels), np.float32) if camera.depth else None
        colour = np.empty((count, pixels, 3), np.uint8) if camera.colour else None
        semantic = np.empty((count, pixels), np.int32) if camera.semantic else None
        size = max(1, RAYS_AT_ONCE // pixels)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            some = Poses(poses.position[rows], poses.yaw[rows])
            origins, directions = world_rays(some, rays, camera.above_floor)
            hits = self._rays.cast(origins, directions)
            if depth is not None:
                depth_image(hits.depth, hits.face, depth[rows].reshape(-1))
            if packed is not None and colour is not None and semantic is not None:
                packed_image(
                    hits.face, hits.u, hits.v, packed,
                    colour[rows].reshape(-1, 3), semantic[rows].reshape(-1),
                )  # fmt: skip
                continue
            if colour is not None:
                image = colour[rows].reshape(-1, 3)
                colour_image(hits, self._model.surface, some, camera, rays, image)
            if semantic is not None:
                self._write_ids(hits, origins, directions, semantic[rows].reshape(-1))
        shape = (count, camera.height, camera.width)
        return Views(
            None if colour is None else colour.reshape(*shape, 3),
            None if depth is None else depth.reshape(shape),
            None if semantic is None else semantic.reshape(shape),
        )

    def render_tensors(self, poses: Poses, camera: Camera) -> TensorViews:
        views = self.render(poses, camera)
        return TensorViews(*(None if v is None else torch.from_numpy(v) for v in views))

    def _packing(self, camera: Camera) -> np.ndarray | None:
        """What colours and ids at once are made of, made for the first camera that wants both."""
        if not (camera.colour and camera.semantic) or self._model.annotated is not None:
            return None
        if not self._is_packed:
            self._packed = packed_faces(self._model.surface, self._model.face_id)
            self._is_packed = True
        return self._packed

    def _write_ids(
        self, hits: Hits, origins: np.ndarray, directions: np.ndarray, image: np.ndarray
    ) -> None:
        mesh = self._model.annotated
        if mesh is None or self._annotated_rays is None:
            id_image(hits.face, self._model.face_id, image)
            return
        hits = self._annotated_rays.cast(origins, directions)
        if len(mesh.texel_id):
            painted_id_image(hits, mesh, image)
        else:
            id_image(hits.face, mesh.face_id, image)
