"""Sizes and losses of amodal segmentation (apart from its networks: reading needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rayforge.settings import SHARE, Above, AtLeast, check_limits


@dataclass(frozen=True)
class LossConfig:
    """What the network learns from; each term can be left out."""

    visible: bool = True
    """The next frame's visible mask, where nothing else is seen in front."""
    current: bool = False
    """The current frame's visible mask instead: the control that learns to copy."""
    consistency: bool = True
    """A mask carried on by its flow is the next frame's."""
    photometric: Annotated[float, AtLeast(0)] = 0.1
    """Weight of the colours of the object carried on by its flow."""
    supervised: bool = False
    """The true whole masks, and nothing else: the upper bound."""

    def __post_init__(self) -> None:
        check_limits(self, "loss.")
        if not (self.visible or self.current or self.supervised or self.consistency):
            raise ValueError("loss: every term is left out; leave one in")


@dataclass(frozen=True)
class AmodalConfig:
    """The network, its losses and its training."""

    channels: Annotated[int, AtLeast(1)] = 16
    """Channels of the first convolution; each of the next three has twice as many, up to four
    times."""
    hidden: Annotated[int, AtLeast(1)] = 96
    """Size of a frame's code and of the recurrence over time."""
    directions: Literal["both", "onward"] = "both"
    """Whether the clip is also read backwards (with the same weights) and the masks are blended."""
    flow: Literal["flat", "depth"] = "flat"
    """How what is hidden is taken to move: like the mean of what is seen, or like a surface at the
    object's depth under the camera's own motion."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The terms of the loss."""
    learning_rate: Annotated[float, Above(0)] = 1e-3
    """Adam's step size, falling along a cosine to a tenth."""
    frames: Annotated[int, AtLeast(3)] = 12
    """Frames of a training clip."""
    batch: Annotated[int, AtLeast(1)] = 4
    """Clips in an update."""
    adaptation: Annotated[int, AtLeast(0)] = 0
    """Further self-supervised updates on each clip that is evaluated, from the trained weights."""
    adaptation_rate: Annotated[float, Above(0)] = 1e-4
    """Adam's step size of those."""
    least_hidden: Annotated[float, SHARE] = 0.1
    """Least share of the object that is hidden in a frame that is scored."""
    most_hidden: Annotated[float, SHARE] = 0.7
    """Greatest share of the object that is hidden in a frame that is scored."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.least_hidden > self.most_hidden:
            raise ValueError(
                f"least_hidden is {self.least_hidden} and most_hidden {self.most_hidden}: no frame "
                "lies between them"
            )
