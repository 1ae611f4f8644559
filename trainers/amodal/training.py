"""Training a network of amodal segmentation in a run folder, and taking it up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.amodal.learning import training
from rayforge.amodal.network import AmodalNetwork
from rayforge.errors import DataError, RunError
from trainers.amodal.config import VideoConfig
from trainers.amodal.data import tensors_of, training_clips
from trainers.configuration import from_dict, read_configuration, to_dict
from trainers.runs.checkpoint import latest, load_checkpoint, load_module, save_checkpoint
from trainers.runs.identity import check_settings


def train(config: VideoConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """Yields the mean loss of the updates before each report; a checkpoint is written before."""
    if config.threads:
        torch.set_num_threads(config.threads)
    clips = [tensors_of(clip, config) for clip in training_clips(config)]
    if config.loss.supervised and any(bool((c.truth == c.visible).all()) for c in clips):
        raise DataError(f"{config.data}: loss.supervised reads whole masks, and a clip has none")
    height, width = clips[0].frames.shape[-2:]
    torch.manual_seed(config.seed)
    network = AmodalNetwork(config, height, width)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    folder, done, loss = run / "checkpoints", 0, 0.0
    if (path := latest(folder)) is not None:
        saved = load_checkpoint(path)
        check_settings(from_dict(VideoConfig, saved.state["config"]), config, f"checkpoint {path}")
        network.load_state_dict({k: torch.from_numpy(v) for k, v in saved.module.items()})
        optimizer.load_state_dict(_tensors(saved.optimizers["network"]["state"]))
        torch.set_rng_state(torch.from_numpy(saved.random))
        done, loss = int(path.name), float(saved.state["loss"])
    last = reports.stop - 1
    for number in reports:
        goal = config.updates * number // last
        losses = list(
            training(network, optimizer, clips, done, goal - done, config.updates, config.seed)
        )
        if losses:  # else a kill came before anybody took notice of this report
            done, loss = goal, float(np.mean(losses))
        state = {"config": to_dict(config), "height": height, "width": width, "loss": loss}
        weights = {k: v.detach().numpy() for k, v in network.state_dict().items()}
        kept = {"network": {"module_id": "network", "state": optimizer.state_dict()}}
        save_checkpoint(folder, done, weights, kept, {}, state)
        yield {"updates": float(done), "loss": loss}


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state as torch takes it."""
    values = {
        number: {name: torch.as_tensor(value) for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {"state": values, "param_groups": state["param_groups"]}


def load_network(run: Path) -> tuple[VideoConfig, AmodalNetwork]:
    """The network of a run, with its newest weights.

    Raises ConfigurationError or RunError where the folder holds none.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} is not a run folder: it has no config.yaml")
    config = read_configuration(VideoConfig, run / "config.yaml")
    path = latest(run / "checkpoints")
    if path is None:
        raise RunError(f"{run} has no checkpoint yet; train it first")
    weights, state = load_module(path)
    network = AmodalNetwork(config, int(state["height"]), int(state["width"]))
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return config, network.eval()
