"""Moving images by flow. Flow is in pixels, (u, v): u to the right, v down.

Pixel (x, y) stands for the point (x, y) itself: its centre. An image of width W reaches from 0 to
W - 1, so that a flow of zero is the identity exactly. (The released code divides by W where its
sampling takes pixels as areas, which shifts an image by half a pixel a warp.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class View(NamedTuple):
    """Cameras of T frames: pinholes that look along -z of their own frame."""

    rotation: Tensor  # [..., T, 3, 3], from the camera's frame to the world's
    position: Tensor  # [..., T, 3], metres
    pixel: float  # side of a pixel at one metre of depth


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images [B, C, H, W] sampled at (x - u, y - v), bilinearly; beyond the border the border.

    With the flow [B, 2, H, W] of a rigid motion, content moves by it: a flow of (3, 0) moves it
    three pixels to the right.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype, device=flow.device),
        torch.arange(width, dtype=flow.dtype, device=flow.device),
        indexing="ij",
    )
    # align_corners: -1 and 1 are the centres of the outer pixels.
    across = 2.0 * (x - flow[:, 0]) / max(1, width - 1) - 1.0
    down = 2.0 * (y - flow[:, 1]) / max(1, height - 1) - 1.0
    grid = torch.stack([across, down], -1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def mean_flow(flow: Tensor, mask: Tensor) -> Tensor:
    """The mean of flow [..., 2, H, W] over a mask [..., 1, H, W], as an image of it; 0 where the
    mask is empty."""
    weight = mask / mask.sum((-2, -1), keepdim=True).clamp(min=1e-6)
    return (flow * weight).sum((-2, -1), keepdim=True).expand_as(flow)


def flat_flow(flow: Tensor, mask: Tensor) -> Tensor:
    """An object's flow: the given one inside its visible mask, its mean there everywhere else."""
    return torch.where(mask > 0.5, flow, mean_flow(flow, mask))


def depth_flow(flow: Tensor, mask: Tensor, depth: Tensor, here: View, there: View) -> Tensor:
    """An object's flow where the camera moves (designed here): the given one inside its visible
    mask; elsewhere that of a still surface at the object's depth, under the camera's own motion,
    plus the mean of what the object moves beside that.

    Args:
        flow: [T, 2, H, W] between the frames of `here` and those of `there`.
        mask: [T, 1, H, W], the object's visible masks.
        depth: [T, 1, H, W], metres along the axis.
        here, there: the cameras of each frame, and of the frame that its flow leads to.

    Where a mask is empty the depth is that of the last frame that has one.
    """
    height, width = flow.shape[-2:]
    moved = camera_flow(object_depth(depth, mask), here, there, height, width)
    moved = moved + mean_flow(flow - moved, mask)
    return torch.where(mask > 0.5, flow, moved)


def object_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """An object's mean depth over its visible masks, [T, 1, 1, 1]; where a mask is empty that of
    the last frame before that has one, or of the first of all."""
    count = mask.sum((-2, -1), keepdim=True)
    mean = (depth * mask).sum((-2, -1), keepdim=True) / count.clamp(min=1e-6)
    known = count.flatten() > 0
    if not bool(known.any()):
        return torch.ones_like(mean)
    number = torch.where(known, torch.arange(len(known)), -1).cummax(0).values
    number = torch.where(number < 0, int(known.nonzero()[0]), number)
    return mean[number]


def camera_flow(depth: Tensor, here: View, there: View, height: int, width: int) -> Tensor:
    """The flow [T, 2, H, W] of what stands still at a depth [T, 1, H or 1, W or 1] in the images of
    the cameras `here`, as those of `there` see it."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype) - (height - 1) / 2,
        torch.arange(width, dtype=depth.dtype) - (width - 1) / 2,
        indexing="ij",
    )
    rays = torch.stack([x * here.pixel, -y * here.pixel, -torch.ones_like(x)], -1)
    points = rays * depth.expand(-1, 1, height, width)[:, 0, :, :, None]
    world = torch.einsum("tij,thwj->thwi", here.rotation, points)
    world = world + (here.position - there.position)[:, None, None]
    seen = torch.einsum("tji,thwj->thwi", there.rotation, world)
    ahead = (-seen[..., 2]).clamp(min=1e-3) * there.pixel
    return torch.stack([seen[..., 0] / ahead - x, -seen[..., 1] / ahead - y], 1)
