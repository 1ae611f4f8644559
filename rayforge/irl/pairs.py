"""Pairs of trajectory and instruction: which of them an update of each method sees, and what for.

A batch of pairs is a dictionary of tensors: the columns of `Paths` or `Walks` that the observer
reads, and `role` int64 [B], the `Role`s of each pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rayforge.irl.config import AgentConfig
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.replay import Replay
from rayforge.paths.arrays import Padded, join_paths
from rayforge.paths.observation import Observation

Parts = list[tuple[Any, "Role"]]


class Role(IntFlag):
    """What a pair of trajectory and instruction is used for in an update."""

    DESCRIBE = 1  # the goal generator learns to write the instruction
    CLONE = 2  # the policy imitates the trajectory
    POSITIVE = 4  # the discriminator takes it as the expert's
    NEGATIVE = 8  # the discriminator takes it as not the expert's
    REINFORCE = 16  # the critics learn from it under the current reward
    IMPROVE = 32  # the policy learns from the critics in its states


@dataclass(frozen=True)
class Pairs:
    """B pairs of an update, and what is seen along their trajectories of at most T actions."""

    seen: Observation
    columns: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.length)

    @property
    def tokens(self) -> Tensor:
        return self.columns["tokens"]

    @property
    def length(self) -> Tensor:
        return self.columns["length"]

    @property
    def action(self) -> Tensor:
        return self.columns["action"]

    def rows(self, roles: Role) -> Tensor:
        """Which of them have one of the roles, int64 [n]."""
        return ((self.columns["role"] & roles) > 0).nonzero().squeeze(1)

    def take(self, rows: Tensor) -> Pairs:
        if len(rows) == len(self):
            return self
        columns = {name: column.index_select(0, rows) for name, column in self.columns.items()}
        return Pairs(self.seen.take(rows), columns)

    def having(self, roles: Role) -> Pairs:
        """Those that have one of the roles."""
        return self.take(self.rows(roles))

    def detach(self) -> Pairs:
        return Pairs(self.seen.detach(), self.columns)

    def weight(self, role: Role) -> Tensor:
        """1 in the steps of those with the role, else 0, [B, T]."""
        steps = torch.arange(self.action.shape[1], device=self.action.device)
        has = (self.columns["role"] & role) > 0
        return ((steps < self.length[:, None]) & has[:, None]).float()

    @property
    def done(self) -> Tensor:
        """1 in the last step of each, its STOP, [B, T]."""
        steps = torch.arange(self.action.shape[1], device=self.action.device)
        return (steps == self.length[:, None] - 1).float()

    def taken(self, values: Tensor) -> Tensor:
        """[B, T, A] -> of the actions taken, [B, T]."""
        return values.gather(-1, self.action[..., None]).squeeze(-1)

    @property
    def target(self) -> Tensor:
        """What is imitated, [B, T]: what was done, unless a teacher says what should have been."""
        return self.columns.get("target", self.action)

    def targeted(self, values: Tensor) -> Tensor:
        """[B, T, A] -> of the actions to imitate, [B, T]."""
        return values.gather(-1, self.target[..., None]).squeeze(-1)


def path_batch(paths: Padded) -> dict[str, np.ndarray]:
    """Paths as the columns of a batch without needless padding: what they hold in integers, as
    int64. (Poses are for the simulator and for scoring.)"""
    return {
        name: array.astype(np.int64)
        for name, array in paths.trimmed().arrays().items()
        if np.issubdtype(array.dtype, np.integer)
    }


def pair_batch(paths: Padded, role: np.ndarray, target: np.ndarray | None = None) -> dict[str, Any]:
    """The columns of one update's batch, int64: paths, their roles [B], and `target` [B, T], what
    is imitated where that is not what was done."""
    columns = path_batch(paths)
    columns["role"] = role
    if target is not None:
        columns["target"] = target[:, : columns["action"].shape[1]].astype(np.int64)
    return columns


def join_parts(parts: Sequence[tuple[Any, Role]]) -> tuple[Any, np.ndarray]:
    """The parts of a batch as one: paths, and the roles of each, int64 [B]."""
    role = np.concatenate([np.full(len(paths), int(role)) for paths, role in parts])
    return join_paths([paths for paths, _ in parts]), role


def pairs_of_update(
    config: AgentConfig, demonstrations: Demonstrations, negatives: Replay[Any],
    positives: Replay[Any],
    goals: Padded, improve: bool, rng: np.random.Generator,
) -> Parts:  # fmt: skip
    """The parts of one update's batch, each with its roles.

    Args:
        negatives: roll-outs with the instruction they were told.
        positives: roll-outs with the instruction that the generator wrote for them.
        goals: this round's expert paths with the instructions their roll-outs were told.
        improve: whether the critics move the policy yet.
    """
    reinforce = Role.REINFORCE | Role.IMPROVE if improve else Role.REINFORCE

    def expert(role: Role) -> tuple[Any, Role]:
        rows = rng.integers(len(demonstrations), size=config.positives)
        return demonstrations.paths[rows], role

    if config.reward_from:  # starts and instructions alone: the frozen reward judges what was done
        own = negatives.sample(config.negatives + config.positives, rng, config.replay_window)
        return [(own, reinforce)]
    # Images are kept as long as roll-outs, and instructions that were rejected are not in here.
    window = min(config.replay_window, negatives.capacity)
    described = positives.since(int(negatives.serial.max()) + 1 - window)
    if config.method == "hindsight":
        parts = [expert(Role.CLONE)]
        if described:
            parts.append((positives.sample(config.negatives, rng, described), Role.CLONE))
        return parts

    rolled_out = (
        negatives.sample(config.negatives, rng, config.replay_window),
        Role.NEGATIVE | reinforce,
    )
    if config.method == "langgoal":
        # P = expert pairs as told (some rephrased) and relabelled roll-outs; N = roll-outs as told.
        # All of them reinforce, each under its own goal. The anchor imitates original pairs: a
        # paraphrase may have lost the route.
        as_told = goals[rng.integers(len(goals), size=config.positives)]
        parts = [(as_told, Role.POSITIVE | reinforce), rolled_out]
        if described:
            own = positives.sample(config.positives, rng, described)
            parts.append((own, Role.POSITIVE | reinforce))
    elif config.method == "gail":
        parts = [expert(Role.POSITIVE | reinforce), rolled_out]
    else:  # completion: critics and policy learn from what the agent did, not from the expert's
        parts = [expert(Role.POSITIVE), rolled_out]
    if config.mismatched_negatives:
        rows = rng.integers(len(demonstrations), size=config.negatives // 2)
        parts.append((mismatched(demonstrations, rows, rng), Role.NEGATIVE))
    if config.imitation_weight:
        parts.append(expert(Role.CLONE))
    return parts


def mismatched(
    demonstrations: Demonstrations, rows: np.ndarray, rng: np.random.Generator
) -> Padded:
    """Expert paths `rows` with the instruction of another path of the same building; rows for which
    the same path was drawn are left out."""
    paths, building = demonstrations.paths, demonstrations.building
    order = np.argsort(building, kind="stable")
    first = np.searchsorted(building[order], building[rows], side="left")
    last = np.searchsorted(building[order], building[rows], side="right")
    other = order[first + (rng.random(len(rows)) * (last - first)).astype(np.int64)]
    same = demonstrations.route[rows] == demonstrations.route[other]
    found: Padded = paths[rows[~same]].with_tokens(paths.tokens[other[~same]])
    return found


def forced_pairs(
    config: AgentConfig, demonstrations: Demonstrations, rolled_out: Any, advice: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Any, np.ndarray]:  # fmt: skip
    """Teacher forcing (expert pairs) and student forcing (the agent's own states, with what the
    shortest path would do there) in one batch: paths, and the actions to imitate, int8 [B, T].

    `advice` [n, T] belongs to `rolled_out` (Anderson et al. 2018; mixed as in Li et al. 2019).
    """
    expert = demonstrations.paths[rng.integers(len(demonstrations), size=config.positives)]
    rows = rng.integers(len(rolled_out), size=config.negatives)
    advised = type(rolled_out)(**{**rolled_out.arrays(), "action": advice})
    return (
        join_paths([expert, rolled_out[rows]]),
        join_paths([expert, advised[rows]]).action,
    )
