"""The mixture that tells flipped labels: planted parameters, Bayes by hand, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.alignment.flips import FlipMixture, fit_flips, flip_posterior
from rayforge.evaluation.win_rate import area_under_curve


def planted(
    n: int, rate: float, mean: list[float], spread: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    flipped = rng.random(n) < rate
    x = rng.multivariate_normal(mean, spread, n)
    x[flipped] *= -1
    return x, flipped


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4])
def test_em_recovers_what_was_planted(rate: float) -> None:
    spread = np.array([[1.0, 0.3], [0.3, 0.5]])
    x, flipped = planted(20_000, rate, [1.5, 0.8], spread)
    found = fit_flips(x)
    assert found.rate == pytest.approx(rate, abs=0.02)
    assert found.mean == pytest.approx([1.5, 0.8], abs=0.05)
    assert found.covariance == pytest.approx(spread, abs=0.05)
    # Bayes: no other function of the evidence finds flips better than the planted one.
    best = FlipMixture(rate, np.array([1.5, 0.8]), spread, 0.0)
    own, planted_one = (area_under_curve(flip_posterior(x, m), flipped) for m in (found, best))
    assert own == pytest.approx(planted_one, abs=0.002)


def test_the_posterior_of_one_kind_is_bayes_by_hand() -> None:
    mixture = FlipMixture(0.2, np.array([1.0]), np.array([[1.0]]), 0.0)
    x = np.array([[0.0], [1.0], [-1.0]])
    right, wrong = np.exp(-0.5 * (x - 1) ** 2) * 0.8, np.exp(-0.5 * (x + 1) ** 2) * 0.2
    assert flip_posterior(x, mixture) == pytest.approx((wrong / (right + wrong))[:, 0])
    assert flip_posterior(x, mixture)[0] == pytest.approx(0.2)


def test_the_clean_case_of_the_specification() -> None:
    """N(1, 1) and N(-1, 1): the area under the curve is Phi(sqrt 2) = 0.9214."""
    x, flipped = planted(50_000, 0.2, [1.0], np.eye(1))
    posterior = flip_posterior(x, fit_flips(x))
    assert area_under_curve(posterior, flipped) == pytest.approx(0.9214, abs=0.005)


def test_two_witnesses_know_more_than_either() -> None:
    x, flipped = planted(20_000, 0.2, [1.0, 1.0], np.eye(2), seed=3)
    both = area_under_curve(flip_posterior(x, fit_flips(x)), flipped)
    alone = [area_under_curve(-x[:, k], flipped) for k in (0, 1)]
    assert both > max(alone) + 0.03


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(0.1, 10))
def test_units_of_the_evidence_do_not_matter(seed: int, first: float, second: float) -> None:
    x, _ = planted(200, 0.2, [1.0, 0.5], np.eye(2), seed)
    plain = flip_posterior(x, fit_flips(x))
    scaled = x * np.array([first, second])
    assert flip_posterior(scaled, fit_flips(scaled)) == pytest.approx(plain, abs=1e-3)


def test_likelihood_never_falls() -> None:
    x, _ = planted(300, 0.3, [0.7, 0.2], np.eye(2), 5)
    values = [fit_flips(x, steps).log_likelihood for steps in (1, 2, 5, 20, 100)]
    assert values == sorted(values)


def test_evidence_without_spread_is_no_error() -> None:
    x = np.stack([np.linspace(-1, 2, 50), np.zeros(50)], 1)
    assert np.isfinite(flip_posterior(x, fit_flips(x))).all()


def test_what_is_no_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        fit_flips(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="evidence of pair 1"):
        fit_flips(np.array([[0.0], [np.nan]]))
