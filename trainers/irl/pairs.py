"""Which pairs of path and sentence an update of each method sees, and what for."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayforge.irl.replay import Replay
from rayforge.paths.arrays import Padded, join_paths
from trainers.irl.config import IRLConfig
from trainers.irl.learner import Role
from trainers.irl.task import Demonstrations

Parts = list[tuple[Any, Role]]


def pairs_of_update(
    irl: IRLConfig, demonstrations: Demonstrations, told: Replay, relabelled: Replay,
    goals: Padded, improve: bool, rng: np.random.Generator,
) -> Parts:  # fmt: skip
    """The parts of one update's batch, each with its role.

    Args:
        told: roll-outs with the sentence they were told.
        relabelled: roll-outs with the sentence that the generator wrote for them.
        goals: this round's expert paths with the sentences their roll-outs were told.
        improve: whether the critics move the policy yet.
    """
    reinforce = Role.REINFORCE | Role.IMPROVE if improve else Role.REINFORCE

    def expert(role: Role) -> tuple[Any, Role]:
        return demonstrations.paths[rng.integers(len(demonstrations), size=irl.positives)], role

    if irl.reward_from:  # starts and sentences alone: the frozen reward judges what was done
        return [(told.sample(irl.negatives + irl.positives, rng, irl.recent), reinforce)]
    # Images are kept as long as roll-outs, and sentences that were rejected are not in here.
    window = min(irl.recent, told.capacity)
    described = relabelled.since(int(told.serial.max()) + 1 - window)
    if irl.method == "hindsight":
        parts = [expert(Role.CLONE)]
        if described:
            parts.append((relabelled.sample(irl.negatives, rng, described), Role.CLONE))
        return parts

    rolled_out = (told.sample(irl.negatives, rng, irl.recent), Role.NEGATIVE | reinforce)
    if irl.method == "langgoal":
        # P = expert pairs as told (some rephrased) and relabelled roll-outs; N = roll-outs as told.
        # All of them reinforce, each under its own goal. The anchor imitates original pairs: a
        # paraphrase may have lost the route.
        as_told = goals[rng.integers(len(goals), size=irl.positives)]
        parts = [(as_told, Role.POSITIVE | reinforce), rolled_out]
        if described:
            own = relabelled.sample(irl.positives, rng, described)
            parts.append((own, Role.POSITIVE | reinforce))
    elif irl.method == "gail":
        parts = [expert(Role.POSITIVE | reinforce), rolled_out]
    else:  # completion: critics and policy learn from what the agent did, not from the expert's
        parts = [expert(Role.POSITIVE), rolled_out]
    if irl.mismatched_negatives:
        rows = rng.integers(len(demonstrations), size=irl.negatives // 2)
        parts.append((mismatched(demonstrations, rows, rng), Role.NEGATIVE))
    if irl.imitation_weight:
        parts.append(expert(Role.CLONE))
    return parts


def mismatched(
    demonstrations: Demonstrations, rows: np.ndarray, rng: np.random.Generator
) -> Padded:
    """Expert paths `rows` with the sentence of another path of the same building; rows for which
    the same path was drawn are left out."""
    paths, scan = demonstrations.paths, demonstrations.building
    order = np.argsort(scan, kind="stable")
    first = np.searchsorted(scan[order], scan[rows], side="left")
    last = np.searchsorted(scan[order], scan[rows], side="right")
    other = order[first + (rng.random(len(rows)) * (last - first)).astype(np.int64)]
    same = demonstrations.route[rows] == demonstrations.route[other]
    found: Padded = paths[rows[~same]].with_tokens(paths.tokens[other[~same]])
    return found


def forced_pairs(
    irl: IRLConfig, demonstrations: Demonstrations, rolled_out: Any, advice: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Any, np.ndarray]:  # fmt: skip
    """Teacher forcing (expert pairs) and student forcing (the agent's own states, with what the
    shortest path would do there) in one batch: paths, and the actions to imitate, int8 [B, T].

    `advice` [n, T] belongs to `rolled_out` (Anderson et al. 2018; mixed as in Li et al. 2019).
    """
    expert = demonstrations.paths[rng.integers(len(demonstrations), size=irl.positives)]
    rows = rng.integers(len(rolled_out), size=irl.negatives)
    advised = type(rolled_out)(**{**rolled_out.arrays(), "action": advice})
    return (
        join_paths([expert, rolled_out[rows]]),
        join_paths([expert, advised[rows]]).action,
    )
