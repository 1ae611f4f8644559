"""The network: a mask and a flow for each frame, read in both directions of time."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.amodal.clips import Clip
from rayforge.amodal.config import AmodalConfig
from rayforge.amodal.warping import warp

STEPS = 4
"""Convolutions of stride 2 from the image to its code: sides are multiples of 16."""
CERTAIN = 1e-6
"""Masks stay this far from 0 and 1."""


class Direction(NamedTuple):
    """What one direction of time says, of B clips of T frames."""

    mask: Tensor  # [B, T, 1, H, W], the object's whole mask in its own frame
    weight: Tensor  # [B, T, 1, H, W], logits of how much it counts
    flow: Tensor  # [B, T, 2, H, W], the object's

    @property
    def carried(self) -> Tensor:
        """The masks of frames 0 to T - 2 carried on by a frame, [B, T - 1, 1, H, W]."""
        return _carried(self.mask, self.flow)

    @property
    def carried_weight(self) -> Tensor:
        return _carried(self.weight, self.flow)


def _carried(images: Tensor, flow: Tensor) -> Tensor:
    moved = warp(images[:, :-1].flatten(0, 1), flow[:, :-1].flatten(0, 1))
    return moved.view_as(images[:, 1:])


class Prediction(NamedTuple):
    """Whole masks [B, T, 1, H, W], each from the frames beside it, and the two directions; the one
    back in time has its frames in that order."""

    mask: Tensor
    onward: Direction
    back: Direction | None


class Encoder(nn.Module):
    """Images [N, C, H, W] -> what each convolution made of them."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        sizes = [inputs, *widths(channels)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(sizes[k], sizes[k + 1], 4, 2, 1), nn.GroupNorm(1, sizes[k + 1]),
                nn.LeakyReLU(0.1),
            )
            for k in range(STEPS)
        )  # fmt: skip

    def forward(self, images: Tensor) -> list[Tensor]:
        found = []
        for layer in self.layers:
            images = layer(images)
            found.append(images)
        return found


class Decoder(nn.Module):
    """A code [N, I, h, w] and what an encoder made -> images [N, outputs, 16 h, 16 w]."""

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        sizes = list(widths(channels))
        self.start = nn.Conv2d(inputs, sizes[-1], 1)
        self.layers = nn.ModuleList()
        for k in reversed(range(STEPS)):
            out = sizes[k - 1] if k else channels
            self.layers.append(
                nn.Sequential(
                    nn.ConvTranspose2d(2 * sizes[k], out, 4, 2, 1), nn.GroupNorm(1, out),
                    nn.LeakyReLU(0.1),
                )
            )  # fmt: skip
        self.last = nn.Conv2d(channels, outputs, 3, 1, 1)

    def forward(self, code: Tensor, features: list[Tensor]) -> Tensor:
        images = self.start(code)
        for layer, feature in zip(self.layers, reversed(features), strict=True):
            images = layer(torch.cat([images, feature], 1))
        found: Tensor = self.last(images)
        return found


def widths(channels: int) -> tuple[int, ...]:
    """Channels of each convolution."""
    return tuple(channels * min(2**k, 4) for k in range(STEPS))


