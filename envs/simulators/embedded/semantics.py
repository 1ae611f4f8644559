"""Semantic ids: HM3D's list of colours and a mesh that wears them, or a mesh whose faces have ids.

Matterport3D's `X_semantic.ply` and Replica's `mesh_semantic.ply` have the id of an object on each
face; `X.house` and `info_semantic.json` say what the objects are.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.mesh import Surface
from envs.simulators.embedded.parts import Part, to_bytes
from envs.simulators.embedded.ply_file import PlyFile
from rayforge.errors import SceneError
from rayforge.readers import limits
from rayforge.readers.content import read_text
from rayforge.readers.faults import shown
from rayforge.readers.json_text import read_json

HEADER = "HM3D Semantic Annotations"
_LARGEST = 1 << 20
"""The greatest id of an object: tables of all ids are made."""


class Annotation(NamedTuple):
    names: dict[int, str]
    """Category of each id."""
    colours: dict[int, int]
    """Id of each colour (0xRRGGBB)."""


def read_names(file: Path) -> Annotation:
    """What semantic ids mean, by the kind of file: HM3D's .txt, Matterport3D's .house, Replica's
    .json, Gibson's .scn; all but the first have no colours.

    Raises:
        SceneError: another format, or a line that is not of its form.
    """
    if file.suffix == ".house":
        return Annotation(_house_names(file), {})
    if file.suffix == ".json":
        return Annotation(_listed_names(file, "class_name"), {})
    if file.suffix == ".scn":
        return Annotation(_listed_names(file, "class_"), {})
    return read_annotation(file)


def object_ids(path: Path, file: PlyFile, polygon: np.ndarray) -> np.ndarray | None:
    """Semantic id of every triangle, int32 [F], from the `object_id` of a .ply's faces (or of its
    vertices: that of the last corner); None where it has none. An id that stands for none is 0.

    Args:
        path: the file, for errors.
        file: its columns.
        polygon: the face that each triangle is of, int64 [F].
    """
    ids = file.columns.get("face", {}).get("object_id")
    if not isinstance(ids, np.ndarray) or len(ids) == 0:
        return None
    whole = np.asarray(ids, np.float64)
    unknown = (whole < 0) | (whole > np.iinfo(np.int32).max)
    if ids.dtype.kind in "u":
        unknown |= ids == np.iinfo(ids.dtype).max
    if len(polygon) and polygon.max() >= len(ids):
        raise SceneError(f"semantic mesh {path}: {len(ids)} object ids for more faces")
    known: np.ndarray = np.where(unknown, 0, whole).astype(np.int32)[polygon]
    return known


def _house_names(file: Path) -> dict[int, str]:
    """Category (of mpcat40) of each object in a .house of Matterport3D, text of version 1.1."""
    header, *lines = read_text(file, limits.ANNOTATION, SceneError).splitlines() or [""]
    if header.strip() != "ASCII 1.1":
        raise SceneError(f'semantic names {file} must start with "ASCII 1.1", not {header[:40]!r}')
    categories: dict[int, str] = {}
    objects: dict[int, int] = {}
    for number, line in enumerate(lines, 2):
        words = line.split()
        try:
            if words[:1] == ["C"]:  # index, its mapping and name, mpcat40's index and name
                categories[int(words[1])] = words[5].replace("#", " ")
            elif words[:1] == ["O"]:  # index, region, category
                objects[int(words[1])] = int(words[3])
        except (IndexError, ValueError):
            raise SceneError(
                f"semantic names {file}, line {number}: no category or object of a .house:"
                f" {line[:60]!r}"
            ) from None
    return {thing: categories[kind] for thing, kind in objects.items() if kind in categories}


def _listed_names(file: Path, key: str) -> dict[int, str]:
    """Class of each object in Replica's info_semantic.json or Gibson's .scn."""
    document = read_json(file, SceneError)
    try:
        return {int(thing["id"]): str(thing[key]) for thing in document["objects"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneError(
            f"semantic names {file}: expected objects with id and {key}; {str(error)[:80]}"
        ) from None


def read_annotation(file: Path) -> Annotation:
    """HM3D's *.semantic.txt: a header, then lines of id, colour, "category", region.

    Raises:
        SceneError: another format, or a line that is not of that form.
    """
    header, *lines = read_text(file, limits.ANNOTATION, SceneError).splitlines() or [""]
    if HEADER not in header:
        raise SceneError(f'semantic names {file} must start with "{HEADER}", not {shown(header)}')
    names: dict[int, str] = {}
    colours: dict[int, int] = {}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            before, category, _ = line.split('"')  # a category may hold commas
            identity, colour = before.split(",")[:2]
            instance, code = int(identity), int(colour, 16)
            if not (0 <= instance <= _LARGEST and 0 <= code < 1 << 24):
                raise ValueError(line)
        except ValueError:
            raise SceneError(
                f'semantic names {file}, line {number}: expected id,RRGGBB,"category",region;'
                f" got {shown(line)}"
            ) from None
        names[instance] = category
        colours.setdefault(code, instance)
    return Annotation(names, colours)


def in_srgb(parts: list[Part]) -> list[Part]:
    """Parts with their vertex colours in sRGB, where they were stored finely enough for it (16 bits
    or fractions): rounded to 8 linear bits first, dark ones could not be told apart."""
    return [
        part
        if part.fine_colour is None
        else part._replace(vertex_colour=to_bytes(_to_srgb(part.fine_colour.astype(np.float64))))
        for part in parts
    ]


def vertex_ids(surface: Surface, annotation: Annotation, linear: bool) -> np.ndarray:
    """Semantic id of every triangle, int32 [F]: that of its last vertex, as OpenGL takes it.

    A colour that nobody named is 0.

    Args:
        surface: the semantic mesh, with vertex colours.
        annotation: what the colours mean.
        linear: the vertex colours are linear (glTF, 8 bits) and the list's are sRGB; else alike.
    """
    colour = surface.vertex_colour[surface.floor_faces()[:, 2]]
    kinds, kind = np.unique(colour.astype(np.int32) @ (1 << 16, 1 << 8, 1), return_inverse=True)
    if not linear:
        meant = [annotation.colours.get(int(code), 0) for code in kinds]
        return np.array(meant, dtype=np.int32)[kind]
    # 8-bit linear colours cannot tell the darkest colours of the list apart; where only one of the
    # list becomes such a colour when it is stored, it is meant.
    stored: dict[int, set[int]] = {}
    for code, instance in annotation.colours.items():
        stored.setdefault(_mapped(code, _to_linear), set()).add(instance)
    meant = []
    for code in map(int, kinds):
        candidates = stored.get(code, set())
        near = next(iter(candidates)) if len(candidates) == 1 else 0
        meant.append(annotation.colours.get(_mapped(code, _to_srgb), near))
    return np.array(meant, dtype=np.int32)[kind]


def texel_ids(surface: Surface, annotation: Annotation) -> np.ndarray:
    """Semantic id of every texel, int32 [T]; a colour that nobody named is 0."""
    codes = surface.textures.texels.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    table = np.zeros(1 << 24, dtype=np.int32)
    for code, instance in annotation.colours.items():
        table[code] = instance
    ids: np.ndarray = table[codes]
    return ids


def same_triangles(first: Surface, second: Surface) -> np.ndarray | None:
    """For every triangle of `first` the row of the same one in `second`, int64 [F]; None where
    they are not the same triangles (in any order, corners starting anywhere)."""
    if len(first.faces) != len(second.faces):
        return None
    if np.array_equal(first.faces, second.faces) and _same_places(first, second):
        return np.arange(len(first.faces))
    places = [_triangle_places(surface) for surface in (first, second)]
    mixer = np.random.default_rng(0).integers(1 << 62, size=9)
    orders = [np.argsort(place @ mixer, kind="stable") for place in places]
    if not np.array_equal(places[0][orders[0]], places[1][orders[1]]):
        return None
    match = np.empty(len(first.faces), dtype=np.int64)
    match[orders[0]] = orders[1]
    return match


def _same_places(first: Surface, second: Surface) -> bool:
    return first.vertices.shape == second.vertices.shape and np.allclose(
        first.vertices, second.vertices, rtol=0, atol=1e-4
    )


def _triangle_places(surface: Surface) -> np.ndarray:
    """Corners in tenths of millimetres, int32 [F, 9], the smallest corner first."""
    corners = np.rint(surface.vertices * 1e4).astype(np.int32)[surface.faces]
    weight = corners.astype(np.int64) @ np.array([1, 1_000_003, 998_244_353])
    # Of two corners in one place the one before the smaller corner comes first.
    smallest = weight == weight.min(axis=1, keepdims=True)
    after = np.where(smallest, np.roll(weight, -1, axis=1), np.iinfo(np.int64).max)
    first = after.argmin(axis=1)
    turned = (first[:, None] + np.arange(3)) % 3
    place: np.ndarray = np.take_along_axis(corners, turned[:, :, None], axis=1)
    return place.reshape(len(corners), 9)


def _mapped(code: int, change: object) -> int:
    channels = np.array([code >> 16, code >> 8 & 255, code & 255]) / 255
    red, green, blue = np.rint(255 * change(channels)).astype(int)  # type: ignore[operator]
    return int(red << 16 | green << 8 | blue)


def _to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _to_linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
