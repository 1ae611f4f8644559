"""Scoring a run on clips with whole masks, beside what needs no learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from envs.progress import Progress
from rayforge.amodal.clips import Clip
from rayforge.amodal.learning import completed
from rayforge.amodal.network import AmodalNetwork
from rayforge.amodal.scoring import carried_view, scores
from rayforge.errors import ConfigurationError, DataError
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.files import write_json
from trainers.amodal.config import VideoConfig
from trainers.amodal.data import scored_clips, tensors_of
from trainers.amodal.training import load_network
from trainers.runs.folder import hardware
from trainers.runs.train import write_report

CONTROLS = ("visible", "carried")
"""The visible mask alone, and the last full view carried along by mean flow."""


def evaluate(run: Path, test: str, adaptation: int, command: str) -> dict[str, Any]:
    """Write `evaluation.json`: IoU on the whole and on the hidden part; print the table."""
    if adaptation < 0:
        raise ConfigurationError(f"adaptation must not be negative, got {adaptation}")
    config, network = load_network(run)
    config = replace(config, adaptation=adaptation, test=test or config.test)
    network.config = config
    clips = scored_clips(config, network.frame)
    found = scored(config, network, [tensors_of(clip, config) for clip in clips])
    if not len(found["network"][0]):
        raise DataError(
            f"{config.test or config.data}: in no frame between {config.least_hidden:g} and "
            f"{config.most_hidden:g} of the object is hidden; nothing can be scored"
        )
    document: dict[str, Any] = {
        "command": command, "hardware": hardware(), "data": config.test or config.data,
        "clips": len(clips), "adaptation": adaptation, "seed": config.seed,
        "scores": {
            name: {
                "whole": bootstrap_interval(whole).as_dict(),
                "hidden": bootstrap_interval(hidden).as_dict(),
            }
            for name, (whole, hidden) in found.items()
        },
    }  # fmt: skip
    write_json(run / "evaluation.json", document)
    print(f"{len(found['network'][0])} frames of {len(clips)} clips")
    print(f"{'':12}{'whole':>24}{'hidden part':>24}")
    for name, (whole, hidden) in found.items():
        columns = [_said(bootstrap_interval(v).as_dict()) for v in (whole, hidden)]
        print(f"{name:12}{columns[0]:>24}{columns[1]:>24}")
    print(f"report: {write_report(run)}")
    return document


def _said(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def scored(
    config: VideoConfig, network: AmodalNetwork, clips: list[Clip]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """IoU of each scored frame, whole and hidden, of the network and of the controls."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    with Progress("scoring clips", len(clips)) as progress:
        for clip in clips:
            masks: dict[str, Tensor] = {
                "network": completed(network, clip)[0],
                "visible": clip.visible > 0.5,
                "carried": carried_view(clip),
            }
            for name, mask in masks.items():
                part = scores(mask, clip, config.least_hidden, config.most_hidden)
                found.setdefault(name, []).append(part)
            progress.add()
    return {
        name: (np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
        for name, parts in found.items()
    }
