"""Scores as probabilities, with and without flipped labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayforge.alignment.calibration import calibrate, told_apart


def drawn(n: int, flips: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true P(good) is the logistic function, and labels."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, n)
    good = rng.random(n) < 1 / (1 + np.exp(-scores))
    return scores, good ^ (rng.random(n) < flips)


@pytest.mark.parametrize("flips", [0.0, 0.2, 0.4])
def test_the_truth_is_found_through_flipped_labels(flips: float) -> None:
    scores, labels = drawn(60_000, flips)
    found = calibrate(scores, labels, flips)
    at = np.linspace(-2.5, 2.5, 11)
    assert found(at) == pytest.approx(1 / (1 + np.exp(-at)), abs=0.06 if flips < 0.4 else 0.15)


def test_two_levels_are_their_shares() -> None:
    scores = np.repeat([0.0, 1.0], 100)
    labels = np.concatenate([np.arange(100) < 30, np.arange(100) < 90])
    found = calibrate(scores, labels)
    assert found.score.tolist() == [0.0, 1.0]
    assert found.probability == pytest.approx([30.5 / 101, 90.5 / 101])
    assert found(np.array([-5.0, 0.5, 5.0])) == pytest.approx(
        [30.5 / 101, (30.5 + 90.5) / 202, 90.5 / 101]
    )


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=60))
def test_it_never_falls_and_stays_a_probability(points: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(side) for side in zip(*points, strict=True))
    for flips in (0.0, 0.3):
        found = calibrate(scores.astype(float), labels, flips)
        assert (np.diff(found.probability) >= 0).all()
        assert (found.probability >= 0).all() and (found.probability <= 1).all()


def test_told_apart_is_both_at_once() -> None:
    assert told_apart(np.array([1.0, 0.9, 0.9]), np.array([0.0, 0.1, 0.9])) == pytest.approx(
        [1.0, 0.81, 0.09]
    )


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        calibrate(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="score 1 is not finite"):
        calibrate(np.array([0.0, np.inf]), np.array([True, False]))
    with pytest.raises(ValueError, match="flip rate"):
        calibrate(np.zeros(2), np.zeros(2), 0.5)
