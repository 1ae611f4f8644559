"""The information in a policy's weights on a frozen probe: while it trains, and afterwards.

The label is the action, drawn from the policy; the states are those of demonstrations, drawn once.
"""

from __future__ import annotations

from typing import Any

import torch

from rayforge.information.probe import Trace, measure
from rayforge.irl.agent import Agent
from rayforge.irl.decisions import Batch, batches_of, rows_for
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy

DECISIONS = 1_000
"""Of the probe while training, about."""
BATCHES = 10
"""Batches it is split into: each gives one estimate, and their spread the interval."""
PROBE_SEED = 0


def probe_of(
    policy: Policy, observer: Any, split: Demonstrations, decisions: int = DECISIONS,
    batches: int = BATCHES, seed: int = PROBE_SEED,
) -> list[Batch]:  # fmt: skip
    """The probe of a policy: about so many decisions along demonstrations, in so many batches."""
    rows = rows_for(split.paths, decisions, seed)
    return batches_of(policy, observer, split.paths, rows, max(1, -(-len(rows) // batches)))


def policy_trace(policy: Policy, probe: list[Batch], **how: Any) -> Trace:
    """`measure` of a policy in evaluation mode; its mode is put back afterwards."""
    training = policy.training
    policy.eval()
    try:
        # A policy that acts holds weights without gradients; they are asked for here alone.
        with torch.enable_grad():
            return measure(dict(policy.named_parameters()), probe, **how)
    finally:
        policy.train(training)


def information_figures(agent: Agent, split: Demonstrations) -> dict[str, float]:
    """The figures of `--information-every`: trace by module, its fixed form, p(1 - p)."""
    policy = agent.policy
    found = policy_trace(policy, probe_of(policy, agent.observer, split), depth=1)
    figures = {
        "information/trace": float(found.total.mean()),
        "information/trace_fixed": float(found.fixed.mean()),
        "information/uncertainty": found.uncertainty,
    }
    for name, values in found.modules.items():
        figures[f"information/{name}"] = float(values.mean())
    return figures
