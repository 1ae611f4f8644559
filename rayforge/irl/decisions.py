"""A policy's decisions along given trajectories, and what was true of each.

The trajectories are frozen: states, instructions and legal actions do not depend on the policy.
What is measured there (information, calibration, task vectors) does not depend on who explored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rayforge.irl.networks import Policy
from rayforge.irl.pairs import path_batch

AT_ONCE = 64


@dataclass(frozen=True)
class Batch:
    """Trajectories that a policy runs over together; rows are sorted by length."""

    policy: Policy
    observer: Any
    columns: dict[str, Tensor]
    rows: np.ndarray
    """Which of the trajectories they are, int64 [B]."""

    def log_policy(self) -> tuple[Tensor, Tensor, Tensor]:
        """log pi [B, T, A], legal actions [B, T, A] and real states [B, T]."""
        seen = self.observer.observe_batch(self.columns, self.policy.image_encoder)
        instructions = self.policy.instruction_encoder(self.columns["tokens"])
        log_pi = self.policy(seen, instructions, self.columns["length"])
        steps = torch.arange(log_pi.shape[1])
        return log_pi, seen.legal, steps < self.columns["length"][:, None]

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Logits [n, A] and legal actions [n, A] of the states that leave a choice."""
        log_pi, legal, real = self.log_policy()
        chosen = real & (legal.sum(-1) > 1)
        return log_pi[chosen], legal[chosen]


def batches_of(
    policy: Policy, observer: Any, paths: Any, rows: np.ndarray, at_once: int = AT_ONCE
) -> list[Batch]:
    """Batches of trajectories `rows` of `paths`; the policy must be in evaluation mode."""
    order = rows[np.argsort(paths.length[rows], kind="stable")]
    parts = [order[start : start + at_once] for start in range(0, len(order), at_once)]
    return [
        Batch(
            policy, observer,
            {name: torch.from_numpy(v) for name, v in path_batch(paths[part]).items()}, part,
        )
        for part in parts
    ]  # fmt: skip


def rows_for(paths: Any, decisions: int, seed: int) -> np.ndarray:
    """Rows of `paths` drawn without replacement until they hold about `decisions` actions."""
    order = np.random.default_rng(seed).permutation(len(paths))
    enough = int(np.searchsorted(np.cumsum(paths.length[order]), decisions)) + 1
    return np.asarray(order[:enough])


@dataclass(frozen=True)
class Scored:
    """A policy on the expert's states of n trajectories, one value a real state, [m]."""

    row: np.ndarray
    """Which trajectory."""
    step: np.ndarray
    expert: np.ndarray
    """log pi of the expert's action, nats."""
    confidence: np.ndarray
    """Probability of the likeliest action."""
    correct: np.ndarray
    """Whether that is the expert's, bool."""
    stop: np.ndarray
    """Probability of STOP."""


@torch.inference_mode()
def score_decisions(policy: Policy, observer: Any, paths: Any, rows: np.ndarray) -> Scored:
    """How the policy does along trajectories `rows`, where the expert was (teacher forcing)."""
    parts: list[tuple[np.ndarray, ...]] = []
    for batch in batches_of(policy, observer, paths, rows, 128):
        log_pi, legal, real = batch.log_policy()
        pi = log_pi.exp() * legal
        best, action = pi.max(-1)
        taken = batch.columns["action"]
        expert = log_pi.gather(-1, taken[..., None]).squeeze(-1)
        row, step = np.nonzero(real.numpy())
        picked = tuple(
            value.numpy()[row, step] for value in (expert, best, action == taken, pi[..., 0])
        )
        parts.append((batch.rows[row], step, *picked))
    return Scored(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def parameters_of(policy: Policy, without: str = "") -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Parameters by name, but for those whose name begins with `without`."""
    for name, parameter in policy.named_parameters():
        if not without or not name.startswith(without):
            yield name, parameter
