"""Triangles and colours of a .glb, .ply or .obj file as flat arrays.

Colours are habitat-sim's unlit ones: base colour x vertex colour x texture, the numbers of the file
as they are (no gamma, no light, no transparency). Two differences: a mesh without a material is
white here and nearly black there (its issue 2173), and textures repeat whatever their sampler says.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import trimesh
from trimesh.visual import ColorVisuals, TextureVisuals

from envs.simulators.embedded.textures import NO_TEXTURES, Textures, build_textures
from rayforge.errors import SceneError

DECODED = {
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_specular",
    "KHR_materials_unlit",
}
"""glTF extensions that may be required: they do not change what is drawn here."""


class Surface(NamedTuple):
    """V vertices and F triangles; +y is up, metres. Front faces are counter-clockwise."""

    vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3]
    face_colour: np.ndarray  # uint8 [F, 3]
    vertex_colour: np.ndarray  # uint8 [V, 3]; [0, 3] where no part has any
    uv: np.ndarray  # float32 [V, 2], (0, 0) the texture's upper left corner; [0, 2] without any
    face_texture: np.ndarray  # int16 [F], -1: none
    textures: Textures


class _Part(NamedTuple):
    vertices: np.ndarray
    faces: np.ndarray
    face_colour: np.ndarray
    vertex_colour: np.ndarray | None
    uv: np.ndarray | None
    image: PIL.Image.Image | None


def read_surface(path: Path, rotation: np.ndarray, longest_side: int) -> Surface:
    """The mesh of a file, its nodes' transforms applied, then `rotation` (or any 3 x 3 matrix).

    Textures larger than `longest_side` pixels are halved until they fit.

    Raises:
        SceneError: no mesh, an empty one, vertices that are no numbers, a texture that is missing.
    """
    files_of(path)
    try:
        _check_images(path)
        loaded = trimesh.load_scene(path, process=False)
        parts = [
            _part(geometry, rotation @ matrix[:3, :3], rotation @ matrix[:3, 3])
            for geometry, matrix in _placed(loaded)
        ]
    except SceneError:
        raise
    except Exception as error:  # the readers raise whatever a broken file makes them stumble over
        raise SceneError(f"scene {path} cannot be read as a mesh: {error!r}") from error
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise SceneError(f"scene {path} holds no triangles; export it as a triangle mesh")
    for part in parts:
        if not np.isfinite(part.vertices).all():
            bad = int(np.flatnonzero(~np.isfinite(part.vertices).all(axis=1))[0])
            raise SceneError(
                f"scene {path}: vertex {bad} of {len(part.vertices)} is"
                f" {part.vertices[bad].tolist()}; remove or repair it"
            )
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            raise SceneError(
                f"scene {path}: a triangle names vertex {part.faces.max()} of {len(part.vertices)}"
            )
    return _join(parts, path, longest_side)


def files_of(path: Path) -> list[Path]:
    """The file of a mesh and those it names (materials, textures, buffers).

    Raises:
        SceneError: one of them is missing, cut off or of a kind that cannot be read.
    """
    try:
        if path.suffix == ".glb":
            header, _ = _glb_header(path)
            return [path, *_glb_files(path, header)]
        if path.suffix == ".obj":
            return [path, *_obj_files(path)]
    except (OSError, LookupError, TypeError, AttributeError) as error:
        raise SceneError(f"scene {path} cannot be read as a mesh: {error!r}") from error
    return [path]


def _glb_header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON of a .glb, and where its binary part starts."""
    with path.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            raise SceneError(f"scene {path} is no mesh: a .glb starts with glTF, not {head[:4]!r}")
        length, json_length = struct.unpack("<8xII", head[:16])
        size = path.stat().st_size
        if size < length:
            raise SceneError(f"scene {path} is cut off: {size:,} of {length:,} bytes; copy it anew")
        try:
            return json.loads(stream.read(json_length)), 20 + json_length + 8
        except ValueError as error:
            raise SceneError(f"scene {path}: its header is no JSON: {error}") from error


def _glb_files(path: Path, header: dict[str, Any]) -> list[Path]:
    unknown = set(header.get("extensionsRequired", ())) - DECODED
    if unknown:
        raise SceneError(
            f"scene {path} needs {', '.join(sorted(unknown))}, which is not read here; export it"
            " with plain vertices and PNG or JPEG textures (HM3D: the -glb files, not -basis)"
        )
    for material in header.get("materials", ()):
        colour = material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})
        if "KHR_texture_transform" in colour.get("extensions", {}):
            raise SceneError(
                f"scene {path}: material {material.get('name', '')!r} moves its texture"
                " (KHR_texture_transform), which is not read here; bake it into the coordinates"
            )
    named = [item.get("uri") for key in ("buffers", "images") for item in header.get(key, ())]
    return [
        _existing(path, path.parent / uri)
        for uri in named
        if uri is not None and not uri.startswith("data:")
    ]


