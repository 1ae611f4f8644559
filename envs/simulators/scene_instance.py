"""A furnished scene: habitat-sim's `.scene_instance.json` with its objects and articulated parts.

HSSD and ReplicaCAD come so: an instance names a stage, and objects by their templates, each with a
place. Templates are files of the data set, which `*.scene_dataset_config.json` above the instance
describes; without one they are looked for below the instance's own folder. Everything is static
geometry here: joints stand as `initial_joint_pose` says. Lights that an instance names are not
used, as habitat-sim does not use them by default (`no_lights`).

Files outside the data set's folder are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from envs.simulators.articulated import links
from envs.simulators.rotations import axes_rotation, rotation_of
from envs.simulators.simulator import Placed
from rayforge.errors import SceneError
from rayforge.files import lies_in
from rayforge.readers.faults import reading, shown
from rayforge.readers.json_text import read_object

INSTANCE_SUFFIX = ".scene_instance.json"
DATASET_SUFFIX = ".scene_dataset_config.json"
STAGE_SUFFIX = ".stage_config.json"
OBJECT_SUFFIX = ".object_config.json"
ARTICULATED_SUFFIX = ".ao_config.json"
UPWARDS = 4
"""Folders above an instance that its data set's configuration may stand in."""
MOST = 100_000
"""Instances of a scene."""


@dataclass(frozen=True)
class Dataset:
    """The folder that templates lie in, and what its configuration says."""

    root: Path
    document: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[str, dict[str, list[Path]]]:
        """Every template, by the kind that the configuration lists it under and its stem."""
        suffixes = {
            "stages": (STAGE_SUFFIX, ".glb"),
            "objects": (OBJECT_SUFFIX, ".glb"),
            "articulated_objects": (ARTICULATED_SUFFIX, ".urdf"),
        }
        found: dict[str, dict[str, list[Path]]] = {}
        for kind, endings in suffixes.items():
            stems = found.setdefault(kind, {})
            for file in self._listed(kind):
                ending = next((e for e in endings if file.name.endswith(e)), None)
                if ending is not None:
                    stems.setdefault(file.name.removesuffix(ending), []).append(file)
        return found

    def _listed(self, kind: str) -> Iterator[Path]:
        section = self.document.get(kind, {})
        paths = section.get("paths", {}) if isinstance(section, dict) else {}
        patterns = [p for some in paths.values() for p in some] if isinstance(paths, dict) else []
        if not patterns:
            yield from sorted(file for file in self.root.rglob("*.*") if file.is_file())
            return
        for pattern in patterns:
            if not isinstance(pattern, str) or ".." in PurePosixPath(pattern).parts:
                raise SceneError(f"{self.root}: path {shown(pattern)} of {kind} is outside of it")
            for place in sorted(self.root.glob(pattern.strip("/"))):
                yield from sorted(place.iterdir()) if place.is_dir() else (place,)

    def template(self, kind: str, name: object, place: str) -> Path:
        """The file of a template. Raises SceneError where there is none, or more than one."""
        if not isinstance(name, str) or not name:
            raise SceneError(f"{place}: template_name must be a text, got {shown(name)}")
        there = self.files[kind].get(PurePosixPath(name).name, [])
        exact = [f for f in there if str(f.parent / PurePosixPath(name).name).endswith(name)]
        # A configuration goes before the mesh that it stands for.
        chosen = sorted(exact or there, key=lambda file: (file.suffix == ".glb", str(file)))
        if not chosen:
            raise SceneError(
                f"{place}: {kind} template {shown(name)} is not in the data set {self.root}: "
                "download it whole"
            )
        same = [file for file in chosen if (file.suffix == ".glb") == (chosen[0].suffix == ".glb")]
        if len(same) > 1:
            raise SceneError(
                f"{place}: template {shown(name)} may be {same[0]} or {same[1]}: name it with its "
                "folder"
            )
        return chosen[0]

    def named(self, config: Path, key: str, value: object) -> Path:
        """A file that a template names, inside the data set. Raises SceneError."""
        if not isinstance(value, str) or not value:
            raise SceneError(f"{config}: {key} must be a file, got {shown(value)}")
        file = config.parent / value
        if not lies_in(file, self.root):
            raise SceneError(
                f"{config}: {key} {shown(value)} is outside of the data set {self.root}"
            )
        with reading(f"{config}: {key} {shown(value)}", SceneError, "name a file"):
            if not file.is_file():
                raise SceneError(f"{config}: {key} {shown(value)} does not exist; download it")
        return file