class AmodalNetwork(nn.Module):
    """After SaVos (Yao et al. 2022), in small.

    Each frame's colours, visible mask and flow are encoded; an LSTM runs over time; a decoder makes
    the whole mask and a blending weight, another one corrects the object's flow. Two things are
    designed here: the decoders also see what the encoder of the current frame made (sharper
    outlines at this size), and frames are read whole instead of cropped to the object.
    """

    def __init__(self, config: AmodalConfig, height: int, width: int) -> None:
        super().__init__()
        side = 2**STEPS
        if height % side or width % side:
            raise ValueError(f"frames are {width} x {height} pixels; sides are multiples of {side}")
        self.config = config
        channels, hidden = config.channels, config.hidden
        self.frame = (height, width)
        self.size = (height // side, width // side)
        flat = widths(channels)[-1] * self.size[0] * self.size[1]
        self.encoder = Encoder(6, channels)
        self.code = nn.Linear(flat, hidden)
        self.memory = nn.LSTM(hidden, hidden, batch_first=True)
        self.spread = nn.Linear(hidden, widths(channels)[-1] * self.size[0] * self.size[1])
        self.mask = Decoder(2 * widths(channels)[-1], channels, 2)
        self.moves = Decoder(widths(channels)[-1], channels, 2)
        # The object's flow begins as what the clip says.
        nn.init.zeros_(self.moves.last.weight)
        assert self.moves.last.bias is not None
        nn.init.zeros_(self.moves.last.bias)

    def forward(self, clip: Clip) -> Prediction:
        """Whole masks of B clips."""
        onward = self.read(clip)
        if self.config.directions == "onward":
            first = onward.mask[:, :1]  # nothing comes before it
            return Prediction(torch.cat([first, onward.carried], 1), onward, None)
        back = self.read(clip.reversed())
        return Prediction(blended(onward, back), onward, back)

    def read(self, clip: Clip) -> Direction:
        """One direction: that in which the clip runs."""
        batch, steps = clip.frames.shape[:2]
        scale = clip.frames.shape[-1] / 8.0  # flow in shares of an eighth of the width
        seen = torch.cat([clip.frames, clip.visible, clip.onward / scale], 2).flatten(0, 1)
        features = self.encoder(seen)
        code = self.code(features[-1].flatten(1)).view(batch, steps, -1)
        past, _ = self.memory(code)
        mask, weight, change = self._decoded(features, past.flatten(0, 1), scale)
        shape = (batch, steps)
        return Direction(
            mask.unflatten(0, shape), weight.unflatten(0, shape),
            clip.base_onward + change.unflatten(0, shape),
        )  # fmt: skip

    def _decoded(
        self, features: list[Tensor], past: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks, weights and changes of the flow of N frames."""
        spread = self.spread(past).view(len(past), -1, *self.size)
        mask, weight = self.mask(torch.cat([spread, features[-1]], 1), features).chunk(2, 1)
        change = self.moves(features[-1], features) * scale
        return mask.sigmoid().clamp(CERTAIN, 1.0 - CERTAIN), weight, change

    def one(
        self, frames: Tensor, visible: Tensor, flow: Tensor, base: Tensor,
        memory: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """One frame of N clips, read onward: its masks [N, 1, H, W], the object's flow [N, 2, H, W]
        and the memory [1, N, hidden] to go on with; what `read` says of it.

        Args:
            frames, visible, flow, base: as in `Clip`, without B and T.
        """
        scale = frames.shape[-1] / 8.0
        features = self.encoder(torch.cat([frames, visible, flow / scale], 1))
        code = self.code(features[-1].flatten(1))[:, None]
        past, memory = self.memory(code, memory)
        mask, _, change = self._decoded(features, past[:, 0], scale)
        return mask, base + change, memory


def blended(onward: Direction, back: Direction) -> Tensor:
    """Whole masks [B, T, 1, H, W] of two directions, each frame's from the frames beside it: by the
    softmax of their weights; the first and the last frame have one side alone.

    `back` has its frames back in time.
    """
    first, last = back.carried.flip(1), onward.carried  # of frames 0 .. T - 2, and 1 .. T - 1
    if len(last[0]) < 2:
        return torch.cat([first[:, :1], last], 1)
    weights = torch.stack([onward.carried_weight[:, :-1], back.carried_weight.flip(1)[:, 1:]])
    share = weights.softmax(0)
    middle = share[0] * last[:, :-1] + share[1] * first[:, 1:]
    return torch.cat([first[:, :1], middle, last[:, -1:]], 1)


def filled(prediction: Tensor, clip: Clip) -> Tensor:
    """Whole masks, bool: the visible mask where the clip can be trusted, else the prediction above
    one half."""
    return torch.where(clip.trusted > 0.5, clip.visible > 0.5, prediction > 0.5)


def binary_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """- t log p - (1 - t) log (1 - p), each pixel."""
    return F.binary_cross_entropy(prediction, target, reduction="none")
