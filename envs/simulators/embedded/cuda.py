"""The same views on an NVIDIA GPU, with Warp: one thread a pixel, images stay on the device.

The kernels also run on a processor (device "cpu"), where tests hold them against Embree; on a GPU
`pytest -m cuda` does. On CUDA itself they have not been run yet: no machine with one was at hand.
"""

from __future__ import annotations

import numpy as np
import torch

from envs.simulators.embedded.coincident import opposite_sides
from envs.simulators.embedded.rays import pixel_rays, pixel_steps
from envs.simulators.embedded.shading import TensorViews
from envs.simulators.embedded.stored import Annotated, Model
from envs.simulators.simulator import Camera, Poses, Views
from rayforge.errors import SceneError

try:
    import warp as wp

    wp.config.log_level = wp.LOG_WARNING
    from envs.simulators.embedded.kernels import Paint, Triangles, identity_kernel, render_kernel
except ImportError as error:
    raise SceneError(
        "rendering on a GPU needs Warp: pip install 'rayforge[cuda]'; or set gpu_device_id to -1"
        " to render on the processor"
    ) from error


class WarpRenderer:
    """Views of one scene on a device of Warp's ("cuda:0", or "cpu" for tests)."""

    def __init__(self, model: Model, device: str) -> None:
        try:
            self._device = wp.get_device(device)
        except ValueError as error:
            raise SceneError(
                f"there is no device {device} to render on ({error}); set gpu_device_id to that of"
                " a GPU with a driver, or to -1 to render on the processor"
            ) from error
        self._pixels: dict[Camera, wp.array] = {}
        surface, textures = model.surface, model.surface.textures
        self._meshes, self._triangles = self._upload(
            surface.vertices, surface.faces, surface.uv, surface.face_texture, model.face_id
        )
        self._paint = Paint()
        self._paint.face = self._array(surface.face_colour)
        self._paint.vertex = self._array(surface.vertex_colour)
        self._paint.texels = self._array(textures.texels)
        self._paint.level = self._array(textures.level.astype(np.int32))
        self._paint.levels = self._array(textures.levels)
        self._paint.sampler = self._array(textures.sampler)
        self._annotated = model.annotated
        if model.annotated is not None:
            self._upload_annotated(model.annotated)

    def render(self, poses: Poses, camera: Camera) -> Views:
        views = self.render_tensors(poses, camera)
        return Views(*(None if view is None else view.cpu().numpy() for view in views))

    def render_tensors(self, poses: Poses, camera: Camera) -> TensorViews:
        count, pixels = len(poses.yaw), camera.width * camera.height
        if camera not in self._pixels:
            self._pixels[camera] = wp.array(pixel_rays(camera), dtype=wp.vec3, device=self._device)
        with wp.ScopedDevice(self._device):
            depth = wp.zeros((count, pixels if camera.depth else 0), dtype=float)
            colour = wp.zeros((count, pixels if camera.colour else 0, 3), dtype=wp.uint8)
            semantic = wp.zeros((count, pixels if camera.semantic else 0), dtype=wp.int32)
            # A semantic mesh of its own is asked by a kernel of its own.
            apart = self._annotated is not None and camera.semantic
            here = wp.zeros((count, 0), dtype=wp.int32) if apart else semantic
            position = wp.array(np.ascontiguousarray(poses.position, np.float32), dtype=wp.vec3)
            yaw = wp.array(np.ascontiguousarray(poses.yaw, np.float32), dtype=float)
            rays = [position, yaw, self._pixels[camera], float(camera.above_floor)]
            steps = [wp.vec3(*row) for row in pixel_steps(camera).tolist()]
            picture = [camera.width, camera.height, *steps]
            wp.launch(
                render_kernel,
                dim=(count, pixels),
                inputs=[*rays, *picture, self._triangles, self._paint],
                outputs=[colour, depth, here],
            )
            if apart:
                wp.launch(
                    identity_kernel,
                    dim=(count, pixels),
                    inputs=[*rays, self._other, self._other_level, self._other_texel_id],
                    outputs=[semantic],
                )
        shape = (count, camera.height, camera.width)
        return TensorViews(
            torch.from_dlpack(colour).reshape(*shape, 3) if camera.colour else None,
            torch.from_dlpack(depth).reshape(shape) if camera.depth else None,
            torch.from_dlpack(semantic).reshape(shape) if camera.semantic else None,
        )

    def _array(self, values: np.ndarray, kind: object = None) -> wp.array:
        kind = kind or wp.dtype_from_numpy(values.dtype)
        return wp.array(np.ascontiguousarray(values), dtype=kind, device=self._device)

    def _upload(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        uv: np.ndarray,
        texture: np.ndarray,
        identity: np.ndarray,
    ) -> tuple[list[wp.Mesh], Triangles]:
        triangles = Triangles()
        triangles.points = self._array(vertices, wp.vec3)
        triangles.corners = self._array(faces.reshape(-1))
        triangles.uv = self._array(uv, wp.vec2)
        triangles.texture = self._array(texture)
        triangles.identity = self._array(identity)
        mesh = wp.Mesh(points=triangles.points, indices=triangles.corners)
        triangles.mesh = mesh.id
        side = opposite_sides(vertices, faces)
        triangles.side = self._array(side)
        rows = [np.flatnonzero(side == which).astype(np.int32) for which in (1, 2)]
        meshes = [mesh]
        if len(rows[0]):
            corners = [self._array(faces[own].reshape(-1)) for own in rows]
            meshes += [wp.Mesh(points=triangles.points, indices=own) for own in corners]
            triangles.against, triangles.along = meshes[1].id, meshes[2].id
        triangles.against_face, triangles.along_face = (self._array(own) for own in rows)
        return meshes, triangles

    def _upload_annotated(self, mesh: Annotated) -> None:
        self._other_meshes, self._other = self._upload(
            mesh.vertices, mesh.faces, mesh.uv, mesh.face_texture, mesh.face_id
        )
        self._other_level = self._array(mesh.level.astype(np.int32))
        self._other_texel_id = self._array(mesh.texel_id)
