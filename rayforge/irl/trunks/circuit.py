"""The circuit trunk: sparsely wired modules read the states so far and the words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.circuits.circuit import Circuit, Tokens
from rayforge.circuits.generator import Design, Generator
from rayforge.circuits.modules import ModFC
from rayforge.irl.config import NetworkConfig
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions, LockedDropout
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation
from rayforge.paths.tree import Levels

WINDOW = 32
"""States that a circuit looks back at. Paths in graphs are shorter."""


def state_size(config: NetworkConfig) -> int:
    """Numbers of a module's state: about three quarters of the hidden size."""
    heads = config.circuit.heads
    return max(1, config.hidden * 3 // 4 // heads) * heads


class CircuitTrunk(nn.Module):
    """Codes [B, T, H] of what was seen, done and read (designed here).

    In each state the modules begin from what is seen now, look at the states so far and at the
    words, propagate along the wiring, and the output modules are read. Nothing is kept from step to
    step but what was seen. Where the circuit is conditioned, the instruction's words make it.
    """

    def __init__(self, dimension: int, config: NetworkConfig, inner: int) -> None:
        """`inner` is the width of the modules' feed-forward layers."""
        super().__init__()
        hidden, size = config.hidden, state_size(config)
        self.dropout = LockedDropout(config.dropout)
        self.look = nn.Linear(SECTORS * dimension + GEOMETRY, hidden)
        self.age = nn.Parameter(0.1 * torch.randn(WINDOW, hidden))
        self.generator = Generator(
            config.circuit, size, hidden if config.trunk == "circuit-conditioned" else 0
        )
        self.now = ModFC(config.circuit.code, hidden, size)
        self.circuit = Circuit(config.circuit, size, hidden, inner)
        self.norm = nn.LayerNorm(size)
        self.join = nn.Linear(size, hidden)

    def forward(self, seen: Observation, instructions: Instructions, lengths: Tensor) -> Tensor:
        """Codes of whole paths; `lengths` [B] counts the real states of each."""
        looks = self._look(seen)
        steps = looks.shape[1]
        width = min(WINDOW, steps)
        # [B, T, W, H], from each state back.
        near = F.pad(looks, (0, 0, width - 1, 0)).unfold(1, width, 1).flip(-1).transpose(2, 3)
        step = torch.arange(steps, device=looks.device)
        there = step[:width] <= step[:, None]
        return self._codes(near, there.expand(len(looks), -1, -1), instructions)

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        """Codes [B, 1, H] of one further state (T = 1) and the memory to go on with: what was seen
        last [B, W, H], the newest first, and which of it is real, bool [B, W]."""
        looks = self._look(seen)
        there = torch.ones(len(looks), 1, dtype=torch.bool, device=looks.device)
        near = looks
        if memory is not None:
            near = torch.cat([looks, memory[0]], 1)[:, :WINDOW]
            there = torch.cat([there, memory[1]], 1)[:, :WINDOW]
        return self._codes(near[:, None], there[:, None], instructions), (near, there)

    def recall(self, seen: Observation, levels: Levels) -> Tensor:
        """What of the codes of trees of states is the same for every instruction, [G, N, H]."""
        return self._look(seen)

    def read_tree(self, recalled: Tensor, instructions: Instructions, levels: Levels) -> Tensor:
        """Codes [G, N, H] of trees that were recalled, under an instruction each: those of
        `forward` along every path."""
        places, there = levels.lines(WINDOW)
        group = torch.arange(len(places), device=places.device)[:, None, None]
        return self._codes(recalled[group, places], there, instructions)

    def prior_loss(self, instructions: Instructions) -> Tensor:
        """How far the wiring of the circuits is from the prior, weighed as configured."""
        return self.circuit.prior_loss(self.design(instructions))

    def design(self, instructions: Instructions) -> Design:
        """The circuit; where it is conditioned, that of each instruction."""
        found: Design = self.generator(*instructions)
        return found

    def _codes(self, near: Tensor, there: Tensor, instructions: Instructions) -> Tensor:
        design = self.design(instructions)
        code = design.code[:, : self.circuit.config.modules]
        given = self.now(near[:, :, :1], code)
        near = near + self.age[: near.shape[2]]
        codes = self.circuit(design, Tokens(near, there, *instructions), given)
        found: Tensor = self.dropout(self.join(self.norm(codes)).tanh())
        return found

    def _look(self, seen: Observation) -> Tensor:
        found: Tensor = self.dropout(self.look(torch.cat([seen.state, seen.arrival], -1)).relu())
        return found
