"""What an image says, for every network alike: a small convolutional encoder of RGB-D-semantic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rayforge.paths.observation import SECTORS

CATEGORIES = 256
"""Categories that an image's last channel tells apart; 0 is everything unknown."""
STRIDE = 4
"""Of the categories' image every fourth row and column is looked at."""
COARSE = 2
"""Of colours and depth every second: an update takes a third of the time, and what stands in a room
is seen as well."""


class ImageEncoder(nn.Module):
    """uint8 images [M, H, W, C] -> codes [M, SECTORS, D], one for each upright strip, from left to
    right. H and W are multiples of 16.

    Channels: red, green, blue, depth (as `images_of` packs them), and, where `semantic`, the
    number of the category. Colours and depth go through convolutions; of the categories the share
    of each in a strip counts, which says what stands where in one step.
    """

    def __init__(self, size: int, dimension: int, colour_and_depth: int, semantic: bool) -> None:
        """
        Args:
            size: H of the images (they are square).
            dimension: D.
            colour_and_depth: channels before that of the categories.
            semantic: whether there is one.
        """
        super().__init__()
        if size % 16 or size < 16:
            raise ValueError(
                f"images are {size} pixels high; the image encoder needs a multiple of 16"
            )
        self.size, self.channels, self.semantic = size, colour_and_depth, semantic
        self.convolutions = nn.Sequential(
            nn.Conv2d(colour_and_depth, 32, 4, 4), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        rows = size // 16
        inputs = 64 * rows
        self.categories: nn.EmbeddingBag | None = None
        if semantic:
            self.categories = nn.EmbeddingBag(CATEGORIES, dimension, mode="mean")
            inputs += dimension
        self.join = nn.Linear(inputs, dimension)

    def forward(self, images: Tensor) -> Tensor:
        count = len(images)
        seen = images[:, ::COARSE, ::COARSE, : self.channels].permute(0, 3, 1, 2).float() / 255.0
        features = self.convolutions(seen)  # [M, 64, rows, columns]
        columns = nn.functional.adaptive_avg_pool2d(features, (features.shape[2], SECTORS))
        codes = columns.permute(0, 3, 1, 2).flatten(2)
        if self.categories is not None:
            numbers = images[:, ::STRIDE, ::STRIDE, self.channels].long()
            wide = numbers.shape[2] // SECTORS
            strips = numbers.view(count, -1, SECTORS, wide).transpose(1, 2)
            bags = strips.reshape(count * SECTORS, -1)
            codes = torch.cat([codes, self.categories(bags).view(count, SECTORS, -1)], -1)
        found: Tensor = self.join(codes).relu()
        return found
