"""Wavefront .obj with its .mtl: polygons, texture coordinates, colours of materials and vertices.

Format: Wavefront, "Object Files (.obj)" and "MTL material format", 1995.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.parts import (
    CLAMP,
    REPEAT,
    Part,
    Texture,
    named_file,
    open_image,
    to_bytes,
)
from envs.simulators.embedded.polygons import triangles_of
from rayforge.errors import SceneError

_CURVES = {"cstype", "curv", "curv2", "surf", "bzp", "bsp"}
_OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-texres": 1,
    "-bm": 1, "-type": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3,
}  # fmt: skip
"""How many words may follow each option of a texture."""


class _Material(NamedTuple):
    colour: np.ndarray  # uint8 [3]
    map: Path | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    wrap: int = REPEAT


class _Run(NamedTuple):
    """Faces behind each other that are of one material."""

    material: str | None
    words: list[str]
    sizes: list[int]
    points: int  # vertices that the file has told so far, which -1 counts back from
    places: int


def read_obj(path: Path) -> list[Part]:
    """The parts of an .obj, one for each run of faces of a material, +y up.

    Raises:
        SceneError: a line that is not understood, a material or a texture that is missing.
    """
    points, places, runs, libraries = _lines(path)
    materials: dict[str, _Material] = {}
    for library in libraries:
        materials |= _materials(path, library)
    textures: dict[Path, Texture] = {}
    parts = []
    for run in runs:
        if run.material is not None and materials and run.material not in materials:
            raise SceneError(
                f"scene {path}: material {run.material[:80]!r} is in none of its .mtl files; export"
                " it anew"
            )
        material = materials.get(run.material or "")
        parts.append(_part(path, run, points, places, material, textures))
    return parts


def obj_files(path: Path) -> list[Path]:
    """The materials and textures that an .obj names."""
    files = []
    for line in _text(path).splitlines():
        if line.startswith("mtllib"):
            for library in _libraries(path, line):
                files.append(library)
                found = _materials(path, library).values()
                files += dict.fromkeys(m.map for m in found if m.map is not None)
    return files


def _text(file: Path) -> str:
    """A file's text, which is UTF-8 or what Windows wrote before that."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray, list[_Run], list[Path]]:
    """Vertices [V, 3 or 6] (nan: without a colour of its own), texture coordinates [T, 2], runs of
    faces, material files."""
    text = _text(path).replace("\\\n", " ").replace("\\\r\n", " ")
    points: list[list[str]] = []
    places: list[list[str]] = []
    runs: list[_Run] = []
    libraries: list[Path] = []
    material: str | None = None
    known = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = words[0]
        if key == "v":
            points.append(words[1:])
        elif key == "vt":
            places.append([*words[1:3], "0"][:2])
        elif key in ("f", "fo"):
            now = (len(points), len(places))
            if not runs or runs[-1].material != material or runs[-1][3:] != now:
                runs.append(_Run(material, [], [], *now))
            runs[-1].words.extend(words[1:])
            runs[-1].sizes.append(len(words) - 1)
        elif key == "usemtl":
            material = line.split(maxsplit=1)[1].strip() if len(words) > 1 else None
        elif key == "mtllib":
            libraries += _libraries(path, line)
        elif key in _CURVES:
            raise SceneError(
                f"scene {path}, line {number}: free-form curves ({key}) are not read here; export"
                " it as polygons"
            )
        elif key in ("call", "csh"):
            raise SceneError(
                f"scene {path}, line {number}: {key} names another file or a program, which is not"
                " read here; join the files"
            )
        known += key in ("v", "vt", "vn", "f", "fo", "usemtl", "mtllib", "o", "g", "s", "l", "p")
    if not known:
        raise SceneError(f"scene {path} cannot be read as a mesh: it holds no line of an .obj")
    return _numbers(path, points, "v"), _numbers(path, places, "vt"), runs, libraries


def _numbers(path: Path, rows: list[list[str]], key: str) -> np.ndarray:
    least = 3 if key == "v" else 2
    width = min((len(row) for row in rows), default=least)
    if width < least:
        raise SceneError(f"scene {path} cannot be read as a mesh: a line {key} has {width} numbers")
    most = max((len(row) for row in rows), default=least)
    if key == "v":  # 4 numbers: x, y, z and a weight; some vertices may have no colour
        width = 6 if most >= 6 else 3
        blank = ["nan"] * 3
        rows = [row[:6] if len(row) >= 6 else [*row[:3], *blank][:width] for row in rows]
    else:
        width = 2
    try:
        return np.array([row[:width] for row in rows], dtype=np.float64).reshape(len(rows), width)
    except ValueError as error:
        raise SceneError(
            f"scene {path} cannot be read as a mesh: {key}: {str(error)[:80]}"
        ) from error


