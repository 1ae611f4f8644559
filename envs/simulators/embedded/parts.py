"""What every reader of mesh files gives: parts of a mesh with their colours and textures."""

from __future__ import annotations

import io
import unicodedata
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from rayforge.errors import SceneError
from rayforge.readers.faults import REASON, one_line

REPEAT, CLAMP, MIRROR = 0, 1, 2
"""What a texture does beyond its border."""
NO_MIPS, NEAREST_MIP, LINEAR_MIPS = 0, 1, 2
"""Which of its halved copies a texture is read from."""
MOST_PIXELS = 1 << 28
"""Of a texture (16,384 x 16,384)."""


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
    """Colours from 0 to 1 as uint8; what lies beyond is cut off."""
    scaled = np.clip(np.nan_to_num(np.asarray(colour, np.float64)), 0, 1) * 255
    return np.floor(scaled + 0.5).astype(np.uint8)


def open_image(scene: Path, name: str, content: bytes) -> PIL.Image.Image:
    """An image, not decoded yet.

    Raises:
        SceneError: no image, or one larger than `MOST_PIXELS`.
    """
    try:
        image = PIL.Image.open(io.BytesIO(content))
    except PIL.Image.DecompressionBombError as error:
        raise SceneError(
            f"scene {scene}: {name} is too large: {one_line(error, REASON)}"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise SceneError(
            f"scene {scene}: {name} is no image that can be decoded; use PNG or JPEG"
        ) from error
    if image.width * image.height > MOST_PIXELS:
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
        SceneError: there is none.
    """
    plain = urllib.parse.unquote(name) if uri else name
    spellings = [plain, name, plain.replace("\\", "/"), plain.strip(' "')]
    spellings += [
        unicodedata.normalize(form, word) for form in ("NFC", "NFD") for word in spellings
    ]
    for spelling in dict.fromkeys(spellings):
        file = scene.parent / spelling
        if file.is_file():
            return file
    raise SceneError(f"scene {scene} names {scene.parent / plain}, which is missing; put it there")


def check_part(part: Part, path: Path) -> None:
    """Raise SceneError for vertices that are no numbers or triangles of vertices not there."""
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
