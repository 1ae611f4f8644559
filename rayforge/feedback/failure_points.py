"""Failure points: which stage of a chain failed first beyond repair (Khaziev et al., NAACL 2022).

The rule is the article's. Replaying with oracles, for an agent whose stages cannot be looked into,
is designed here: the failure point is the first stage whose oracle, with all before it, makes the
episode succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

CORRECT = "correct"
ASSISTANT = ("wake", "ASR", "NLU", "entity", "result")
"""The article's chain."""
STAGES = ("heard", "understood", "grounded", "progress", "action", "STOP")
"""A navigation agent's chain: the words arrive; they say what is meant; rooms are the right ones;
it knows when it has strayed; it moves on; it stops at the goal."""


def failure_point(
    errors: Sequence[bool], recovered: Sequence[bool], right: bool, in_scope: bool = True,
    stages: Sequence[str] = ASSISTANT,
) -> str:  # fmt: skip
    """The failure point of one turn.

    A right final action, or a request outside the abilities that is handled as designed, is
    correct. Else it is the first stage with an error that no later stage restored; "correct" where
    there is none.

    Args:
        errors: whether each stage made an error.
        recovered: whether a later stage restored its effect.
        right: whether the final action is right.
        in_scope: whether the assistant can do what was asked.

    Raises ValueError where the lists do not fit the stages.
    """
    if not len(errors) == len(recovered) == len(stages):
        raise ValueError(
            f"{len(stages)} stages need as many errors and recoveries: {len(errors)} and "
            f"{len(recovered)} given"
        )
    if right or not in_scope:
        return CORRECT
    for stage, error, restored in zip(stages, errors, recovered, strict=True):
        if error and not restored:
            return stage
    return CORRECT


def point_shares(errors: Sequence[float], recoveries: Sequence[float]) -> list[float]:
    """P(failure point = i) = e_i (1 - r_i) prod_{j<i} (1 - e_j (1 - r_j)) of independent stages,
    and P(correct) last."""
    found, left = [], 1.0
    for error, recovery in zip(errors, recoveries, strict=True):
        lost = error * (1 - recovery)
        found.append(lost * left)
        left *= 1 - lost
    return [*found, left]


def replay_points(succeeds: Callable[[int, np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """The failure points of `count` episodes by counterfactual replay, int [count]: a number of
    `STAGES`, or -1 where the episode succeeds without any oracle.

    Args:
        succeeds: (n, rows) -> bool [rows]: whether episodes succeed with the oracles of the first
            n stages. With all of them they always do.

    Only episodes that still fail are replayed with one oracle more.
    """
    found = np.full(count, len(STAGES) - 1)
    rows = np.arange(count)
    for oracles in range(len(STAGES)):
        if not len(rows):
            break
        good = succeeds(oracles, rows)
        found[rows[good]] = oracles - 1
        rows = rows[~good]
    return found


def macro_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """The mean F1 of the classes that occur in `truth`; int [n] each."""
    scores = []
    for one in range(classes):
        true, said = truth == one, predicted == one
        if true.any():
            both = float((true & said).sum())
            scores.append(2 * both / float(true.sum() + said.sum()))
    return float(np.mean(scores)) if scores else float("nan")


def human_ratio(model: float, human: float) -> float:
    """Percent of human: the model's score over the human's, against the same reference."""
    return 100 * model / human
