"""The losses of SaVos (Yao et al. 2022). Masks are [B, T, 1, H, W]."""

from __future__ import annotations

import torch
from torch import Tensor

from rayforge.amodal.clips import Clip
from rayforge.amodal.config import LossConfig
from rayforge.amodal.network import Direction, Prediction, binary_cross_entropy
from rayforge.amodal.warping import warp


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """sum(a b) / sum(a + b - a b) over the last three axes; of binary masks the IoU of sets. 1
    where both are empty."""
    both = (a * b).sum((-3, -2, -1))
    either = (a + b - a * b).sum((-3, -2, -1))
    return torch.where(either > 1e-6, both / either.clamp(min=1e-6), torch.ones_like(both))


def visible_loss(prediction: Tensor, clip: Clip) -> Tensor:
    """Cross-entropy of whole masks with the visible ones where they can be trusted: the sum over
    pixels, the mean over frames. A pixel that is not trusted has no part in it."""
    loss = binary_cross_entropy(prediction, clip.visible) * clip.trusted
    return loss.sum((-3, -2, -1)).mean()


def consistency_loss(direction: Direction) -> Tensor:
    """1 - soft IoU of each mask carried on with the next frame's own; cumulative over time, so that
    early frames weigh more, and the mean over clips and frames."""
    apart = 1.0 - soft_iou(direction.carried, direction.mask[:, 1:])
    return apart.cumsum(1).mean()


def photometric_loss(direction: Direction, clip: Clip) -> Tensor:
    """Mean L1 distance of the object's colours carried on by its flow and of the next frame's,
    where its visible mask, carried on, and the next one overlap."""
    flow = direction.flow[:, :-1].flatten(0, 1)
    frames, visible = (
        warp(part[:, :-1].flatten(0, 1), flow).view_as(part[:, 1:])
        for part in (clip.frames, clip.visible)
    )
    overlap = (visible > 0.99).float() * clip.visible[:, 1:]
    apart = (frames - clip.frames[:, 1:]).abs().mean(2, keepdim=True) * overlap
    return apart.sum() / overlap.sum().clamp(min=1.0)


def loss_of(prediction: Prediction, clip: Clip, config: LossConfig) -> Tensor:
    """The loss of B clips: the terms that the configuration names."""
    if config.supervised:
        loss = binary_cross_entropy(prediction.mask, clip.truth)
        return loss.sum((-3, -2, -1)).mean()
    directions = [(prediction.onward, clip)]
    if prediction.back is not None:
        directions.append((prediction.back, clip.reversed()))
    total = clip.frames.new_zeros(())
    if config.visible:
        total = total + visible_loss(prediction.mask, clip)
    if config.current:
        # Everywhere: who is told to say what is seen now learns to leave out what is hidden.
        for direction, own in directions:
            loss = binary_cross_entropy(direction.mask, own.visible)
            total = total + loss.sum((-3, -2, -1)).mean()
    for direction, own in directions:
        if config.consistency and not config.current:
            total = total + consistency_loss(direction)
        if config.photometric:
            total = total + config.photometric * photometric_loss(direction, own)
    return total
