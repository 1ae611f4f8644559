"""One clip as arrays: what files hold and what networks learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VideoClip:
    """T frames of H x W pixels and one object in them. Flow is in pixels: to the right, down."""

    name: str
    frames: np.ndarray  # uint8 [T, H, W, 3]
    visible: np.ndarray  # bool [T, H, W], where the object is seen
    others: np.ndarray  # bool [T, H, W], where something is seen that may hide it
    onward: np.ndarray  # float32 [T, H, W, 2], until the next frame; of the last frame 0
    back: np.ndarray  # float32 [T, H, W, 2], until the frame before; of the first frame 0
    truth: np.ndarray | None = None  # bool [T, H, W], the whole mask
    depth: np.ndarray | None = None  # float32 [T, H, W], metres along the axis
    rotation: np.ndarray | None = None  # float32 [T, 3, 3], from the camera's frame to the world's
    position: np.ndarray | None = None  # float32 [T, 3], of the camera, metres
    pixel: float = 0.0  # side of a pixel at one metre of depth

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def hidden_share(self) -> np.ndarray:
        """The share of the whole mask that is hidden in each frame, float64 [T]."""
        assert self.truth is not None
        whole = self.truth.sum((1, 2))
        seen = (self.visible & self.truth).sum((1, 2))
        found: np.ndarray = 1.0 - np.where(whole > 0, seen / np.maximum(whole, 1), 1.0)
        return found

    @property
    def says_something(self) -> bool:
        """Whether the object is seen whole at some time, hidden in part for three frames at least
        and gone in no more than a third."""
        assert self.truth is not None
        share, whole = self.hidden_share, self.truth.sum((1, 2))
        large = whole >= 12
        return bool(
            ((share < 0.02) & large).sum() >= 2
            and ((share >= 0.1) & (share <= 0.7) & large).sum() >= 3
            and (self.visible.sum((1, 2)) == 0).mean() <= 1 / 3
        )
