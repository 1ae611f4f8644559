"""Triangles and colours of a .glb, .ply or .obj file as flat arrays.

Colours are habitat-sim's unlit ones: base colour x vertex colour x texture, the numbers of the file
as they are (no gamma, no light, no transparency). One difference: a mesh without a material is
white (or in its vertices' colours) here and black there (its issue 2173).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.glb_file import open_glb
from envs.simulators.embedded.gltf import moved_points, read_gltf
from envs.simulators.embedded.obj import obj_files, read_obj
from envs.simulators.embedded.parts import MOST_PIXELS, Part, Texture, check_part
from envs.simulators.embedded.ply import ply_files, read_ply
from envs.simulators.embedded.textures import NO_TEXTURES, Textures, build_textures
from rayforge.errors import SceneError
from rayforge.readers import limits
from rayforge.readers.faults import REASON, one_line


class Surface(NamedTuple):
    """V vertices and F triangles; +y is up, metres. Front faces are counter-clockwise."""

    vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3]
    face_colour: np.ndarray  # uint8 [F, 3]
    vertex_colour: np.ndarray  # uint8 [V, 3]; [0, 3] where no part has any
    uv: np.ndarray  # float32 [V, 2], (0, 0) the texture's upper left corner; [0, 2] without any
    face_texture: np.ndarray  # int16 [F], -1: none
    mirrored: np.ndarray  # bool [F], turned over here because a transform mirrored them
    textures: Textures

    def floor_faces(self) -> np.ndarray:
        """Faces as the file orders their corners, int32 [F, 3]: habitat-sim draws a mirrored part
        from outside but finds floor on its inside."""
        return np.where(self.mirrored[:, None], self.faces[:, ::-1], self.faces)


def read_surface(path: Path, frame: np.ndarray, longest_side: int) -> Surface:
    """The mesh of a file, its nodes' transforms applied, then `frame` (a rotation, 3 x 3).

    Textures larger than `longest_side` pixels are halved until they fit.

    Raises:
        SceneError: no mesh, an empty one, vertices that are no numbers, a texture that is missing,
            something in it that is not read here.
    """
    return join_parts(read_parts(path, frame), path, longest_side)


def read_parts(path: Path, frame: np.ndarray) -> list[Part]:
    """The parts of a file in its order, under `frame`; see `read_surface`."""
    files_of(path)
    frame = np.asarray(frame, dtype=np.float32)
    try:
        if path.suffix == ".glb":
            parts = read_gltf(path, frame)
        else:
            whole = np.column_stack([frame, np.zeros(3, np.float32)])
            found = read_obj(path) if path.suffix == ".obj" else [read_ply(path)]
            parts = [p._replace(vertices=moved_points(p.vertices, whole)) for p in found]
    except SceneError:
        raise
    except Exception as error:  # whatever a broken file makes a reader stumble over
        raise _unreadable(path, error) from error
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise SceneError(f"scene {path} holds no triangles; export it as a triangle mesh")
    for part in parts:
        check_part(part, path)
    return parts


def files_of(path: Path) -> list[Path]:
    """The file of a mesh and those it names (materials, textures, buffers).

    Raises:
        SceneError: one of them is missing, cut off or of a kind that cannot be read.
    """
    try:
        if path.suffix == ".glb":
            named = open_glb(path).files()
        elif path.suffix == ".obj":
            named = obj_files(path)
        else:
            named = ply_files(path)
    except SceneError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    return [path, *named]


def _unreadable(path: Path, error: Exception) -> SceneError:
    return SceneError(f"scene {path} cannot be read as a mesh: {repr(error)[:80]}")


def _check_images(textures: list[Texture], path: Path) -> None:
    """Raise SceneError where images ask for far more pixels than their files should hold."""
    images = {id(texture.image): texture.image for texture in textures}.values()
    pixels = sum(image.width * image.height for image in images)
    if pixels <= MOST_PIXELS:
        return
    packed = sum(file.stat().st_size for file in files_of(path))
    if 3 * pixels > limits.UNPACKED_TIMES * packed:
        raise SceneError(
            f"scene {path}: its {len(images)} textures have {pixels:,} pixels, more than files of"
            f" {limits.size(packed)} should hold; scale them down"
        )


def join_parts(parts: list[Part], path: Path, longest_side: int) -> Surface:
    """The parts as one surface, in their order."""
    images: dict[tuple[int, tuple[object, ...]], Texture] = {}
    offset, faces, textures, vertex_colour, uv = 0, [], [], [], []
    for part in parts:
        count = len(part.vertices)
        faces.append(part.faces + np.int32(offset))
        offset += count
        white = np.broadcast_to(np.uint8(255), (count, 3))
        vertex_colour.append(white if part.vertex_colour is None else part.vertex_colour)
        uv.append(np.zeros((count, 2), np.float32) if part.uv is None else part.uv)
        number = -1
        if part.texture is not None:
            key = (id(part.texture.image), tuple(part.texture[1:]))
            images.setdefault(key, part.texture)
            number = list(images).index(key)
        textures.append(np.full(len(part.faces), number, dtype=np.int16))
    _check_images(list(images.values()), path)
    coloured = any(part.vertex_colour is not None for part in parts)
    try:
        pyramid = build_textures(list(images.values()), longest_side) if images else NO_TEXTURES
    except (OSError, ValueError, SyntaxError) as error:
        raise SceneError(
            f"scene {path}: a texture cannot be decoded: {one_line(error, REASON)}"
        ) from error
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces),
        np.concatenate([part.face_colour for part in parts]),
        np.concatenate(vertex_colour) if coloured else np.zeros((0, 3), np.uint8),
        np.concatenate(uv) if images else np.zeros((0, 2), np.float32),
        np.concatenate(textures),
        np.concatenate([np.full(len(part.faces), part.mirrored) for part in parts]),
        pyramid,
    )
