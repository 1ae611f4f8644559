"""Room recognition from rendered views: the article's own experiment, in our scenes.

A small convolutional network tells the kind of room from one view. It trains by stochastic gradient
descent with momentum, a step size that falls by a share each epoch, weight decay and batch
normalisation, as the article's networks do (recalled); its size is chosen so that hundreds of
trainings fit two cores. Without normalisation it names the most frequent kind for ever: views of
rooms are nearly one colour, and the mean over the last map hides what is small in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from envs.houses.room_views import RoomViews, room_views
from envs.shifts.images import shifted_images
from envs.shifts.shift import Shift
from rayforge.errors import DataError
from rayforge.information.probe import Trace, measure

MOMENTUM, WEIGHT_DECAY, BATCH = 0.9, 1e-3, 32


class Split(NamedTuple):
    """Views to train on and views of other houses."""

    train: RoomViews
    test: RoomViews


@cache
def room_split(folder: str, views: int, tests: int) -> Split:
    """At most so many views of the first four fifths of a folder's houses, and of the others."""
    every = room_views(Path(folder))
    houses = np.unique(every.building)
    if len(houses) < 2:
        raise DataError(f"{folder}: room recognition needs two houses, one of them to test in")
    border = houses[max(1, len(houses) * 4 // 5)]
    rng = np.random.default_rng(0)
    first = rng.permutation(np.flatnonzero(every.building < border))[:views]
    second = rng.permutation(np.flatnonzero(every.building >= border))[:tests]
    return Split(every.take(np.sort(first)), every.take(np.sort(second)))


class Recogniser(nn.Module):
    """Views [B, 3, H, W] in [0, 1] -> logits [B, kinds].

    `mean` and `deviation` [3] standardise the colours: those of the undamaged training views.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kinds: int, mean: Tensor, deviation: Tensor, width: int = 12) -> None:
        super().__init__()
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("deviation", deviation[:, None, None].clamp(min=1e-3))
        self.first = _halved(3, width)
        self.second = _halved(width, 2 * width)
        self.third = _halved(2 * width, 3 * width)
        self.head = nn.Linear(3 * width, kinds)

    def forward(self, views: Tensor) -> Tensor:
        standard = (views - self.mean) / self.deviation
        codes = self.third(self.second(self.first(standard)))
        found: Tensor = self.head(codes.mean((2, 3)))
        return found


def _halved(channels: int, width: int) -> nn.Sequential:
    """Maps [B, channels, H, W] -> [B, width, H / 2, W / 2]."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())


def as_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0


@dataclass(frozen=True)
class Epoch:
    """One pass over the training views."""

    damaged: bool
    learning_rate: float


def train_recogniser(
    split: Split, epochs: Sequence[Epoch], deficit: Shift | None, seed: int,
    after: Callable[[int, Recogniser], None] | None = None,
) -> Recogniser:  # fmt: skip
    """Train along `epochs`; in damaged ones the views are under the deficit. The same seed gives
    the same start and the same order of views, whatever the deficit: runs are paired by it."""
    torch.manual_seed(seed)
    label = torch.from_numpy(split.train.label)
    clean = as_tensor(split.train.images)
    network = Recogniser(len(split.train.kinds), clean.mean((0, 2, 3)), clean.std((0, 2, 3)))
    optimizer = torch.optim.SGD(network.parameters(), momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    hurt = clean
    if deficit is not None and any(epoch.damaged for epoch in epochs):
        hurt = as_tensor(shifted_images(split.train.images, deficit, seed))
    for number, epoch in enumerate(epochs):
        views = hurt if epoch.damaged else clean
        for group in optimizer.param_groups:
            group["lr"] = epoch.learning_rate
        order = torch.from_numpy(np.random.default_rng((seed, number)).permutation(len(label)))
        network.train()
        for rows in order.split(BATCH):
            loss = nn.functional.cross_entropy(network(views[rows]), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if after is not None:
            after(number, network.eval())
    return network.eval()


@torch.inference_mode()
def recognition(network: Recogniser, views: RoomViews, images: np.ndarray | None = None) -> Tensor:
    """Logits [n, kinds] of views, or of other images of them."""
    pixels = as_tensor(views.images if images is None else images)
    return torch.cat([network(part) for part in pixels.split(512)])


def accuracy(network: Recogniser, views: RoomViews) -> float:
    right = recognition(network, views).argmax(1) == torch.from_numpy(views.label)
    return float(right.double().mean())


def most_frequent(split: Split) -> float:
    """Share right of naming the kind that is most frequent in training, in other houses."""
    return float((split.test.label == np.bincount(split.train.label).argmax()).mean())


def recogniser_trace(network: Recogniser, views: RoomViews, count: int = 500) -> Trace:
    """The trace on a frozen probe of views, in ten batches."""
    pixels = as_tensor(views.images[:count])
    parts = pixels.split(max(1, -(-len(pixels) // 10)))
    batches = [lambda part=part: (network(part), None) for part in parts]
    return measure(dict(network.named_parameters()), batches)
