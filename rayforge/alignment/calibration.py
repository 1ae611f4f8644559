"""What a score says in probabilities, learnt from labels of which some are flipped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression


@dataclass(frozen=True)
class Calibration:
    """P(good | score), a rising function: linear between its knots, flat outside them."""

    score: np.ndarray
    """Float64 [k], rising."""
    probability: np.ndarray
    """Float64 [k], not falling, in [0, 1]."""

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Float64, as `scores`."""
        found: np.ndarray = np.interp(scores, self.score, self.probability)
        return found


def calibrate(scores: np.ndarray, good: np.ndarray, flip_rate: float = 0.0) -> Calibration:
    """P(good | score) by isotonic regression (Ayer et al. 1955: pool adjacent violators).

    `scores` float [n], `good` bool [n]: what labels say, of which a share `flip_rate` e, in
    [0, 0.5), is flipped whatever the score. Labels then say "good" with probability
    e + (1 - 2 e) P(good | score), which is what is fitted and solved for P (clipped to [0, 1]).
    Equal scores count as one, and 1 is added to n in the outermost knots' denominators, so that a
    few points at an end do not claim certainty (designed here).

    Raises ValueError for lengths that differ, no score, one that is not finite, or a rate out of
    range.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(good, np.float64)
    if s.ndim != 1 or s.shape != y.shape or not len(s):
        raise ValueError(f"scores and labels must be equally many, got {s.shape} and {y.shape}")
    if not np.isfinite(s).all():
        raise ValueError(f"score {int(np.flatnonzero(~np.isfinite(s))[0])} is not finite")
    if not 0 <= flip_rate < 0.5:
        raise ValueError(f"the flip rate must be in [0, 0.5), got {flip_rate}")
    knots, place, count = np.unique(s, return_inverse=True, return_counts=True)
    share = np.bincount(place, y) / count
    fitted = isotonic_regression(share, weights=count)
    value = np.asarray(fitted.x, np.float64)
    # Blocks of pooled scores: of each, how many labels it rests on.
    blocks = np.asarray(fitted.blocks)
    size = np.add.reduceat(count, blocks[:-1])
    at = np.repeat(np.arange(len(size)), np.diff(blocks))
    value = (value * size[at] + 0.5) / (size[at] + 1)
    value = np.maximum.accumulate(value)
    probability = np.clip((value - flip_rate) / (1 - 2 * flip_rate), 0.0, 1.0)
    return Calibration(knots, probability)


def told_apart(winner: np.ndarray, loser: np.ndarray) -> np.ndarray:
    """P(the winner is good and the loser is not) of calibrated probabilities [n], float64 [n],
    each side judged by itself."""
    found: np.ndarray = np.asarray(winner, np.float64) * (1 - np.asarray(loser, np.float64))
    return found
