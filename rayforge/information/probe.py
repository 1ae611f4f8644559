"""The trace of the Fisher information of any network that decides, on a frozen set of inputs.

A probe is a list of batches. Each is a function that runs the network over the same inputs and
returns its decisions. Labels are drawn from those decisions, never from data. The inputs must not
depend on the labels: states along given trajectories, tokens of given texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rayforge.information.fisher import at_temperature, uncertainty

Forward = Callable[[], tuple[Tensor, Tensor | None]]
"""Logits [n, K] of n decisions, and which choices there are, bool [n, K] (None: all)."""


@dataclass(frozen=True)
class Trace:
    """The trace a decision, one estimate a batch; means over batches are unbiased."""

    modules: dict[str, Tensor]
    """[batches] by module; their sum is `total`."""
    total: Tensor
    fixed: Tensor
    """The trace of the same network with every decision's logits at one temperature, [batches]:
    what is left of it when confidence is taken off. NaN where it was not asked for."""
    uncertainty: float
    """Mean p(1 - p) over choices and decisions: it falls to 0 as the network grows confident."""
    decisions: int
    choices: float
    """Mean number of choices that a decision has."""
    diagonal: dict[str, Tensor]
    """The diagonal of the matrix by parameter, a decision; empty where it was not asked for."""


def measure(
    parameters: Mapping[str, nn.Parameter], batches: Sequence[Forward], *, seed: int = 0,
    depth: int = 1, fixed: bool = True, diagonal: bool = False,
) -> Trace:  # fmt: skip
    """The trace by the batch trick, with labels drawn from the network.

    Args:
        parameters: parameters by name; those that had no part count 0.
        batches: the probe. The network must be in evaluation mode; nothing of it changes, and no
            global random number is drawn.
        seed: of the labels.
        depth: parts of a parameter's name that name its module.
        fixed: whether that trace is wanted, which costs a backward pass.
        diagonal: whether that is wanted, which costs memory.

    The scores of a batch's decisions have mean zero and are independent given the inputs, so the
    squared sum over B of them has B times the trace as its expectation, decisions of one trajectory
    or text included.
    """
    generator = torch.Generator().manual_seed(seed)
    names, values = list(parameters), list(parameters.values())
    modules: dict[str, list[Tensor]] = {}
    totals, fixed_totals = [], []
    p_one, kinds, count = 0.0, 0.0, 0
    sums: dict[str, Tensor] = {}
    for forward in batches:
        logits, legal = forward()
        if legal is not None:
            logits = logits.masked_fill(~legal, -torch.inf)
        decided = len(logits)
        if not decided:
            continue
        count += decided
        with torch.no_grad():
            p_one += float(uncertainty(logits, legal).sum())
            kinds += float(legal.sum() if legal is not None else logits.numel())
        squares = _scores(logits, values, generator, keep=fixed)
        own: dict[str, Tensor] = {}
        for name, square in zip(names, squares, strict=True):
            module = ".".join(name.split(".")[:depth])
            whole = square.sum() / decided
            own[module] = own[module] + whole if module in own else whole
            if diagonal:
                sums[name] = sums[name] + square if name in sums else square
        for module, value in own.items():
            modules.setdefault(module, []).append(value)
        totals.append(torch.stack(list(own.values())).sum())
        if fixed:
            tempered = _scores(at_temperature(logits), values, generator, keep=False)
            fixed_totals.append(torch.stack([s.sum() for s in tempered]).sum() / decided)
    if not count:
        raise ValueError("a probe holds no decision: give it inputs that leave a choice")
    return Trace(
        {name: torch.stack(found) for name, found in modules.items()}, torch.stack(totals),
        torch.stack(fixed_totals) if fixed else torch.full((len(totals),), torch.nan),
        p_one / count, count, kinds / count,
        {name: square / count for name, square in sums.items()},
    )  # fmt: skip


def _scores(
    logits: Tensor, values: Sequence[Tensor], generator: torch.Generator, *, keep: bool
) -> list[Tensor]:
    """Squared entries of the sum over a batch of grad log p(y), y drawn from the logits."""
    log_p = logits.log_softmax(-1)
    drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).to(logits.device)
    gradients = torch.autograd.grad(
        log_p.gather(1, drawn).sum(), list(values), retain_graph=keep, allow_unused=True
    )
    return [
        torch.zeros_like(v) if g is None else g.square()
        for g, v in zip(gradients, values, strict=True)
    ]
