"""A scene's arrays: read from its files once, kept on disk, read back in a fraction of the time."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.gltf import moved_part, moved_points
from envs.simulators.embedded.mesh import Surface, files_of, join_parts, read_parts
from envs.simulators.embedded.parts import Part, check_part
from envs.simulators.embedded.ply import ply_part
from envs.simulators.embedded.ply_file import read_ply_file
from envs.simulators.embedded.semantics import (
    Annotation,
    in_srgb,
    object_ids,
    read_names,
    same_triangles,
    texel_ids,
    vertex_ids,
)
from envs.simulators.embedded.textures import Textures
from envs.simulators.rotations import axes_rotation
from envs.simulators.scene import Stage, read_stage
from envs.simulators.simulator import Placed, Scene
from rayforge.cache import cache_folder
from rayforge.errors import SceneError
from rayforge.files import write_whole

VERSION = "2"
"""Part of the key: change it when the arrays change for the same files."""
LARGE = 8 << 20
"""Bytes of files from which on a scene is kept; a smaller one is read as quickly from them."""
LONGEST_SIDE = 1024
"""Pixels of a texture: a hundred of them stay under half a gigabyte, and views are smaller."""
WHOLE = 1 << 16
"""Semantic textures must not be halved: between two ids lies no third."""


class Annotated(NamedTuple):
    """A semantic mesh whose triangles are not those of the scene, so that rays ask it apart."""

    vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3]
    face_id: np.ndarray  # int32 [F], where there is no texture
    uv: np.ndarray  # float32 [V, 2] or [0, 2]
    face_texture: np.ndarray  # int16 [F], -1: none
    level: np.ndarray  # int64 [K, L, 3] as in `Textures`; only level 0 counts
    texel_id: np.ndarray  # int32 [T]


class Model(NamedTuple):
    surface: Surface
    face_id: np.ndarray  # int32 [F], semantic id of every triangle of `surface`; 0: nothing known
    annotated: Annotated | None
    names: dict[int, str]
    key: str
    """Hash of everything the arrays were made of."""
    large: bool
    """Whether what is made of it is worth keeping on disk."""


def load_model(scene: Scene, folder: Path | None = None) -> Model:
    """The arrays of a scene; large ones are kept in `folder` (default: the user's cache folder).

    Raises:
        SceneError: a file is missing or broken; names it and the remedy.
    """
    stage = read_stage(scene)
    files = scene_files(scene)
    key = _key(files, stage, scene.objects)
    annotation = read_names(scene.semantic_names) if scene.semantic_names else None
    names = annotation.names if annotation else {}
    if scene.instance is not None:
        names = _names(scene)
    large = sum(file.stat().st_size for file in files) >= LARGE
    if not large:
        return _read(scene, stage, annotation, key, large)
    stored = (folder or cache_folder("scenes")) / f"{key}.npz"
    kept = _kept(stored, names, key)
    if kept is not None:
        return kept
    model = _read(scene, stage, annotation, key, large)
    _keep(stored, model)
    return model


def scene_files(scene: Scene) -> list[Path]:
    """Every file that a scene is made of, but its configuration and navmesh."""
    files = files_of(scene.mesh)
    if scene.semantic_mesh:
        files += files_of(scene.semantic_mesh)
    if scene.semantic_names:
        files.append(scene.semantic_names)
    for mesh in dict.fromkeys(placed.mesh for placed in scene.objects):
        files += files_of(mesh)
    return files


def placed_parts(objects: Sequence[Placed]) -> tuple[list[Part], np.ndarray]:
    """The parts of objects where they stand in the scene, and their triangles' ids, int32 [F]; each
    mesh is read once."""
    read: dict[tuple[Path, object], list[Part]] = {}
    parts: list[Part] = []
    ids = [np.zeros(0, np.int32)]
    for placed in objects:
        key = (placed.mesh, placed.frame)
        if key not in read:
            read[key] = read_parts(placed.mesh, np.array(placed.frame, np.float32))
        own = read[key]
        if placed.centre is None:
            low = np.min([part.vertices.min(axis=0) for part in own], axis=0)
            high = np.max([part.vertices.max(axis=0) for part in own], axis=0)
            centre = (low + high) / 2
        else:
            centre = np.array(placed.centre, np.float32)
        matrix = np.array(placed.matrix, np.float32)
        matrix[:3, 3] -= matrix[:3, :3] @ centre
        parts += [moved_part(part, matrix) for part in own]
        ids.append(np.full(sum(len(part.faces) for part in own), placed.semantic_id, np.int32))
    return parts, np.concatenate(ids)


def _names(scene: Scene) -> dict[int, str]:
    """Of an instance: the name of the first object of each id."""
    return {p.semantic_id: p.name for p in reversed(scene.objects) if p.semantic_id}


def _key(files: list[Path], stage: Stage, objects: Sequence[Placed]) -> str:
    places = [placed[1:] for placed in objects]
    said = f"{VERSION} {LONGEST_SIDE} {stage}" + (f" {places}" if places else "")
    total = hashlib.sha256(said.encode())
    for file in files:
        with file.open("rb") as stream:
            total.update(file.suffix.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _read(
    scene: Scene, stage: Stage, annotation: Annotation | None, key: str, large: bool
) -> Model:
    size = np.diag(stage.scale).astype(np.float32)
    parts = read_parts(scene.mesh, size @ axes_rotation(stage.up, stage.front))
    placed, ids = placed_parts(scene.objects)
    surface = join_parts([*parts, *placed], scene.instance or scene.mesh, LONGEST_SIDE)
    unknown = np.zeros(len(surface.faces), dtype=np.int32)
    if scene.instance is not None:
        unknown[len(unknown) - len(ids) :] = ids
        return Model(surface, unknown, None, _names(scene), key, large)
    if scene.semantic_mesh is None or annotation is None:
        return Model(surface, unknown, None, annotation.names if annotation else {}, key, large)
    frame = size @ axes_rotation(stage.semantic_up, stage.semantic_front)
    by_face, linear = None, False
    if scene.semantic_mesh.suffix == ".ply":
        other, by_face = _annotated_ply(scene.semantic_mesh, frame)
    else:
        worn = read_parts(scene.semantic_mesh, frame)
        linear = not all(part.fine_colour is not None for part in worn)
        other = join_parts(worn if linear else in_srgb(worn), scene.semantic_mesh, WHOLE)
    if by_face is None and not annotation.colours:
        raise SceneError(
            f"semantic mesh {scene.semantic_mesh} has no object_id of its faces, which"
            f" {scene.semantic_names} needs; download it anew"
        )
    painted = stage.semantic_textures and len(other.uv) > 0
    if by_face is None and not painted and len(other.vertex_colour) == 0:
        raise SceneError(
            f"semantic mesh {scene.semantic_mesh} has no vertex colours; if its ids are in"
            ' textures, say "has_semantic_textures": true in the stage configuration'
        )
    if painted:
        face_id = np.zeros(len(other.faces), dtype=np.int32)
        texels = texel_ids(other, annotation)
    else:
        face_id = vertex_ids(other, annotation, linear) if by_face is None else by_face
        texels = np.zeros(0, dtype=np.int32)
        match = same_triangles(surface, other)
        if match is not None:
            return Model(surface, face_id[match], None, annotation.names, key, large)
    annotated = Annotated(
        other.vertices,
        other.faces,
        face_id,
        other.uv if painted else np.zeros((0, 2), np.float32),
        other.face_texture if painted else np.full(len(other.faces), -1, np.int16),
        other.textures.level if painted else np.zeros((0, 1, 3), np.int64),
        texels,
    )
    return Model(surface, unknown, annotated, annotation.names, key, large)


def _annotated_ply(path: Path, frame: np.ndarray) -> tuple[Surface, np.ndarray | None]:
    """A semantic .ply, and the ids of its faces where it has them."""
    file = read_ply_file(path)
    part, polygon = ply_part(path, file)
    whole = np.column_stack([frame, np.zeros(3)]).astype(np.float32)
    part = part._replace(vertices=moved_points(part.vertices, whole))
    if len(part.faces) == 0:
        raise SceneError(f"semantic mesh {path} holds no triangles; export it as a triangle mesh")
    check_part(part, path)
    return join_parts([part], path, WHOLE), object_ids(path, file, polygon)


def _keep(file: Path, model: Model) -> None:
    arrays = {f"surface_{k}": v for k, v in model.surface._asdict().items() if k != "textures"}
    arrays |= {f"textures_{k}": v for k, v in model.surface.textures._asdict().items()}
    if model.annotated:
        arrays |= {f"annotated_{k}": v for k, v in model.annotated._asdict().items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(
            file,
            lambda stream: np.savez(stream, allow_pickle=False, face_id=model.face_id, **arrays),
        )
    except OSError:  # a full or read-only cache only costs the next load its time
        pass


def _kept(file: Path, names: dict[int, str], key: str) -> Model | None:
    """The model as it was kept; None where it was not, or was damaged since."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        textures = Textures(*(arrays[f"textures_{field}"] for field in Textures._fields))
        surface = Surface(
            **{k: arrays[f"surface_{k}"] for k in Surface._fields if k != "textures"},
            textures=textures,
        )
        annotated = None
        if "annotated_faces" in arrays:
            annotated = Annotated(*(arrays[f"annotated_{field}"] for field in Annotated._fields))
        return Model(surface, arrays["face_id"], annotated, names, key, large=True)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
