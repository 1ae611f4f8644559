"""From what rays hit to images; each one pass of machine code.

Textures are filtered as OpenGL does it, by default (as in glTF) linear within a level and between
the two nearest levels, the level chosen by how many texels a pixel covers.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch

from envs.simulators.embedded.mesh import Surface
from envs.simulators.embedded.navmesh.compiled import compiled
from envs.simulators.embedded.parts import CLAMP, MIRROR, NEAREST_MIP, NO_MIPS
from envs.simulators.embedded.rays import pixel_steps
from envs.simulators.embedded.stored import Annotated
from envs.simulators.simulator import Camera, Poses, Views

_FETCHED = 1024
"""Pixels whose triangles are fetched together: 16 kilobytes."""


class TensorViews(NamedTuple):
    """`Views` as tensors on the device that made them."""

    colour: torch.Tensor | None  # uint8 [N, H, W, 3]
    depth: torch.Tensor | None  # float32 [N, H, W]
    semantic: torch.Tensor | None  # int32 [N, H, W]


class Renderer(Protocol):
    """Views of one open scene."""

    def render(self, poses: Poses, camera: Camera) -> Views: ...

    def render_tensors(self, poses: Poses, camera: Camera) -> TensorViews: ...


class Hits(NamedTuple):
    """What M rays met first."""

    depth: np.ndarray  # float32 [M], metres along the optical axis
    face: np.ndarray  # int32 [M], -1: nothing
    u: np.ndarray  # float32 [M], weight of the face's second corner
    v: np.ndarray  # float32 [M], weight of its third


@compiled
def from_behind(face, normal, directions):
    """Rows of the rays that hit the back of a triangle, int64."""
    rows = np.empty(len(face), np.int64)
    count = 0
    for row in range(len(face)):
        along = (
            normal[row, 0] * directions[row, 0]
            + normal[row, 1] * directions[row, 1]
            + normal[row, 2] * directions[row, 2]
        )
        if face[row] >= 0 and along > 0:
            rows[count] = row
            count += 1
    return rows[:count]


@compiled
def depth_image(hits_depth, hits_face, image):
    """Write depth, 0 where nothing was hit, into `image`, float32 [M]."""
    for row in range(len(hits_face)):
        image[row] = hits_depth[row] if hits_face[row] >= 0 else np.float32(0)


@compiled
def id_image(hits_face, face_id, image):
    """Write the semantic id of every hit, 0 where nothing was hit, into `image`, int32 [M]."""
    for row in range(len(hits_face)):
        image[row] = face_id[hits_face[row]] if hits_face[row] >= 0 else 0


def painted_id_image(hits: Hits, mesh: Annotated, image: np.ndarray) -> None:
    """`id_image` for a semantic mesh whose ids are texels."""
    _painted_id_image(
        hits.face,
        hits.u,
        hits.v,
        mesh.faces,
        mesh.uv,
        mesh.face_texture,
        mesh.level,
        mesh.texel_id,
        image,
    )


@compiled
def _painted_id_image(hits_face, hits_u, hits_v, faces, uv, face_texture, level, texel_id, image):
    for row in range(len(hits_face)):
        face = hits_face[row]
        texture = face_texture[face] if face >= 0 else -1
        if texture < 0:
            image[row] = 0
            continue
        first, second, third = faces[face, 0], faces[face, 1], faces[face, 2]
        b, c = hits_u[row], hits_v[row]
        a = np.float32(1) - b - c
        s = a * uv[first, 0] + b * uv[second, 0] + c * uv[third, 0]
        t = a * uv[first, 1] + b * uv[second, 1] + c * uv[third, 1]
        start, width, height = level[texture, 0]
        column = min(max(np.int64(np.floor(s * width)), 0), width - 1)
        line = min(max(np.int64(np.floor(t * height)), 0), height - 1)
        image[row] = texel_id[start + line * width + column]


def packed_faces(surface: Surface, face_id: np.ndarray) -> np.ndarray | None:
    """What `packed_image` wants to know of each triangle, next to each other: int64 [F, 2].

    Bytes: red, green, blue of its first, second and third corner, then its own; its semantic id.
    None where a surface has textures or no colours of vertices.
    """
    if len(surface.vertex_colour) == 0 or len(surface.uv):
        return None
    packed = np.empty((len(surface.faces), 16), np.uint8)
    for corner in range(3):
        packed[:, 3 * corner : 3 * corner + 3] = surface.vertex_colour[surface.faces[:, corner]]
    packed[:, 9:12] = surface.face_colour
    packed[:, 12:] = np.ascontiguousarray(face_id, np.int32).view(np.uint8).reshape(-1, 4)
    return packed.view(np.int64)


@compiled
def packed_image(hits_face, hits_u, hits_v, packed, colour_image, id_image):
    """`colour_image` and `id_image` at once from `packed_faces`.

    The triangles of a scan are spread over more memory than caches hold, and neighbouring pixels
    hit none that are neighbours. So those of some pixels are fetched first, in a loop so short that
    the processor waits for many at once, and looked at then: a third of the time.
    """
    near = np.empty((_FETCHED, 2), dtype=np.int64)
    paint, ids = near.view(np.uint8), near.view(np.int32)
    for start in range(0, len(hits_face), _FETCHED):
        count = min(_FETCHED, len(hits_face) - start)
        for k in range(count):
            face = max(hits_face[start + k], 0)
            near[k, 0] = packed[face, 0]
            near[k, 1] = packed[face, 1]
        for k in range(count):
            row = start + k
            if hits_face[row] < 0:
                colour_image[row] = 0
                id_image[row] = 0
                continue
            id_image[row] = ids[k, 3]
            b, c = hits_u[row], hits_v[row]
            a = np.float32(1) - b - c
            for channel in range(3):
                colour = np.float32(paint[k, 9 + channel])
                colour *= (
                    a * np.float32(paint[k, channel])
                    + b * np.float32(paint[k, 3 + channel])
                    + c * np.float32(paint[k, 6 + channel])
                ) * np.float32(1 / 255)
                rounded = min(colour, np.float32(255)) + np.float32(0.5)
                colour_image[row, channel] = np.uint8(np.int32(rounded))


def colour_image(
    hits: Hits,
    surface: Surface,
    poses: Poses,
    camera: Camera,
    pixels: np.ndarray,
    image: np.ndarray,
) -> None:
    """Write the colour of every hit, black where nothing was hit, into `image`, uint8 [M, 3]."""
    if len(surface.vertex_colour) == 0 and len(surface.uv) == 0:
        _flat_image(hits.face, surface.face_colour, image)
        return
    _colour_image(
        hits.depth,
        hits.face,
        hits.u,
        hits.v,
        np.ascontiguousarray(poses.yaw, dtype=np.float32),
        pixels,
        pixel_steps(camera),
        camera.width,
        camera.height,
        surface.vertices,
        surface.faces,
        surface.face_colour,
        surface.vertex_colour,
        surface.uv,
        surface.face_texture,
        *surface.textures,
        image,
    )


@compiled
def _flat_image(hits_face, face_colour, image):
    for row in range(len(hits_face)):
        face = hits_face[row]
        for channel in range(3):
            image[row, channel] = face_colour[face, channel] if face >= 0 else 0


@compiled
def _colour_image(
    hits_depth,
    hits_face,
    hits_u,
    hits_v,
    yaw,
    pixels,
    steps,
    width,
    height,
    vertices,
    faces,
    face_colour,
    vertex_colour,
    uv,
    face_texture,
    texels,
    level,
    levels,
    sampler,
    image,
):
    colour = np.empty(3, dtype=np.float32)
    for row in range(len(hits_face)):
        face = hits_face[row]
        if face < 0:
            image[row] = 0
            continue
        first, second, third = faces[face, 0], faces[face, 1], faces[face, 2]
        b, c = hits_u[row], hits_v[row]
        a = np.float32(1) - b - c
        for channel in range(3):
            colour[channel] = face_colour[face, channel]
        if len(vertex_colour):
            for channel in range(3):
                colour[channel] *= (
                    a * vertex_colour[first, channel]
                    + b * vertex_colour[second, channel]
                    + c * vertex_colour[third, channel]
                ) * np.float32(1 / 255)
        texture = face_texture[face]
        if texture >= 0:
            agent = row // len(pixels)
            pixel = row - agent * len(pixels)
            column = pixel % width
            # Pixels are drawn in squares of two by two, counted from the lower left corner.
            to_left, to_below = column & 1, (height - 1 - pixel // width) & 1
            lod = _level_of_detail(
                hits_depth[row],
                pixels[pixel],
                steps,
                to_left,
                to_below,
                yaw[agent],
                vertices[first],
                vertices[second],
                vertices[third],
                uv[first],
                uv[second],
                uv[third],
                level[texture, 0],
            )
            s = a * uv[first, 0] + b * uv[second, 0] + c * uv[third, 0]
            t = a * uv[first, 1] + b * uv[second, 1] + c * uv[third, 1]
            texel = _sampled(texels, level[texture], levels[texture], sampler[texture], s, t, lod)
            for channel in range(3):
                colour[channel] *= texel[channel] * np.float32(1 / 255)
        for channel in range(3):
            image[row, channel] = np.uint8(min(colour[channel], np.float32(255)) + np.float32(0.5))


@compiled
def _level_of_detail(depth, ray, steps, to_left, to_below, yaw, p0, p1, p2, t0, t1, t2, size):
    """log2 of the texels between a pixel and the next, on the triangle's plane, as OpenGL counts
    them: once for the square of two by two pixels, from its lower left one to its right and up.

    With the plane's normal n, a ray r meets the plane at depth (n.d) / (n.r) times that of the
    pixel's own ray d; the triangle's edges turn places on the plane into texels.
    """
    cosine, sine = np.cos(yaw), np.sin(yaw)
    ex, ey, ez = p1[0] - p0[0], p1[1] - p0[1], p1[2] - p0[2]
    fx, fy, fz = p2[0] - p0[0], p2[1] - p0[1], p2[2] - p0[2]
    nx, ny, nz = ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx
    square = nx * nx + ny * ny + nz * nz
    # The normal in the agent's frame, where rays are.
    ax, az = cosine * nx - sine * nz, sine * nx + cosine * nz
    slope = ax * ray[0] + ny * ray[1] + az * ray[2]
    if square == 0 or slope == 0:
        return np.float32(0)
    # Gradients (times `square`) of the weights of the second and third corner.
    gx, gy, gz = fy * nz - fz * ny, fz * nx - fx * nz, fx * ny - fy * nx
    hx, hy, hz = ny * ez - nz * ey, nz * ex - nx * ez, nx * ey - ny * ex
    ds1, dt1 = (t1[0] - t0[0]) * size[1], (t1[1] - t0[1]) * size[2]
    ds2, dt2 = (t2[0] - t0[0]) * size[1], (t2[1] - t0[1]) * size[2]
    longest = 0.0
    first_s = first_t = 0.0
    for corner in range(3):
        across = (1 if corner == 1 else 0) - to_left
        up = (1 if corner == 2 else 0) - to_below
        rx = ray[0] + across * steps[0, 0] + up * steps[1, 0]
        ry = ray[1] + across * steps[0, 1] + up * steps[1, 1]
        rz = ray[2] + across * steps[0, 2] + up * steps[1, 2]
        other = ax * rx + ny * ry + az * rz
        if other == 0:
            return np.float32(0)
        away = depth * slope / other
        # From the hit point to where this ray meets the plane, in the scene's frame.
        mx, qy, mz = (
            away * rx - depth * ray[0],
            away * ry - depth * ray[1],
            away * rz - depth * ray[2],
        )
        qx, qz = cosine * mx + sine * mz, cosine * mz - sine * mx
        b = (gx * qx + gy * qy + gz * qz) / square
        c = (hx * qx + hy * qy + hz * qz) / square
        s = b * ds1 + c * ds2
        t = b * dt1 + c * dt2
        if corner == 0:
            first_s, first_t = s, t
        else:
            longest = max(longest, (s - first_s) ** 2 + (t - first_t) ** 2)
    if longest <= 1:
        return np.float32(0)
    return np.float32(0.5 * np.log2(longest))


@compiled
def _texel(number, size, wrap):
    """The texel in place of one that may be beyond the border."""
    if wrap == CLAMP:
        return min(max(number, 0), size - 1)
    if wrap == MIRROR:
        number %= 2 * size
        return number if number < size else 2 * size - 1 - number
    return number % size


@compiled
def _sampled(texels, level, levels, sampler, s, t, lod):
    """Red, green and blue (0 to 255) of a texture at (s, t), between two of its levels."""
    linear = sampler[3] if lod > 0 else sampler[2]
    mips = sampler[4]
    lod = min(lod, np.float32(levels - 1)) if mips != NO_MIPS else np.float32(0)
    if mips == NEAREST_MIP:
        lod = np.float32(int(lod + np.float32(0.5)))
    low = int(lod)
    share = lod - np.float32(low)
    red = green = blue = np.float32(0)
    for step in range(2 if share > 0 else 1):
        start, width, height = level[low + step]
        part = share if step else np.float32(1) - share
        if not linear:
            column = _texel(np.int64(np.floor(s * width)), width, sampler[0])
            row = _texel(np.int64(np.floor(t * height)), height, sampler[1])
            texel = start + row * width + column
            red += part * np.float32(texels[texel, 0])
            green += part * np.float32(texels[texel, 1])
            blue += part * np.float32(texels[texel, 2])
            continue
        x = s * width - np.float32(0.5)
        y = t * height - np.float32(0.5)
        left, top = np.int64(np.floor(x)), np.int64(np.floor(y))
        beside, above = np.float32(x - left), np.float32(y - top)
        right, below = _texel(left + 1, width, sampler[0]), _texel(top + 1, height, sampler[1])
        left, top = _texel(left, width, sampler[0]), _texel(top, height, sampler[1])
        for row, of_row in ((top, np.float32(1) - above), (below, above)):
            for column, of_column in ((left, np.float32(1) - beside), (right, beside)):
                weight = part * of_row * of_column
                texel = start + row * width + column
                red += weight * np.float32(texels[texel, 0])
                green += weight * np.float32(texels[texel, 1])
                blue += weight * np.float32(texels[texel, 2])
    return red, green, blue
