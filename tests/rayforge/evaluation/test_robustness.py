"""Known answers of transfer (assay, checks 6, 7 and 8)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rayforge.evaluation.robustness import (
    attacked,
    effective_robustness,
    fit_line,
    leave_one_out,
    probit,
    runs_needed,
)


def test_a_planted_line_is_recovered_and_what_has_no_part_is_seen() -> None:
    rng = np.random.default_rng(0)
    source = rng.uniform(0.2, 0.9, 60)
    target = stats.norm.cdf(-0.4 + 0.8 * probit(source) + rng.normal(0, 0.05, 60))
    line = fit_line(source, target)
    assert (line.slope, line.intercept) == pytest.approx((0.8, -0.4), abs=0.04)
    assert line.r_squared > 0.97 and line.rank > 0.97
    pair = np.repeat([0, 1, 2], 20)
    best, other = leave_one_out({"noise": rng.normal(size=60), "source": probit(source)},
                                target, pair)  # fmt: skip
    assert best.name == "source" and best.r_squared > 0.95
    assert abs(other.r_squared) < 0.15 and abs(other.rank) < 0.5


def test_the_identity_shift_has_slope_one_and_no_effective_robustness() -> None:
    rates = np.linspace(0.1, 0.9, 9)
    line = fit_line(rates, rates)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((1, 0, 1))
    assert effective_robustness(line, rates, rates) == pytest.approx(np.zeros(9), abs=1e-9)


def test_rates_of_zero_and_one_have_a_place_and_few_runs_have_no_line() -> None:
    assert np.isfinite(probit(np.array([0.0, 1.0]), 50)).all()
    assert np.isnan(fit_line(np.array([0.2, 0.4]), np.array([0.1, 0.3])).slope)
    assert np.isnan(fit_line(np.full(5, 0.2), np.linspace(0.1, 0.3, 5)).slope)
    with pytest.raises(ValueError, match="two pairs"):
        leave_one_out({}, np.array([0.1]), np.array([0]))


def test_accuracy_under_attack_starts_clean_and_never_rises() -> None:
    torch.manual_seed(0)
    weights = torch.randn(3, 6)
    inputs = torch.randn(200, 6)
    labels = (inputs @ weights.T + 0.5 * torch.randn(200, 3)).argmax(1)
    sizes = [0.0, 0.05, 0.1, 0.3, 1.0]
    found = attacked(lambda x: x @ weights.T, inputs, labels, sizes)
    clean = float(((inputs @ weights.T).argmax(1) == labels).double().mean())
    assert found[0] == pytest.approx(clean)
    assert (np.diff(found) <= 0).all() and found[-1] < 0.3


def test_runs_that_a_law_needs() -> None:
    # The half-width of a correlation's interval at that many runs is as asked.
    count = runs_needed(0.7, 0.1)
    assert 1.96 * (1 - 0.49) / np.sqrt(count - 3) == pytest.approx(0.1, abs=2e-3)
    with pytest.raises(ValueError, match="width"):
        runs_needed(0.5, 0)
