"""Figures that say whether a learnt reward knows right from wrong."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from rayforge.evaluation.intervals import Interval, bootstrap_interval


def told_apart(right: np.ndarray, wrong: np.ndarray) -> Interval:
    """Share of pairs [n] whose right half scores higher than its wrong one, ties half; 0.5 is
    chance. Bootstrap interval over pairs. Raises ValueError if the two are not equally long."""
    first, second = np.asarray(right, np.float64), np.asarray(wrong, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs need two halves each: {first.shape} and {second.shape} scores")
    return bootstrap_interval((first > second) + 0.5 * (first == second))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> Interval:
    """Spearman's correlation of a and b [n] with its 95 % interval.

    The interval is Fisher's z with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of Bonett and
    Wright (2000); NaN for fewer than four values, and where one side does not vary at all.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"a correlation needs pairs of values: {first.shape} and {second.shape}")
    count = len(first)
    if count < 4 or not np.ptp(first) or not np.ptp(second):
        return Interval(math.nan, math.nan, math.nan, count)
    r = float(stats.spearmanr(first, second).statistic)
    z = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    half = 1.96 * math.sqrt((1 + r * r / 2) / (count - 3))
    return Interval(r, math.tanh(z - half), math.tanh(z + half), count)


def divergence(log_p: np.ndarray, log_q: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """KL(p || q) in nats of distributions over the legal actions, [..., A] -> [...]."""
    p = np.exp(np.asarray(log_p, np.float64)) * legal
    gap = np.where(legal, np.asarray(log_p, np.float64) - np.asarray(log_q, np.float64), 0.0)
    found: np.ndarray = (p * gap).sum(-1)
    return found
