"""Shifts of pixels: uint8 [N, H, W, 3] in and out, severities 1 to 5."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from envs.shifts.shift import IMAGES, Shift
from envs.simulators.simulator import Camera

SIDES = (0.75, 0.5, 0.375, 0.25, 0.125)
"""Share of the side that blur goes down to and back from; 4 is the article's 8 of 32 pixels."""
NOISE = (8.0, 16.0, 32.0, 56.0, 88.0)
"""Standard deviation of noise, in steps of 256."""
LIGHT = (0.75, 0.55, 0.4, 0.25, 0.12)
"""Share of the light that is left."""
COVERED = (0.1, 0.25, 0.4, 0.6, 0.8)
"""Share of the width that is hidden."""
HIGHER = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Metres that the camera stands higher."""
NARROWER = (0.9, 0.8, 0.65, 0.5, 0.35)
"""Share of the field of view that is left."""


def shifted_images(images: np.ndarray, shift: Shift, seed: int = 0) -> np.ndarray:
    """Images under a shift of `IMAGES`.

    "blur": averaged down and interpolated back. "noise": Gaussian. "dark": less light. "mirrored":
    a share severity / 5 of the views is left for right. "hidden": a grey band at a random place.
    """
    level, rng = shift.severity - 1, np.random.default_rng((seed, shift.severity))
    if shift.name not in IMAGES:
        raise ValueError(f"{shift.name} is no shift of images; there are {', '.join(IMAGES)}")
    if shift.name == "blur":
        return _blurred(images, SIDES[level])
    if shift.name == "noise":
        noisy = images + rng.normal(0, NOISE[level], images.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if shift.name == "dark":
        return np.rint(images * LIGHT[level]).astype(np.uint8)
    if shift.name == "mirrored":
        turned = rng.permutation(len(images)) < max(1, round(len(images) * shift.severity / 5))
        return np.where(turned[:, None, None, None], images[:, :, ::-1], images)
    width = images.shape[2]
    band = max(1, round(COVERED[level] * width))
    first = rng.integers(0, width - band + 1, len(images))[:, None]
    columns = np.arange(width)[None]
    covered = (columns >= first) & (columns < first + band)
    return np.where(covered[:, None, :, None], np.uint8(128), images)


def camera(before: Camera, shift: Shift) -> Camera:
    """A camera under a shift of `CAMERA`: it stands higher, or sees a narrower field."""
    level = shift.severity - 1
    if shift.name == "higher":
        return replace(before, above_floor=before.above_floor + HIGHER[level])
    if shift.name == "narrower":
        return replace(before, field_of_view=before.field_of_view * NARROWER[level])
    raise ValueError(f"{shift.name} is no shift of a camera")


def _blurred(images: np.ndarray, share: float) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    size = [max(1, round(share * side)) for side in pixels.shape[2:]]
    small = functional.interpolate(pixels, size, mode="area")
    back = functional.interpolate(small, list(pixels.shape[2:]), mode="bilinear")
    found: np.ndarray = back.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return found
