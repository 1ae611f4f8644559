"""What every reader of mesh files gives: parts of a mesh with their colours and textures."""

from __future__ import annotations

import io
import unicodedata
import urllib.parse
import warnings
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import PIL.Image

from rayforge.errors import SceneError
from rayforge.readers import limits
from rayforge.readers.faults import REASON, one_line, shown

REPEAT, CLAMP, MIRROR = 0, 1, 2
"""What a texture does beyond its border."""
NO_MIPS, NEAREST_MIP, LINEAR_MIPS = 0, 1, 2
"""Which of its halved copies a texture is read from."""
MOST_PIXELS = 1 << 28
"""Of a texture (16,384 x 16,384)."""
ALWAYS_PIXELS = 1 << 26
"""Pixels that a texture may have however small its file is (8,192 x 8,192)."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF", "GIF", "PPM")
"""Images that are opened: pixels alone, and no program is run for any of them (EPS needs one)."""


class Texture(NamedTuple):
    """An image, and how it is read; the defaults are glTF's and OpenGL's usual ones."""

    image: PIL.Image.Image
    wrap: tuple[int, int] = (REPEAT, REPEAT)  # across, down
    near: bool = True  # magnified: linear between texels, else the nearest
    far: bool = True  # minified: likewise within a halved copy
    mips: int = LINEAR_MIPS


class Part(NamedTuple):
    """V vertices and F triangles of one look."""

    vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3], counter-clockwise seen from the front
    face_colour: np.ndarray  # uint8 [F, 3]
    vertex_colour: np.ndarray | None = None  # uint8 [V, 3]
    uv: np.ndarray | None = None  # float32 [V, 2], (0, 0) the texture's upper left corner
    texture: Texture | None = None
    mirrored: bool = False
    """Whether `faces` were turned over, because a transform mirrored the part."""
    material: bool = True
    """Whether the file says what the part is made of (habitat-sim draws one without in black)."""
    fine_colour: np.ndarray | None = None  # float32 [V, 3], where stored in more than 8 bits


def to_bytes(colour: np.ndarray) -> np.ndarray:
    """Colours from 0 to 1 as uint8; what lies beyond is cut off.

    Raises:
        ValueError: one is no number.
    """
    if np.isnan(colour).any():
        raise ValueError("a colour is no number (nan)")
    scaled = np.clip(np.asarray(colour, np.float64), 0, 1) * 255
    return np.floor(scaled + 0.5).astype(np.uint8)


def open_image(scene: Path, name: str, content: bytes) -> PIL.Image.Image:
    """An image, not decoded yet.

    Raises:
        SceneError: no image, or one larger than `MOST_PIXELS` or than a file of its size should
            hold.
    """
    try:
        with warnings.catch_warnings():  # of large images: whether one is too large is said below
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(content), formats=_FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise SceneError(
            f"scene {scene}: {name} is too large: {one_line(error, REASON)}"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise SceneError(
            f"scene {scene}: {name} is no image that can be decoded; use PNG or JPEG"
        ) from error
    pixels = image.width * image.height
    if pixels > MOST_PIXELS or 3 * pixels > max(
        3 * ALWAYS_PIXELS, limits.UNPACKED_TIMES * len(content)
    ):
        raise SceneError(
            f"scene {scene}: {name} is too large: {image.width} x {image.height} pixels; scale it"
            " down"
        )
    return image


def named_file(scene: Path, name: str, uri: bool) -> Path:
    """The file beside `scene` that it calls `name`; in a `uri`, %20 stands for a space.

    Backslashes may part folders (Windows), and letters with accents may be written as one sign or
    as two (macOS).

    Raises:
        SceneError: there is none, or it lies outside of the scene's folder.
    """
    plain = urllib.parse.unquote(name) if uri else name
    spellings = [plain, name, plain.replace("\\", "/"), plain.strip(' "')]
    spellings += [
        unicodedata.normalize(form, word) for form in ("NFC", "NFD") for word in spellings
    ]
    for spelling in dict.fromkeys(spellings):
        if "\0" in spelling or len(spelling) > LONGEST_NAME:
            continue  # no file of that name
        path = PurePath(spelling)
        if path.is_absolute() or ".." in path.parts:
            raise SceneError(
                f"scene {scene} names {shown(name)}, which is outside of its folder and is not"
                " read; put the file beside the scene"
            )
        file = scene.parent / path
        if file.is_file():
            return file
    missing = one_line(scene.parent / plain, REASON)
    raise SceneError(f"scene {scene} names {missing}, which is missing; put it there")


LONGEST_NAME = 4096


def check_part(part: Part, path: Path) -> None:
    """Raise SceneError for vertices or texture coordinates that are no numbers, or triangles of
    vertices not there."""
    if part.uv is not None and not np.isfinite(part.uv).all():
        bad = int(np.flatnonzero(~np.isfinite(part.uv).all(axis=1))[0])
        raise SceneError(
            f"scene {path}: the texture coordinates of vertex {bad} of {len(part.uv)} are"
            f" {part.uv[bad].tolist()}; repair them"
        )
    if not np.isfinite(part.vertices).all():
        bad = int(np.flatnonzero(~np.isfinite(part.vertices).all(axis=1))[0])
        raise SceneError(
            f"scene {path}: vertex {bad} of {len(part.vertices)} is"
            f" {part.vertices[bad].tolist()}; remove or repair it"
        )
    if len(part.faces) and (part.faces.min() < 0 or part.faces.max() >= len(part.vertices)):
        worst = part.faces.min() if part.faces.min() < 0 else part.faces.max()
        raise SceneError(
            f"scene {path}: a triangle names vertex {worst} of {len(part.vertices)}; repair it"
        )
