"""Rays against triangles on the processor, with Embree (through `embreex`)."""

from __future__ import annotations

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from envs.simulators.embedded.shading import (
    FAR,
    NEAR,
    Hits,
    TensorViews,
    colour_image,
    depth_image,
    from_behind,
    id_image,
    packed_faces,
    packed_image,
    painted_id_image,
    pixel_rays,
    world_rays,
)
from envs.simulators.embedded.stored import Model
from envs.simulators.simulator import Poses, SimulatorConfig, Views

RAYS_AT_ONCE = 1 << 16
"""Rays of a call to Embree: few enough that what it answers stays in the processor's caches."""

STEP = np.float32(1e-4)
"""Metres behind a back face from which a ray goes on."""
MOST_BACK_FACES = 64
"""A ray that has passed so many sees nothing."""


class Embree:
    """The triangles of one mesh. Rays may be cast from several threads (the work is outside the
    interpreter's lock)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, watertight: bool = True) -> None:
        """`watertight`: no ray slips through where two triangles meet. Without, rays are a tenth
        faster; of 400,000 into a rough scan none slipped."""
        self._scene = EmbreeScene(robust=watertight)
        TriangleMesh(self._scene, vertices, faces)
        nowhere = np.zeros((1, 3), dtype=np.float32)
        self._scene.run(nowhere, nowhere)  # the first ray builds the tree

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """The first front face on each ray; back faces are not seen, as in habitat-sim.

        Args:
            origins: float32 [M, 3], on the near plane.
            directions: float32 [M, 3], as long as one metre of depth.
        """
        found = self._scene.run(origins, directions, output=1)
        depth, face, u, v = found["tfar"], found["primID"], found["u"], found["v"]
        behind = from_behind(face, found["Ng"], directions)
        for _ in range(MOST_BACK_FACES):
            if len(behind) == 0:
                break
            start = depth[behind] + STEP
            ahead = directions[behind]
            found = self._scene.run(origins[behind] + start[:, None] * ahead, ahead, output=1)
            depth[behind] = found["tfar"] + start
            face[behind], u[behind], v[behind] = found["primID"], found["u"], found["v"]
            behind = behind[from_behind(found["primID"], found["Ng"], ahead)]
        face[behind] = -1
        depth += np.float32(NEAR)
        face[depth > FAR] = -1
        return Hits(depth, face, u, v)


class EmbreeRenderer:
    """Views of one scene on the processor."""

    def __init__(self, model: Model, config: SimulatorConfig) -> None:
        self._model = model
        self._camera = config.camera
        self._pixels = pixel_rays(config.camera)
        # Rays hit the seams of a built house (its walls are in line with its pixels), not a scan's.
        self._rays = Embree(model.surface.vertices, model.surface.faces, not model.large)
        self._packed: np.ndarray | None = None
        if config.camera.colour and config.camera.semantic and model.annotated is None:
            self._packed = packed_faces(model.surface, model.face_id)
        other = model.annotated
        self._annotated_rays = Embree(other.vertices, other.faces) if other else None

    def render(self, poses: Poses) -> Views:
        camera, count, pixels = self._camera, len(poses.yaw), len(self._pixels)
        depth = np.empty((count, pixels), np.float32) if camera.depth else None
        colour = np.empty((count, pixels, 3), np.uint8) if camera.colour else None
        semantic = np.empty((count, pixels), np.int32) if camera.semantic else None
        size = max(1, RAYS_AT_ONCE // pixels)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            some = Poses(poses.position[rows], poses.yaw[rows])
            origins, directions = world_rays(some, self._pixels, camera.above_floor)
            hits = self._rays.cast(origins, directions)
            if depth is not None:
                depth_image(hits.depth, hits.face, depth[rows].reshape(-1))
            if self._packed is not None and colour is not None and semantic is not None:
                packed_image(
                    hits.face, hits.u, hits.v, self._packed,
                    colour[rows].reshape(-1, 3), semantic[rows].reshape(-1),
                )  # fmt: skip
                continue
            if colour is not None:
                image = colour[rows].reshape(-1, 3)
                colour_image(hits, self._model.surface, some, camera, self._pixels, image)
            if semantic is not None:
                self._write_ids(hits, origins, directions, semantic[rows].reshape(-1))
        shape = (count, camera.height, camera.width)
        return Views(
            None if colour is None else colour.reshape(*shape, 3),
            None if depth is None else depth.reshape(shape),
            None if semantic is None else semantic.reshape(shape),
        )

    def render_tensors(self, poses: Poses) -> TensorViews:
        views = self.render(poses)
        return TensorViews(*(None if v is None else torch.from_numpy(v) for v in views))

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
