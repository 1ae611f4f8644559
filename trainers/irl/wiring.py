"""What a trained circuit is wired like, for the run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.circuits.layout import clusters, force_layout
from rayforge.circuits.wiring import reach
from rayforge.files import write_json
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig
from rayforge.irl.trunks.circuit import CircuitTrunk
from rayforge.language.encoder import Instructions
from trainers.irl.task import Task

WIRING = "wiring.json"
SHOWN = 6
"""Instructions whose circuits are shown."""


def is_circuit(config: AgentConfig) -> bool:
    return config.network.trunk in ("circuit", "circuit-conditioned")


@torch.no_grad()
def write_wiring(run: Path, agent: Agent, task: Task[Any]) -> None:
    """Write `wiring.json`: links, places and clusters of the policy's modules, and for instructions
    of a scored split which modules they lit.

    A module is lit by how much of it gets to an output along the instruction's wiring. Without a
    condition that is the same for all.
    """
    trunk = agent.eval().policy.trunk
    assert isinstance(trunk, CircuitTrunk)
    split = task.splits[next((s for s in task.splits if s != "train"), "train")]
    count = min(len(split), 256)
    rows = np.sort(np.random.default_rng(0).permutation(len(split))[:count])
    tokens = torch.from_numpy(split.paths.tokens[rows]).long()
    instructions = agent.policy.instruction_encoder(tokens)
    among, reading = _links(trunk, instructions)
    whole = _square(among.mean(0).numpy(), reading.mean(0).numpy())
    layers = trunk.circuit.config.layers
    instructions = []
    for row in range(min(SHOWN, count)):
        own = min(row, len(among) - 1)
        lit = reach(among[own], reading[own], layers)
        instructions.append(
            {
                "text": task.vocabulary.decode(split.paths.tokens[rows[row]]),
                "lit": [round(float(x), 4) for x in lit],
                "links": np.round(_square(among[own].numpy(), reading[own].numpy()), 3).tolist(),
            }
        )
    write_json(
        run / WIRING,
        {
            "modules": among.shape[-1], "outputs": reading.shape[1],
            "conditioned": bool(trunk.generator.condition),
            "links": np.round(whole, 3).tolist(), "clusters": clusters(whole).tolist(),
            "places": np.round(force_layout(whole), 4).tolist(), "instructions": instructions,
        },
    )  # fmt: skip


def _links(trunk: CircuitTrunk, instructions: Instructions) -> tuple[torch.Tensor, torch.Tensor]:
    return trunk.circuit.links(trunk.design(instructions), len(instructions.codes))


def _square(among: np.ndarray, reading: np.ndarray) -> np.ndarray:
    """Links [M, M] of all modules, processors first; outputs hear and are not heard."""
    count, outputs = len(among), len(reading)
    found = np.zeros((count + outputs, count + outputs))
    found[:count, :count], found[count:, :count] = among, reading
    return found
