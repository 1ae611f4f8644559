"""How well hidden outlines are completed, and what needs no learning."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rayforge.amodal.clips import Clip
from rayforge.amodal.warping import mean_flow, warp


def hidden_share(clip: Clip) -> Tensor:
    """The share of the whole mask that is hidden in each frame of a clip, [T]; 0 where there is no
    object."""
    whole = clip.truth.sum((-3, -2, -1))
    seen = (clip.visible * clip.truth).sum((-3, -2, -1))
    return 1.0 - torch.where(whole > 0, seen / whole.clamp(min=1.0), torch.ones_like(whole))


def scores(
    masks: Tensor, clip: Clip, least: float = 0.1, most: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """IoU of whole masks bool [T, 1, H, W] with the truth, over all pixels and over those that
    the object does not show, in the frames of which between `least` and `most` is hidden; float64
    [n] each."""
    share = hidden_share(clip)
    rows = ((share >= least) & (share <= most)).nonzero()[:, 0]
    found = masks[rows].bool()
    truth, visible = clip.truth[rows] > 0.5, clip.visible[rows] > 0.5
    return _iou(found, truth), _iou(found & ~visible, truth & ~visible)


def _iou(a: Tensor, b: Tensor) -> np.ndarray:
    both, either = ((m).flatten(1).sum(1).double() for m in (a & b, a | b))
    return (both / either.clamp(min=1.0)).numpy()


def carried_view(clip: Clip) -> Tensor:
    """The last full view carried along by the mean flow of what is seen, bool [T, 1, H, W].

    A view is taken as full where nothing that may hide the object touches its visible mask.
    """
    mask = clip.visible[0]
    flow = torch.zeros_like(clip.onward[0])
    found = []
    for step in range(len(clip.visible)):
        if step:
            if bool(clip.visible[step - 1].any()):
                flow = mean_flow(clip.onward[step - 1], clip.visible[step - 1])
            mask = warp(mask[None], flow[None])[0]
        seen = clip.visible[step]
        around = F.max_pool2d(seen[None], 3, 1, 1)[0]
        if bool(seen.any()) and not bool((around * (1.0 - clip.trusted[step])).any()):
            mask = seen
        found.append(torch.maximum(mask, seen) > 0.5)
    return torch.stack(found)
