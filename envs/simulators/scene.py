"""The files of a scene and how they lie: a stage configuration of habitat-sim's, an instance with
its objects, or a bare mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from envs.simulators.scene_instance import INSTANCE_SUFFIX, STAGE_SUFFIX, read_instance
from envs.simulators.simulator import Scene
from rayforge.errors import SceneError
from rayforge.files import lies_in
from rayforge.readers.faults import reading, shown
from rayforge.readers.json_text import read_object

MESH_SUFFIXES = (".glb", ".ply", ".obj")

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Stage:
    """How the meshes of a scene lie in their files; the defaults are habitat-sim's."""

    up: Vector = (0.0, 1.0, 0.0)
    """The mesh's axis that points up."""
    front: Vector = (0.0, 0.0, -1.0)
    """The mesh's axis that a yaw of 0 looks along."""
    semantic_up: Vector = (0.0, 1.0, 0.0)
    semantic_front: Vector = (0.0, 0.0, -1.0)
    scale: Vector = (1.0, 1.0, 1.0)
    """Along the scene's axes."""
    semantic_textures: bool = False
    """Whether the colours of the semantic mesh are painted in textures; else in its vertices."""


Z_UP = Stage((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
"""Matterport3D's and HM3D's axes, which habitat-sim takes a .glb without configuration to have."""


GIBSON = "mesh_z_up.obj"
"""Gibson's mesh, whose name says how it lies."""


def find_scene(path: Path | str) -> Scene:
    """The files of a scene, from its stage configuration, its instance (`.scene_instance.json`) or
    its mesh (.glb, .ply, .obj).

    A configuration NAME.stage_config.json beside the mesh NAME.glb counts, as in habitat-sim.
    Without one, HM3D's names beside the mesh do (NAME.semantic.glb, NAME.semantic.txt and
    NAME.navmesh, NAME being what stands before the first dot), and Matterport3D's
    (NAME_semantic.ply and NAME.house; Gibson's: NAME.scn).

    Raises:
        SceneError: a file is missing or is no mesh, or the configuration cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        meshes = sorted(f.name for f in path.iterdir() if f.suffix in MESH_SUFFIXES)
        hint = f": name one of {', '.join(meshes[:5])}" if meshes else " without a mesh in it"
        raise SceneError(f"scene {path} is a folder{hint}")
    if path.name.endswith(STAGE_SUFFIX):
        return _configured(path)
    if path.name.endswith(INSTANCE_SUFFIX):
        return _furnished(path)
    if path.suffix not in MESH_SUFFIXES:
        raise SceneError(
            f"scene {path} is neither a mesh ({', '.join(MESH_SUFFIXES)}) nor a stage"
            f" configuration (*{STAGE_SUFFIX}) or an instance (*{INSTANCE_SUFFIX})"
        )
    if not path.is_file():
        raise SceneError(f"scene {path} does not exist; check the folder of scenes you named")
    for stem in dict.fromkeys((path.stem, path.name.split(".")[0])):
        config = path.with_name(stem + STAGE_SUFFIX)
        if config.is_file():
            return _configured(config)
    name = path.name.split(".")[0]
    semantic_mesh = path.with_name(f"{name}.semantic.glb")
    semantic_names = path.with_name(f"{name}.semantic.txt")
    known = semantic_mesh != path and semantic_mesh.is_file() and semantic_names.is_file()
    if not known:  # Matterport3D's
        semantic_mesh = path.with_name(f"{path.stem}_semantic.ply")
        names = (path.with_suffix(".house"), path.with_suffix(".scn"))  # the latter: Gibson's
        semantic_names = next((file for file in names if file.is_file()), names[0])
        known = semantic_mesh.is_file() and semantic_names.is_file()
    navmeshes = (path.with_suffix(".navmesh"), path.with_name(f"{name}.navmesh"))
    return Scene(
        mesh=path,
        semantic_mesh=semantic_mesh if known else None,
        semantic_names=semantic_names if known else None,
        navmesh=next((file for file in navmeshes if file.is_file()), None),
    )


def read_stage(scene: Scene) -> Stage:
    """How the scene's meshes lie, from its stage configuration or habitat-sim's defaults.

    Raises:
        SceneError: the configuration cannot be read, or its axes are not perpendicular.
    """
    if scene.stage_config is None:
        z_up = scene.mesh.suffix == ".glb" or scene.mesh.name == GIBSON
        return Z_UP if z_up else Stage()
    file = scene.stage_config
    document = _document(file)
    up = _vector(document, "up", Stage.up, file)
    front = _vector(document, "front", Stage.front, file)
    own_axes = "semantic_up" in document or "semantic_front" in document
    stage = Stage(
        up,
        front,
        _vector(document, "semantic_up", Stage.semantic_up, file) if own_axes else up,
        _vector(document, "semantic_front", Stage.semantic_front, file) if own_axes else front,
        _vector(document, "scale", Stage.scale, file),
        bool(document.get("has_semantic_textures", Stage.semantic_textures)),
    )
    for first, second in ((stage.up, stage.front), (stage.semantic_up, stage.semantic_front)):
        if abs(np.dot(first, second)) > 1e-5:
            raise SceneError(
                f"stage configuration {file}: up {first} and front {second} must be perpendicular"
            )
    return stage


def _furnished(instance: Path) -> Scene:
    """A stage with the objects of an instance."""
    with reading(instance, SceneError, "download it anew"):
        found = read_instance(instance)
    root = found.dataset.root
    if found.stage.name.endswith(STAGE_SUFFIX):
        stage = _configured(found.stage, root)
    else:
        stage = Scene(found.stage)
    # A stage's own navmesh and ids know nothing of the objects.
    return replace(
        stage, semantic_mesh=None, semantic_names=None, navmesh=found.navmesh,
        objects=found.objects, instance=instance,
    )  # fmt: skip


def _configured(config: Path, root: Path | None = None) -> Scene:
    """The scene of a stage configuration, whose files are below `root` (its own folder)."""
    document = _document(config)
    mesh = _asset(document, "render_asset", config, root)
    if mesh is None:
        raise SceneError(f'stage configuration {config} names no "render_asset"')
    if mesh.suffix not in MESH_SUFFIXES:
        raise SceneError(
            f"stage configuration {config}: render_asset {mesh.name} is no mesh that can be read"
            f" ({', '.join(MESH_SUFFIXES)})"
        )
    navmesh = document.get("nav_asset")
    beside = mesh.with_suffix(".navmesh")
    if isinstance(navmesh, str) and navmesh:
        path = PurePosixPath(navmesh)
        inside = not path.is_absolute() and ".." not in path.parts
        beside = config.parent / path if inside else _beside(config, "nav_asset", navmesh, root)
    scene = Scene(
        mesh=mesh,
        semantic_mesh=_asset(document, "semantic_asset", config, root),
        semantic_names=_asset(document, "semantic_descriptor_filename", config, root),
        navmesh=beside if beside.is_file() else None,  # it can always be made anew
        stage_config=config,
    )
    if scene.semantic_mesh and not scene.semantic_names:
        raise SceneError(
            f'stage configuration {config} names a "semantic_asset" but no'
            ' "semantic_descriptor_filename": its colours mean nothing without'
        )
    read_stage(scene)
    return scene


def _document(config: Path) -> dict[str, Any]:
    return read_object(config, SceneError)


def _asset(document: dict[str, Any], key: str, config: Path, root: Path | None) -> Path | None:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise SceneError(f"stage configuration {config}: {key} must be a file, got {shown(value)}")
    if not value:
        return None
    return _beside(config, key, value, root)


def _beside(config: Path, key: str, value: str, root: Path | None) -> Path:
    """A file that a stage configuration names: one in its own folder or below (of a data set:
    anywhere in the data set's), and there."""
    path = PurePosixPath(value)
    inside = root is not None and lies_in(config.parent / path, root)
    if not inside and (path.is_absolute() or ".." in path.parts):
        raise SceneError(
            f"stage configuration {config}: {key} {shown(value)} is not in the configuration's"
            " folder; put the file there"
        )
    with reading(f"stage configuration {config}: {key} {shown(value)}", SceneError, "name a file"):
        if not (config.parent / path).is_file():
            raise SceneError(f"stage configuration {config}: {key} {shown(value)} does not exist")
    return config.parent / path


def _vector(document: dict[str, Any], key: str, default: Vector, config: Path) -> Vector:
    value = document.get(key, list(default))
    try:
        x, y, z = (float(number) for number in value)
    except (TypeError, ValueError):
        raise SceneError(
            f"stage configuration {config}: {key} must be three numbers, got {shown(value)}"
        ) from None
    if not (np.abs([x, y, z]) < 1e6).all() or np.linalg.norm([x, y, z]) < 1e-6:
        raise SceneError(
            f"stage configuration {config}: {key} {shown(value)} is no direction or size"
        )
    return x, y, z
