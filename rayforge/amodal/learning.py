"""Training on clips, and adapting to one that is looked at."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rayforge.amodal.clips import Clip, stacked
from rayforge.amodal.config import AmodalConfig
from rayforge.amodal.losses import loss_of
from rayforge.amodal.network import AmodalNetwork, filled
from rayforge.errors import DivergedError


def training(
    network: AmodalNetwork, optimizer: torch.optim.Optimizer, clips: Sequence[Clip],
    first: int, updates: int, total: int, seed: int,
) -> Iterator[float]:  # fmt: skip
    """Updates number `first` to `first + updates` of `total`, each on random pieces of clips; the
    losses. A clip shorter than a piece is used whole. What an update draws depends on its number
    and the seed alone, so that a resumed training makes the same ones.

    Raises DivergedError where the loss is not finite.
    """
    config = network.config
    length = min(config.frames, min(len(clip.frames) for clip in clips))
    for number in range(first, first + updates):
        rng = np.random.default_rng([seed, number])
        picked = []
        for place in rng.integers(len(clips), size=config.batch):
            clip = clips[int(place)]
            start = int(rng.integers(len(clip.frames) - length + 1))
            piece = clip.between(start, start + length)
            picked.append(piece.reversed() if rng.random() < 0.5 else piece)
        for group in optimizer.param_groups:
            progress = min(1.0, number / max(1, total))
            group["lr"] = config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
        network.train()
        yield update(network, optimizer, stacked(picked))


def update(network: AmodalNetwork, optimizer: torch.optim.Optimizer, clip: Clip) -> float:
    """One update on a batch; its loss."""
    loss = loss_of(network(clip), clip, network.config.loss)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(
            f"training diverged: the loss is {value}; lower learning_rate (now "
            f"{network.config.learning_rate:g})"
        )
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()
    return value


def completed(network: AmodalNetwork, clip: Clip) -> tuple[Tensor, Tensor]:
    """The whole masks of one clip, bool [T, 1, H, W], and how sure the network is, [T, 1, H, W].

    With `adaptation` set, the network first learns from the clip itself, without its truth; the
    given network stays as it was.
    """
    config: AmodalConfig = network.config
    batch = stacked([clip])
    if config.adaptation and not config.loss.supervised:
        network = copy.deepcopy(network).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=config.adaptation_rate)
        for _ in range(config.adaptation):
            update(network, optimizer, batch)
    network.eval()
    with torch.no_grad():
        prediction = network(batch)
        masks = prediction.onward.mask if config.loss.current else prediction.mask
        return filled(masks, batch)[0], masks[0]
