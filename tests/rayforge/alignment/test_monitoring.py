"""Figures of a round with known answers, and the alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rayforge.alignment.monitoring import (
    RoundFigures,
    alarms,
    distinct_bigrams,
    divergence_per_token,
    length_gap,
    margin_figures,
    overlap,
    pair_accuracy,
    unmoved,
)


def test_known_figures() -> None:
    assert pair_accuracy(np.array([1.0, -1.0, 0.0, 2.0])) == 0.625
    assert margin_figures(np.arange(11.0)) == {
        "margin": 5.0, "margin_q10": 1.0, "margin_q50": 5.0, "margin_q90": 9.0,
    }  # fmt: skip
    assert overlap(np.array([1, 2, 3]), np.array([2, 3, 4])) == 0.5
    assert overlap(np.zeros(0), np.zeros(0)) == 1.0
    assert length_gap(np.array([5, 7]), np.array([3, 8])) == 0.5
    assert distinct_bigrams([(1, 2, 1, 2), (1, 2), (3,), ()]) == 2 / 4
    assert distinct_bigrams(["abab"]) == 2 / 3


def test_divergence_of_known_distributions() -> None:
    """Tokens from (0.7, 0.3) against (0.5, 0.5), responses of any length: KL a token is known."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 9, 20_000)
    heads = generator.binomial(tokens, 0.7)
    policy = heads * math.log(0.7) + (tokens - heads) * math.log(0.3)
    reference = tokens * math.log(0.5)
    expected = 0.7 * math.log(1.4) + 0.3 * math.log(0.6)
    assert divergence_per_token(policy, reference, tokens) == pytest.approx(expected, abs=0.004)


def test_nothing_to_measure_is_nan() -> None:
    nothing = np.zeros(0)
    assert math.isnan(pair_accuracy(nothing))
    assert math.isnan(length_gap(nothing, nothing))
    assert math.isnan(distinct_bigrams([(1,)]))
    assert math.isnan(divergence_per_token(nothing, nothing, nothing))
    assert all(math.isnan(value) for value in margin_figures(nothing).values())


def test_alarms() -> None:
    def figures(margin: float, accuracy: float, gap: float) -> RoundFigures:
        return RoundFigures(margin, accuracy, gap)

    calm = [figures(1, 0.6, 0), figures(2, 0.7, 1), figures(3, 0.7, 1)]
    assert alarms([]) == []
    assert alarms(calm[:1]) == []
    assert alarms(calm) == []
    surer = [*calm, figures(4, 0.6, 0)]
    assert len(alarms(surer)) == 1
    assert "margin rose from 3 to 4 while the accuracy fell from 0.700 to 0.600" in alarms(surer)[0]
    longer = [figures(1, 0.6, 0), figures(1, 0.7, 1.5), figures(1, 0.7, 4)]
    assert len(alarms(longer)) == 1
    assert "0, 1.5, 4 tokens more" in alarms(longer)[0]
    assert alarms(longer[1:]) == [], "one rise alone raises no alarm"


def test_a_loss_that_stays_where_it_began_is_told_from_one_that_moved() -> None:
    start = math.log(2)
    small = [start, 0.6929, 0.6927, 0.6926, 0.6925, 0.6924]  # surely lower, but by next to nothing
    found = unmoved(small, start)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(small[3:]))
    assert unmoved([start, start, start, start], start) is not None
    assert unmoved([0.9, 0.6, 0.69, 0.70, 0.68, 0.70], start) is not None  # within its interval
    assert unmoved([start, 0.69, 0.60, 0.55], start) is None
    assert unmoved([0.9, 0.2, 0.3, 0.95], start) is None  # wide, and its mean is far away
    assert unmoved([start], start) is None
