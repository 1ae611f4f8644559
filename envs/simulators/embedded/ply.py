"""The one part of a .ply: vertices, faces of any number of corners, colours, texture."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from envs.simulators.embedded.parts import Part, Texture, named_file, open_image, to_bytes
from envs.simulators.embedded.ply_file import Column, Lists, PlyFile, read_ply_file
from envs.simulators.embedded.polygons import triangles_of
from rayforge.errors import SceneError

_COLOURS = (
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("r", "g", "b"),
)
_PLACES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
_CORNERS = ("vertex_indices", "vertex_index")


def read_ply(path: Path) -> Part:
    """The part of a .ply, +y up.

    Colours of vertices count before those of faces; a texture counts where a comment names one
    (TextureFile) and vertices or faces have coordinates in it. Front faces are counter-clockwise.

    Raises:
        SceneError: see `read_ply_file`; no vertices, or two textures.
    """
    return ply_part(path, read_ply_file(path))[0]


def ply_part(path: Path, file: PlyFile) -> tuple[Part, np.ndarray]:
    """The part, and the row of element `face` that each of its triangles is of, int64 [F]."""
    vertex, face = file.columns.get("vertex", {}), file.columns.get("face", {})
    if not all(isinstance(vertex.get(axis), np.ndarray) for axis in "xyz"):
        raise SceneError(f"scene {path} has no vertices with x, y and z; export it anew")
    points = np.column_stack([np.asarray(vertex[axis], np.float32) for axis in "xyz"])
    corners, start = _polygons(file)
    if len(corners) and (corners.min() < 0 or corners.max() >= len(points)):
        worst = corners.min() if corners.min() < 0 else corners.max()
        raise SceneError(
            f"scene {path}: a triangle names vertex {worst} of {len(points)}; repair it"
        )
    places, polygon = triangles_of(corners, start, points)
    faces = corners[places].astype(np.int32)
    colour = _colours(vertex)
    face_colour = np.full((len(faces), 3), 255, dtype=np.uint8)
    own = _colours(face) if colour is None else None
    if own is not None and len(own) == len(start) - 1:
        face_colour = own[polygon]
    part = Part(points, faces, face_colour, colour, material=False)
    return _textured(path, file, part, corners, start, places), polygon


def _polygons(file: PlyFile) -> tuple[np.ndarray, np.ndarray]:
    """Corners int64 [C] and starts [N + 1] of all faces, or of the triangles of strips."""
    face, strips = file.columns.get("face", {}), file.columns.get("tristrips", {})
    for columns in (face, strips):
        for name in _CORNERS:
            found = columns.get(name)
            if isinstance(found, Lists) and len(found.values):
                values = found.values.astype(np.int64)
                if columns is face:
                    return values, found.start.astype(np.int64)
                return _strips(values, found.start)
    return np.zeros(0, np.int64), np.zeros(1, np.int64)


def _strips(values: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of strips, which -1 ends; every second one is turned over."""
    faces: list[np.ndarray] = []
    for first, last in itertools.pairwise(start):
        strip = values[first:last]
        for run in np.split(strip, np.flatnonzero(strip < 0)):
            run = run[run >= 0]
            row = np.arange(max(len(run) - 2, 0))
            odd = row % 2
            faces.append(run[np.stack([row, row + 1 + odd, row + 2 - odd], axis=1)])
    corners = np.concatenate([np.zeros((0, 3), np.int64), *faces])
    return corners.reshape(-1), 3 * np.arange(len(corners) + 1)


def _colours(columns: dict[str, Column]) -> np.ndarray | None:
    """Colours of an element, uint8 [N, 3]; of 16-bit integers the upper half (of others than
    bytes and unsigned 16 bits: from 0 to 255, where none is above), of numbers with a point from 0
    to 1 (or to 255, where any is above 1)."""
    for names in _COLOURS:
        if not all(isinstance(columns.get(name), np.ndarray) for name in names):
            continue
        found = [np.asarray(columns[name]) for name in names]
        if found[0].dtype == np.int8:  # bytes to a writer whose bytes have a sign
            found = [np.ascontiguousarray(part).view(np.uint8) for part in found]
        values = np.column_stack(found).astype(np.float64)
        plain = found[0].dtype in (np.int16, np.int32, np.uint32)  # some write bytes in them
        if plain and values.size and values.max() <= 255:
            return to_bytes(values / 255)
        if found[0].dtype.kind in "iu":
            return to_bytes(values / np.iinfo(found[0].dtype).max)
        return to_bytes(values / (255 if values.size and values.max() > 1 else 1))
    return None


def _textured(
    path: Path,
    file: PlyFile,
    part: Part,
    corners: np.ndarray,
    start: np.ndarray,
    places: np.ndarray,
) -> Part:
    """The part with its texture, where it has one."""
    if not file.texture_files:
        return part  # coordinates in no texture
    vertex, face = file.columns["vertex"], file.columns.get("face", {})
    wedges = face.get("texcoord")
    uv = None
    for names in _PLACES:
        if all(isinstance(vertex.get(name), np.ndarray) for name in names):
            uv = np.column_stack([np.asarray(vertex[name], np.float32) for name in names])
            break
    if isinstance(wedges, Lists) and np.array_equal(wedges.start, 2 * start):
        # Corners of faces have their own places: no corner is shared any more.
        uv = wedges.values.astype(np.float32).reshape(-1, 2)
        own = None if part.vertex_colour is None else part.vertex_colour[corners]
        faces = places.astype(np.int32)
        part = part._replace(vertices=part.vertices[corners], faces=faces, vertex_colour=own)
    elif isinstance(wedges, Lists) and len(wedges.values):
        raise SceneError(
            f"scene {path}: some of its faces have texture coordinates (texcoord) for every corner"
            " and some have not, which is not read here; export it as .glb"
        )
    if uv is None:
        return part
    number = face.get("texnumber")
    if len(file.texture_files) > 1 and (number is None or len(np.unique(number)) > 1):
        raise SceneError(
            f"scene {path} has {len(file.texture_files)} textures on one mesh, which is not read"
            " here; export it as .glb"
        )
    which = 0 if number is None or not len(number) else int(np.asarray(number)[0])
    if which < 0:
        return part  # MeshLab's mark of a face without a texture
    if which >= len(file.texture_files):
        raise SceneError(
            f"scene {path}: its faces name texture {which} of {len(file.texture_files)}; export it"
            " anew"
        )
    name = file.texture_files[which]
    image = open_image(path, f"texture {name}", named_file(path, name, uri=False).read_bytes())
    uv = np.column_stack([uv[:, 0], 1 - uv[:, 1]])  # (0, 0) was the lower left corner
    return part._replace(uv=uv, texture=Texture(image))


def ply_files(path: Path) -> list[Path]:
    """The textures that the comments of a .ply name and that are there."""
    with path.open("rb") as stream:
        head = stream.read(1 << 20).split(b"end_header", 1)[0].decode("utf-8", errors="replace")
    names = [line.split(maxsplit=2)[2:] for line in head.splitlines() if "TextureFile" in line]
    files = [path.parent / name[0].strip() for name in names if name]
    return [file for file in files if file.is_file()]
