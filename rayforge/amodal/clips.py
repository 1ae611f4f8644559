"""A clip of one object as tensors, and the flow that carries its mask on."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rayforge.amodal.warping import View, depth_flow, flat_flow


class Clip(NamedTuple):
    """T frames of B clips (one clip has no B). Masks are 0 or 1."""

    frames: Tensor  # [B, T, 3, H, W], 0 to 1
    visible: Tensor  # [B, T, 1, H, W], where the object is seen
    trusted: Tensor  # [B, T, 1, H, W], 0 where something else is seen that may hide it
    onward: Tensor  # [B, T, 2, H, W], pixels that each point moves until the next frame
    back: Tensor  # [B, T, 2, H, W], until the frame before
    base_onward: Tensor  # [B, T, 2, H, W], the object's flow, also where it is hidden
    base_back: Tensor  # [B, T, 2, H, W]
    truth: Tensor  # [B, T, 1, H, W], the whole mask; never read by self-supervised training

    def reversed(self) -> Clip:
        """The same, time running backwards."""
        turned = [part.flip(-4) for part in self]
        frames, visible, trusted, onward, back, base_onward, base_back, truth = turned
        return Clip(frames, visible, trusted, back, onward, base_back, base_onward, truth)

    def between(self, start: int, stop: int) -> Clip:
        """Frames `start` to `stop` of a clip without B."""
        return Clip(*(part[start:stop] for part in self))


def clip_of(
    frames: np.ndarray, visible: np.ndarray, others: np.ndarray, onward: np.ndarray,
    back: np.ndarray, truth: np.ndarray, how: Literal["flat", "depth"] = "flat",
    depth: np.ndarray | None = None, view: View | None = None,
) -> Clip:  # fmt: skip
    """A clip without B.

    Args:
        frames: uint8 [T, H, W, 3].
        visible, others, truth: bool [T, H, W].
        onward, back: float32 [T, H, W, 2].
        how: how what is hidden is taken to move; "depth" needs the next two.
        depth: float32 [T, H, W], metres.
        view: the cameras of the T frames.
    """
    flows = [torch.from_numpy(f).float().permute(0, 3, 1, 2) for f in (onward, back)]
    mask, other, whole = (
        torch.from_numpy(m).float()[:, None] for m in (visible, others & ~visible, truth)
    )
    if how == "depth" and depth is not None and view is not None:
        metres = torch.from_numpy(depth).float()[:, None]
        bases = [
            depth_flow(flow, mask, metres, view, _shifted(view, step))
            for flow, step in zip(flows, (1, -1), strict=True)
        ]
    else:
        bases = [flat_flow(flow, mask) for flow in flows]
    image = torch.from_numpy(frames).float().permute(0, 3, 1, 2) / 255.0
    (onward_flow, back_flow), (base_onward, base_back) = flows, bases
    return Clip(
        image, mask, 1.0 - other, onward_flow, back_flow, base_onward, base_back, whole
    )  # fmt: skip


def _shifted(view: View, step: int) -> View:
    """The camera of the next frame (1) or of the one before (-1); the last stays its own."""
    count = len(view.position)
    number = (torch.arange(count) + step).clamp(0, count - 1)
    return View(view.rotation[number], view.position[number], view.pixel)


def stacked(clips: list[Clip]) -> Clip:
    """Clips of one length and size as a batch."""
    return Clip(*(torch.stack(parts) for parts in zip(*clips, strict=True)))
