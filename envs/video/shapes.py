"""(a) Two shapes that cross on a plane, like the authors' own toy."""

from __future__ import annotations

import numpy as np

from envs.video.clip import VideoClip


def crossing_shapes(count: int, seed: int, frames: int = 16, size: int = 64) -> list[VideoClip]:
    """Clips of `size` pixels in which one shape passes behind another, the object."""
    found: list[VideoClip] = []
    rng = np.random.default_rng(seed)
    while len(found) < count:
        clip = _crossing(rng, frames, size, f"shapes-{len(found):03d}")
        if clip.says_something:
            found.append(clip)
    return found


def _crossing(rng: np.random.Generator, frames: int, size: int, name: str) -> VideoClip:
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    middle = rng.uniform(0.42, 0.58, 2) * size
    time = np.arange(frames) - (frames - 1) / 2
    shapes, flows, colours = [], [], []
    for front in (False, True):
        angle = rng.uniform(0, 2 * np.pi)
        # Whole pixels: what is drawn moves exactly as its flow says.
        step = np.round(
            rng.uniform(1.5, 3.2) * size / 64 * np.array([np.cos(angle), np.sin(angle)])
        )
        if front and rng.random() < 0.5:
            step = np.zeros(2)
        centre = np.round(middle + rng.uniform(-3, 3, 2))
        at = centre + np.floor(time)[:, None] * step
        radius = int(rng.integers(7, 12)) * size / 64
        kind, wide = rng.integers(3), rng.uniform(0.6, 1.4)
        dx = (x[None] - at[:, 0, None, None]) / wide
        dy = (y[None] - at[:, 1, None, None]) * wide
        if kind == 0:
            mask = dx**2 + dy**2 <= radius**2
        elif kind == 1:
            mask = np.maximum(abs(dx), abs(dy)) <= radius * 0.9
        else:
            mask = abs(dx) + abs(dy) <= radius * 1.2
        shapes.append(mask)
        flows.append(step)
        colours.append(rng.integers(60, 256, 3))
    behind, front_mask = shapes
    visible = behind & ~front_mask
    image = np.broadcast_to(rng.integers(0, 50, 3), (frames, size, size, 3)).copy()
    image[behind], image[front_mask] = colours
    onward = np.zeros((frames, size, size, 2), np.float32)
    onward[visible], onward[front_mask] = flows
    back = -onward
    onward[-1], back[0] = 0, 0
    return VideoClip(name, image.astype(np.uint8), visible, front_mask.copy(), onward, back, behind)
