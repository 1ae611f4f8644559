"""What a circuit is before it sees anything: signature, code and first state of every module.

Rahaman, Weiss et al. (NeurIPS 2022). Without a condition these are learnt numbers. With one, such
as the words of an instruction, they are those numbers moved by what each module reads of it: every
instruction gets a circuit of its own before the first step. The article's text-conditioned
generator is not in its code; the form here is designed for RayForge.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rayforge.circuits.config import CircuitConfig


class Design(NamedTuple):
    """A circuit: M modules, processors first and then outputs. N is 1 where all samples share
    it."""

    signature: Tensor  # [N, M, S]
    code: Tensor  # [N, M, C]
    state: Tensor  # [N, M, D]


class Generator(nn.Module):
    """Makes designs; `condition` is the size of the tokens that it reads, 0 where it reads none."""

    def __init__(self, config: CircuitConfig, size: int, condition: int = 0) -> None:
        super().__init__()
        count = config.modules + config.outputs
        self.signature = nn.Parameter(torch.randn(count, config.signature))
        self.code = nn.Parameter(torch.randn(count, config.code))
        self.state = nn.Parameter(0.02 * torch.randn(count, size))
        self.condition = condition
        if condition:
            self.ask = nn.Linear(config.code, condition, bias=False)
            self.move_signature = nn.Linear(condition, config.signature)
            self.move_code = nn.Linear(condition, config.code)
            for layer in (self.move_signature, self.move_code):
                # It begins near the circuit without a condition.
                nn.init.normal_(layer.weight, std=0.1 * condition**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor | None = None, mask: Tensor | None = None) -> Design:
        """Designs [N, ...] for conditions: tokens [N, T, condition], those in `mask` bool count."""
        state = self.state[None]
        if not self.condition:
            return Design(self.signature[None], self.code[None], state)
        if tokens is None or mask is None:
            raise ValueError("a conditioned circuit needs the tokens that it is made from")
        # Each module asks by its code; what it reads moves its code and its signature.
        scores = torch.einsum("uc,ntc->nut", self.ask(self.code), tokens) / self.condition**0.5
        shares = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        read = shares @ tokens
        return Design(
            self.signature + self.move_signature(read), self.code + self.move_code(read), state
        )


def weight_decay_groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameters of a network for an optimiser: no weight decay on signatures, codes, first states
    and on vectors (gains, biases, norms)."""
    free = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, Generator)
        for parameter in (module.signature, module.code, module.state)
    }
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in network.parameters():
        groups[parameter.ndim < 2 or id(parameter) in free].append(parameter)
    return [
        {"params": groups[0], "weight_decay": decay},
        {"params": groups[1], "weight_decay": 0.0},
    ]
