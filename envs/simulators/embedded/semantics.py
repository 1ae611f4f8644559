"""Semantic ids from HM3D's annotation: a list of colours, and a mesh that wears them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.simulators.embedded.mesh import Surface
from rayforge.errors import SceneError
from rayforge.readers import limits
from rayforge.readers.content import read_text
from rayforge.readers.faults import shown

HEADER = "HM3D Semantic Annotations"
_LARGEST = 1 << 20
"""The greatest id of an object: tables of all ids are made."""


class Annotation(NamedTuple):
    names: dict[int, str]
    """Category of each id."""
    colours: dict[int, int]
    """Id of each colour (0xRRGGBB)."""


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


def vertex_ids(surface: Surface, annotation: Annotation, linear: bool) -> np.ndarray:
    """Semantic id of every triangle, int32 [F]: that of its last vertex, as OpenGL takes it.

    A colour that nobody named is 0.

    Args:
        surface: the semantic mesh, with vertex colours.
        annotation: what the colours mean.
        linear: the vertex colours are linear (glTF) and the list's are sRGB; else (PLY) alike.
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
