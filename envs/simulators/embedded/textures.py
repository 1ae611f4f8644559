"""Textures as one array of texels with their halved copies (mipmaps)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import PIL.Image

from envs.simulators.embedded.parts import Texture

MOST_LEVELS = 16


class Textures(NamedTuple):
    """K textures; `level[k, l]` is where level l of texture k starts in `texels`, its width and
    its height. Rows run downwards."""

    texels: np.ndarray  # uint8 [T, 3]
    level: np.ndarray  # int64 [K, MOST_LEVELS, 3]
    levels: np.ndarray  # int32 [K]
    sampler: np.ndarray  # int32 [K, 5]: wrap across and down, linear near and far, mips (`parts`)


NO_TEXTURES = Textures(
    np.zeros((0, 3), np.uint8),
    np.zeros((0, MOST_LEVELS, 3), np.int64),
    np.zeros(0, np.int32),
    np.zeros((0, 5), np.int32),
)


def build_textures(textures: list[Texture], longest_side: int) -> Textures:
    """Halve each image until it fits, then down to one texel; an image is kept once.

    Raises:
        OSError: an image cannot be decoded.
    """
    texels: list[np.ndarray] = []
    known: dict[int, tuple[np.ndarray, int]] = {}
    start = 0
    for texture in textures:
        if id(texture.image) in known:
            continue
        image = np.asarray(eight_bits(texture.image))
        while max(image.shape) > longest_side:
            image = _halved(image)
        rows = np.zeros((MOST_LEVELS, 3), dtype=np.int64)
        for number in range(MOST_LEVELS):
            texels.append(image.reshape(-1, 3))
            height, width = image.shape[:2]
            rows[number] = start, width, height
            start += width * height
            if width == height == 1:
                break
            image = _halved(image)
        known[id(texture.image)] = rows, number + 1
    found = [known[id(texture.image)] for texture in textures]
    samplers = [[*t.wrap, int(t.near), int(t.far), t.mips] for t in textures]
    return Textures(
        np.concatenate(texels),
        np.array([rows for rows, _ in found]),
        np.array([count for _, count in found], dtype=np.int32),
        np.array(samplers, dtype=np.int32),
    )


def eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Red, green and blue of 8 bits; of 16-bit grey the upper half."""
    if image.mode.startswith(("I;16", "I")):
        grey = np.asarray(image).astype(np.int64)
        return PIL.Image.fromarray((grey.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _halved(image: np.ndarray) -> np.ndarray:
    """A level from the one above it, as OpenGL drivers make it: each texel is read, linearly, at
    its own place in the larger image; uint8 [h, w, 3]."""
    for axis in (0, 1):
        size = image.shape[axis]
        if size == 1:
            continue
        half = size // 2
        place = (np.arange(half) + 0.5) * (size / half) - 0.5
        low = np.floor(place).astype(np.int64)
        share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first = np.take(image, low, axis=axis).astype(np.float32)
        second = np.take(image, np.minimum(low + 1, size - 1), axis=axis)
        image = first + (second - first) * share
    return np.floor(image + np.float32(0.5)).astype(np.uint8)
