"""Pairs told apart, rank correlation, divergence: known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rayforge.evaluation.reward_analysis import divergence, rank_correlation, told_apart


def test_pairs_told_apart_count_ties_half() -> None:
    found = told_apart(np.array([2.0, 0.0, 1.0, 5.0]), np.array([1.0, 1.0, 1.0, -5.0]))
    assert found.mean == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert found.low < found.mean < found.high
    with pytest.raises(ValueError, match="two halves"):
        told_apart(np.zeros(3), np.zeros(2))


def test_rank_correlation_of_known_values() -> None:
    a = np.arange(10.0)
    assert rank_correlation(a, a**3).mean == pytest.approx(1.0)
    assert rank_correlation(a, -a).mean == pytest.approx(-1.0)
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = 0.8.
    found = rank_correlation(np.array([1.0, 2, 3, 4, 5]), np.array([20.0, 10, 40, 30, 50]))
    assert found.mean == pytest.approx(0.8)
    half = 1.96 * math.sqrt((1 + 0.32) / 2)
    assert found.high == pytest.approx(math.tanh(math.atanh(0.8) + half))
    assert math.isnan(rank_correlation(a, np.ones(10)).mean), "nothing varies"


def test_the_interval_of_a_correlation_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        a = rng.normal(size=60)
        found = rank_correlation(a, rng.normal(size=60))
        covered += found.low <= 0.0 <= found.high
    assert covered > 180


def test_divergence_leaves_illegal_actions_out() -> None:
    p, q = np.log([0.5, 0.5, 1.0]), np.log([0.25, 0.75, 1.0])
    legal = np.array([True, True, False])
    expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    assert float(divergence(p, q, legal)) == pytest.approx(expected)
    assert float(divergence(p, p, legal)) == 0.0