def find_dataset(instance: Path) -> Dataset:
    """The data set that an instance belongs to."""
    for folder in list(instance.resolve().parents)[:UPWARDS]:
        configs = sorted(folder.glob(f"*{DATASET_SUFFIX}"))
        if configs:
            return Dataset(folder, read_object(configs[0], SceneError))
    return Dataset(instance.resolve().parent)


@dataclass(frozen=True)
class Furnished:
    """What an instance says."""

    stage: Path
    """Stage configuration, or a bare mesh."""
    dataset: Dataset
    objects: tuple[Placed, ...]
    navmesh: Path | None


def read_instance(file: Path) -> Furnished:
    """Read an instance and every template that it names; no mesh is opened.

    Raises:
        SceneError: something is missing, or of a kind that is not read here; names the instance.
    """
    document, dataset = read_object(file, SceneError), find_dataset(file)
    stage = document.get("stage_instance")
    if not isinstance(stage, dict):
        raise SceneError(f"{file}: it has no stage_instance")
    moved = _placement(stage, f"{file}: stage_instance")
    if not np.allclose(moved, np.eye(4)):
        raise SceneError(f"{file}: the stage is moved or turned, which is not read here")
    whole = _origin(document, "unknown", str(file))
    objects: list[Placed] = []
    for entry, place in _entries(document, "object_instances", file):
        objects.append(_object(dataset, entry, whole, place))
    for entry, place in _entries(document, "articulated_object_instances", file):
        objects += _articulated(dataset, entry, place)
    return Furnished(
        dataset.template("stages", stage.get("template_name"), f"{file}: stage_instance"),
        dataset, tuple(objects), _navmesh(dataset, document),
    )  # fmt: skip


def _entries(
    document: dict[str, Any], key: str, file: Path
) -> Iterator[tuple[dict[str, Any], str]]:
    entries = document.get(key, [])
    if not isinstance(entries, list) or len(entries) > MOST:
        raise SceneError(f"{file}: {key} must be a list of at most {MOST:,}")
    for number, entry in enumerate(entries):
        place = f"{file}: {key} {number}"
        if not isinstance(entry, dict):
            raise SceneError(f"{place} must be an object, got {shown(entry)}")
        yield entry, place


def _object(dataset: Dataset, entry: dict[str, Any], whole: str, place: str) -> Placed:
    template = dataset.template("objects", entry.get("template_name"), place)
    mesh, document = template, {}
    if template.name.endswith(OBJECT_SUFFIX):
        document = read_object(template, SceneError)
        mesh = dataset.named(template, "render_asset", document.get("render_asset"))
    if document.get("units_to_meters", 1) != 1:
        raise SceneError(f"{template}: units_to_meters is not read here: use scale")
    frame = _scale(document, entry, template, place) @ axes_rotation(
        _vector(document, "up", (0, 1, 0), str(template)),
        _vector(document, "front", (0, 0, -1), str(template)),
    )
    centre: tuple[float, float, float] | None = (0.0, 0.0, 0.0)
    if _origin(entry, whole, place) != "asset_local":
        # Its own, or the middle of its box.
        centre = _vector(document, "COM", (0, 0, 0), str(template)) if "COM" in document else None
    identity = document.get("semantic_id", 0)
    if not isinstance(identity, int) or not 0 <= identity < 1 << 20:
        raise SceneError(f"{template}: semantic_id must be a whole number, got {shown(identity)}")
    return Placed(mesh, rows(frame), centre, rows(_placement(entry, place)), identity, mesh.stem)


