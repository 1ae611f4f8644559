"""Amodal segmentation as a system: what searches, reports and commands know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainers.amodal.commands import AmodalEvaluate, AmodalTrain, AmodalWatch
from trainers.amodal.config import VideoConfig
from trainers.runs.system import System


def metrics(config: VideoConfig) -> tuple[str, ...]:
    return ("loss",)


def prepare(config: VideoConfig) -> None:
    """Make or check the clips that runs read."""
    from trainers.amodal.data import scored_clips, tensors_of, training_clips

    clips = training_clips(config)
    for clip in clips:
        tensors_of(clip, config)
    height, width = clips[0].visible.shape[1:]
    for clip in scored_clips(config, (height, width)):
        tensors_of(clip, config)


def train(config: VideoConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    from trainers.amodal.training import train as learn

    return learn(config, run, reports)


AMODAL = System(
    name="amodal",
    configuration=VideoConfig,
    metrics=metrics,
    train=train,
    prepare=prepare,
    use=("rayforge amodal evaluate {run}", "rayforge amodal watch {run}"),
    commands={"train": AmodalTrain, "evaluate": AmodalEvaluate, "watch": AmodalWatch},
)