def _check_images(path: Path) -> None:
    """Look at every texture: trimesh leaves those out that it cannot decode."""
    if path.suffix == ".obj":
        for file in _obj_files(path):
            if file.suffix != ".mtl":
                _check_image(path, f"texture {file.name}", file.read_bytes())
    if path.suffix != ".glb":
        return
    header, binary = _glb_header(path)
    for number, image in enumerate(header.get("images", ())):
        uri = image.get("uri")
        if uri is None:
            view = header["bufferViews"][image["bufferView"]]
            with path.open("rb") as stream:
                stream.seek(binary + view.get("byteOffset", 0))
                _check_image(path, f"texture {number}", stream.read(view["byteLength"]))
        elif not uri.startswith("data:"):
            _check_image(path, f"texture {uri}", (path.parent / uri).read_bytes())


def _check_image(scene: Path, name: str, content: bytes) -> None:
    try:
        PIL.Image.open(io.BytesIO(content)).close()
    except OSError as error:
        raise SceneError(
            f"scene {scene}: {name} is no image that can be decoded; use PNG or JPEG"
        ) from error


def _obj_files(path: Path) -> list[Path]:
    files = []
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("mtllib "):
            library = _existing(path, path.parent / line[7:].strip())
            files.append(library)
            for setting in library.read_text(errors="replace").splitlines():
                words = setting.split()
                if words[:1] == ["map_Kd"]:
                    files.append(_existing(path, path.parent / words[-1]))
    return files


def _existing(scene: Path, file: Path) -> Path:
    if not file.is_file():
        raise SceneError(f"scene {scene} names {file}, which is missing; put it there")
    return file


def _placed(loaded: trimesh.Scene) -> list[tuple[trimesh.Trimesh, np.ndarray]]:
    placed = []
    for node in loaded.graph.nodes_geometry:
        matrix, name = loaded.graph[node]
        if isinstance(loaded.geometry[name], trimesh.Trimesh):
            placed.append((loaded.geometry[name], matrix))
    return placed


def _part(mesh: trimesh.Trimesh, linear: np.ndarray, offset: np.ndarray) -> _Part:
    vertices = (np.asarray(mesh.vertices) @ linear.T + offset).astype(np.float32)
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
    if np.linalg.det(linear) < 0:  # a mirrored part keeps its outside outside
        faces = np.ascontiguousarray(faces[:, ::-1])
    face_colour = np.full((len(faces), 3), 255, dtype=np.uint8)
    visual = mesh.visual
    if isinstance(visual, ColorVisuals) and visual.kind == "vertex":
        return _Part(vertices, faces, face_colour, visual.vertex_colors[:, :3], None, None)
    if isinstance(visual, ColorVisuals) and visual.kind == "face":
        face_colour[:] = visual.face_colors[:, :3]
    if not isinstance(visual, TextureVisuals):
        return _Part(vertices, faces, face_colour, None, None, None)
    colour, image = _material(visual.material)
    face_colour[:] = colour
    vertex_colour = visual.vertex_attributes.get("color")
    if vertex_colour is not None:
        vertex_colour = trimesh.visual.to_rgba(vertex_colour)[:, :3]
    if image is None or visual.uv is None:
        return _Part(vertices, faces, face_colour, vertex_colour, None, None)
    uv = np.array(visual.uv[:, :2], dtype=np.float32)
    uv[:, 1] = 1 - uv[:, 1]
    return _Part(vertices, faces, face_colour, vertex_colour, uv, image)


def _material(material: Any) -> tuple[Any, PIL.Image.Image | None]:
    """Base colour, uint8 [3], and texture."""
    if isinstance(material, trimesh.visual.material.PBRMaterial):
        colour = material.baseColorFactor
        return 255 if colour is None else colour[:3], material.baseColorTexture
    if isinstance(material, trimesh.visual.material.MultiMaterial):
        raise ValueError("several materials on one mesh")
    return material.diffuse[:3], material.image


def _join(parts: list[_Part], path: Path, longest_side: int) -> Surface:
    images: dict[int, PIL.Image.Image] = {}
    offset, faces, textures, vertex_colour, uv = 0, [], [], [], []
    for part in parts:
        count = len(part.vertices)
        faces.append(part.faces + offset)
        offset += count
        white = np.full((count, 3), 255, dtype=np.uint8)
        vertex_colour.append(white if part.vertex_colour is None else part.vertex_colour)
        uv.append(np.zeros((count, 2), np.float32) if part.uv is None else part.uv)
        number = -1
        if part.image is not None:
            images[id(part.image)] = part.image
            number = list(images).index(id(part.image))
        textures.append(np.full(len(part.faces), number, dtype=np.int16))
    coloured = any(part.vertex_colour is not None for part in parts)
    try:
        pyramid = build_textures(list(images.values()), longest_side) if images else NO_TEXTURES
    except OSError as error:
        raise SceneError(f"scene {path}: a texture cannot be decoded: {error}") from error
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces),
        np.concatenate([part.face_colour for part in parts]),
        np.concatenate(vertex_colour) if coloured else np.zeros((0, 3), np.uint8),
        np.concatenate(uv) if images else np.zeros((0, 2), np.float32),
        np.concatenate(textures),
        pyramid,
    )