def _scale(
    document: dict[str, Any], entry: dict[str, Any], template: Path, place: str
) -> np.ndarray:
    own = np.array(_vector(document, "scale", (1, 1, 1), str(template)))
    more = np.array(_vector(entry, "non_uniform_scale", (1, 1, 1), place))
    found: np.ndarray = np.diag(own * more * _number(entry, "uniform_scale", 1.0, place))
    return found.astype(np.float32)


def _articulated(dataset: Dataset, entry: dict[str, Any], place: str) -> list[Placed]:
    template = dataset.template("articulated_objects", entry.get("template_name"), place)
    if template.name.endswith(ARTICULATED_SUFFIX):
        document = read_object(template, SceneError)
        if document.get("render_mode", "link_visuals") not in ("link_visuals", "default", "both"):
            raise SceneError(
                f"{template}: render_mode {shown(document['render_mode'])} is not read here (links'"
                " own meshes are)"
            )
        template = dataset.named(template, "urdf_filepath", document.get("urdf_filepath"))
    base = _placement(entry, place)
    size = _number(entry, "uniform_scale", 1.0, place)
    base[:3, :3] *= np.float32(size)
    found = []
    for name, scale, matrix in links(template, entry.get("initial_joint_pose", {})):
        mesh = dataset.named(template, "mesh filename", name)
        found.append(
            Placed(mesh, rows(np.diag(scale)), (0.0, 0.0, 0.0), rows(base @ matrix), 0, mesh.stem)
        )
    return found


def _navmesh(dataset: Dataset, document: dict[str, Any]) -> Path | None:
    """The file of the navigation mesh that an instance names, where it is there."""
    known = dataset.document.get("navmesh_instances", {})
    name = known.get(document.get("navmesh_instance", "")) if isinstance(known, dict) else None
    if not isinstance(name, str):
        return None
    file = dataset.root / name
    with reading(f"{dataset.root}: navmesh_instances: {shown(name)}", SceneError, "name a file"):
        return file if lies_in(file, dataset.root) and file.is_file() else None


def _origin(entry: dict[str, Any], default: str, place: str) -> str:
    """What translations are of: "asset_local", "com", or "unknown" (which counts as the latter)."""
    value = entry.get("translation_origin", default)
    if not isinstance(value, str) or value.lower() not in ("asset_local", "com", "unknown"):
        raise SceneError(
            f"{place}: translation_origin {shown(value)} is neither asset_local nor COM"
        )
    return default if value.lower() == "unknown" else value.lower()


def _placement(entry: dict[str, Any], place: str) -> np.ndarray:
    """Where an instance stands, float32 [4, 4]; its rotation is a quaternion w, x, y, z."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, 3] = _vector(entry, "translation", (0, 0, 0), place)
    w, x, y, z = _numbers(entry, "rotation", (1, 0, 0, 0), place)
    length = float(np.sqrt(w * w + x * x + y * y + z * z))
    if length < 1e-6:
        raise SceneError(f"{place}: rotation {shown(entry['rotation'])} is no quaternion")
    matrix[:3, :3] = rotation_of(np.array([x, y, z, w]) / length)
    return matrix


def _vector(
    entry: dict[str, Any], key: str, default: tuple[float, ...], place: str
) -> tuple[float, float, float]:
    x, y, z = _numbers(entry, key, default, place)
    return x, y, z


def _numbers(
    entry: dict[str, Any], key: str, default: tuple[float, ...], place: str
) -> tuple[float, ...]:
    value = entry.get(key, list(default))
    try:
        found = tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != len(default) or not all(abs(number) < 1e6 for number in found):
        raise SceneError(f"{place}: {key} must be {len(default)} numbers, got {shown(value)}")
    return found


def _number(entry: dict[str, Any], key: str, default: float, place: str) -> float:
    return _numbers({key: [entry.get(key, default)]}, key, (default,), place)[0]


def rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A matrix as plain numbers, which compare and stay as they are."""
    return tuple(tuple(float(value) for value in row) for row in matrix)
