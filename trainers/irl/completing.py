"""The network that completes the mask of the object an instruction names, as an agent uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from envs.houses.lexicon import THINGS
from rayforge.amodal.config import AmodalConfig
from rayforge.amodal.network import AmodalNetwork
from rayforge.errors import ConfigurationError, RunError
from rayforge.irl.completion import Completion, Phrase
from rayforge.language.vocabulary import UNKNOWN, Vocabulary, words_of
from trainers.configuration import from_dict
from trainers.irl.config import IRLConfig
from trainers.runs.checkpoint import latest, load_module

BOUNDS = ("floor", "ceiling")
"""Categories that never hide anything: they bound a room."""


def read_completion(
    config: IRLConfig, vocabulary: Vocabulary, objects: Sequence[str]
) -> Completion | None:
    """What `network.completed_mask` names; None where it names nothing. Raises as
    `completing_network`."""
    if not config.network.completed_mask:
        return None
    network = completing_network(config)
    bounds = [k + 1 for k, name in enumerate(objects) if name in BOUNDS]
    return Completion(
        network, phrases_of(objects, vocabulary), bounds,
        config.simulation.camera.field_of_view, config.simulation.motion.forward,
    )  # fmt: skip


def completing_network(config: IRLConfig) -> AmodalNetwork:
    """The network of the run that `network.completed_mask` names.

    Raises RunError where the folder holds no trained network of `rayforge amodal`, and
    ConfigurationError where that one takes images of another size.
    """
    run = Path(config.network.completed_mask)
    path = latest(run / "checkpoints")
    if path is None:
        raise RunError(f"network.completed_mask: {run} is no run with a checkpoint")
    weights, state = load_module(path)
    if "height" not in state or "width" not in state:
        raise RunError(f"network.completed_mask: {run} is no run of `rayforge amodal train`")
    camera = config.simulation.camera
    size = int(state["height"]), int(state["width"])
    if size != (camera.height, camera.width):
        raise ConfigurationError(
            f"network.completed_mask: {run} takes images of {size[1]} x {size[0]} pixels, and "
            f"simulation.camera makes {camera.width} x {camera.height}: train one with --side "
            f"{camera.width}"
        )
    names = {f.name for f in fields(AmodalConfig)}
    own = {name: value for name, value in state["config"].items() if name in names}
    network = AmodalNetwork(from_dict(AmodalConfig, own), *size)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network


def phrases_of(objects: Sequence[str], vocabulary: Vocabulary) -> list[Phrase]:
    """What instructions call the categories `objects` (numbered from 1), in words that the agent
    knows. What bounds a room is no object."""
    meant: dict[tuple[int, ...], list[int]] = {}
    for number, name in enumerate(objects, 1):
        if name in (*BOUNDS, "wall"):
            continue
        for words in {name.replace("#", " "), *THINGS.get(name, ()),
                      *THINGS.get(name.replace(" ", "#"), ())}:  # fmt: skip
            found, _ = vocabulary.encode([words], len(words_of(words)) + 1)
            tokens = tuple(int(t) for t in found[0][:-1])
            if tokens and UNKNOWN not in tokens:
                meant.setdefault(tokens, []).append(number)
    return [Phrase(tokens, tuple(sorted(set(own)))) for tokens, own in sorted(meant.items())]