def _part(
    path: Path,
    run: _Run,
    points: np.ndarray,
    places: np.ndarray,
    material: _Material | None,
    textures: dict[Path, Texture],
) -> Part:
    try:
        named = [word.split("/") for word in run.words]
        corner = np.array([int(word[0]) for word in named], dtype=np.int64)
        place = np.array(
            [int(word[1]) if len(word) > 1 and word[1] else 0 for word in named], dtype=np.int64
        )
    except (ValueError, OverflowError) as error:
        raise SceneError(
            f"scene {path} cannot be read as a mesh: a face: {str(error)[:80]}"
        ) from error
    corner = np.where(corner < 0, corner + run.points, corner - 1)
    place = np.where(place < 0, place + run.places, place - 1)  # -1: none
    if len(corner) and (corner.min() < 0 or corner.max() >= len(points)):
        raise SceneError(
            f"scene {path}: a triangle names vertex {corner.max() + 1} of {len(points)}; repair it"
        )
    start = np.concatenate([[0], np.cumsum(run.sizes)]).astype(np.int64)
    triangles, _ = triangles_of(corner, start, points[:, :3])
    texture = None
    if material is not None and material.map is not None:
        if len(place) and (place.min() < 0 or place.max() >= len(places)):
            raise SceneError(
                f"scene {path}: faces of material {str(run.material)[:80]!r} have a texture but no"
                " texture coordinates; export it anew"
            )
        if material.map not in textures:
            name = f"texture {material.map.name}"
            textures[material.map] = Texture(open_image(path, name, material.map.read_bytes()))
        texture = textures[material.map]._replace(wrap=(material.wrap, material.wrap))
        keys, row = np.unique(corner * len(places) + place, return_inverse=True)
        used, placed = keys // len(places), keys % len(places)
        uv = places[placed] * material.scale + material.offset
        uv = (uv * [1, -1] + [0, 1]).astype(np.float32)  # the lower left is 0
    else:
        used, row = np.unique(corner, return_inverse=True)
        uv = None
    faces = np.ascontiguousarray(row.reshape(-1)[triangles], dtype=np.int32)
    colour = np.full(3, 255, np.uint8) if material is None else material.colour
    own = None
    if points.shape[1] == 6:
        shade = points[used, 3:]
        known = shade[~np.isnan(shade)]
        shade = shade / (255 if known.size and known.max() > 1 else 1)
        own = to_bytes(np.where(np.isnan(shade), 1.0, shade))  # white, as without any colour
    return Part(
        points[used, :3].astype(np.float32),
        faces,
        np.broadcast_to(colour, (len(faces), 3)),
        own,
        uv,
        texture,
        material=material is not None,
    )


def _libraries(path: Path, line: str) -> list[Path]:
    """The files of an mtllib line: one whose name may hold spaces, or several."""
    name = line.split(maxsplit=1)[1].strip() if len(line.split()) > 1 else ""
    if (path.parent / name).is_file() or " " not in name:
        return [named_file(path, name, uri=False)]
    words = name.split()
    if all((path.parent / word).is_file() for word in words):
        return [path.parent / word for word in words]
    return [named_file(path, name, uri=False)]


def _materials(path: Path, library: Path) -> dict[str, _Material]:
    materials: dict[str, _Material] = {}
    name = None
    for number, line in enumerate(_text(library).splitlines(), 1):
        words = line.split()
        key = words[0] if words else ""
        rest = line.strip()[len(key) :].strip()
        if key == "newmtl":
            name = rest
            materials[name] = _Material(np.full(3, 255, np.uint8))
        elif key.lower() == "kd" and name is not None:
            try:
                shades = [float(word) for word in words[1:4]]
            except ValueError:
                raise SceneError(
                    f"scene {path}: {library.name}, line {number}: Kd {rest[:40]!r} is no colour of"
                    " three numbers"
                ) from None
            shades = shades * 3 if len(shades) == 1 else shades
            materials[name] = materials[name]._replace(colour=to_bytes(np.array(shades)))
        elif key.lower() == "map_kd" and name is not None:
            materials[name] = _mapped(materials[name], library, rest)
    return materials


def _mapped(material: _Material, library: Path, rest: str) -> _Material:
    """The material with its texture: options, then a file whose name may hold spaces."""
    words = rest.split()
    scale, offset, wrap, taken = [1.0, 1.0], [0.0, 0.0], REPEAT, 0
    while taken < len(words) and words[taken] in _OPTIONS:
        option, most = words[taken], _OPTIONS[words[taken]]
        values = words[taken + 1 : taken + 1 + most]
        if most == 3:  # one, two or three numbers
            values = values[: next((k for k, v in enumerate(values) if not _is_number(v)), 3)]
        taken += 1 + len(values)
        if option == "-s":
            scale = [float(value) for value in [*values, "1", "1"][:2]]
        elif option == "-o":
            offset = [float(value) for value in [*values, "0", "0"][:2]]
        elif option == "-clamp" and values == ["on"]:
            wrap = CLAMP
        elif option == "-imfchan":
            raise SceneError(
                f"scene {library}: map_Kd {rest[:60]!r} takes one channel of its image, which is"
                " not read here"
            )
    name = rest
    for _ in range(taken):  # not joined anew: a name may hold two spaces
        name = name.split(maxsplit=1)[1] if len(name.split(maxsplit=1)) > 1 else ""
    return material._replace(
        map=named_file(library, name.strip('"'), uri=False),
        scale=(scale[0], scale[1]),
        offset=(offset[0], offset[1]),
        wrap=wrap,
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
