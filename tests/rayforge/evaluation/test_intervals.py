"""Intervals: what they hold, how they repeat, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rayforge.evaluation.intervals import (
    bootstrap_interval,
    paired_difference,
    seed_interval,
    share_interval,
    summarise,
)

_values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(_values)
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    found = bootstrap_interval(np.array(values), samples=400)
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(np.mean(values))
    assert found.n == len(values)


def test_the_interval_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    found = bootstrap_interval(values)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    held = [
        found.low <= 0.35 <= found.high
        for found in (
            bootstrap_interval((generator.random(200) < 0.35).astype(float), samples=500)
            for _ in range(300)
        )
    ]
    assert 0.91 <= np.mean(held) <= 0.985


def test_same_seed_same_interval_alone_or_together() -> None:
    generator = np.random.default_rng(4)
    values = {"a": generator.random(50), "b": generator.random(50), "c": generator.random(7)}
    together = summarise(values, seed=5)
    assert list(together) == ["a", "b", "c"]
    for name, column in values.items():
        alone = bootstrap_interval(column, seed=5)
        assert together[name] == pytest.approx(alone.as_dict())
    assert bootstrap_interval(values["a"], seed=6) != bootstrap_interval(values["a"], seed=5)


def test_none_one_and_equal_values() -> None:
    none = bootstrap_interval(np.array([]))
    assert np.isnan(none[:3]).all() and none.n == 0
    one = bootstrap_interval(np.array([0.5]))
    assert one.mean == 0.5 and np.isnan(one[1:3]).all() and one.n == 1
    assert bootstrap_interval(np.full(9, 0.1)) == pytest.approx((0.1, 0.1, 0.1, 9))


def test_paired_difference_is_narrower_than_either_side() -> None:
    generator = np.random.default_rng(6)
    base = generator.normal(size=400)
    better = base + 0.1 + 0.05 * generator.normal(size=400)
    found = paired_difference(better, base)
    assert 0.08 < found.low < found.mean < found.high < 0.12
    with pytest.raises(ValueError, match="same episodes"):
        paired_difference(base, base[1:])


def test_seed_interval_is_student_t() -> None:
    found = seed_interval([0.1, 0.2, 0.3])
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert found == pytest.approx((0.2, 0.2 - half, 0.2 + half, 3))
    assert np.isnan(seed_interval([0.4]).low) and seed_interval([0.4]).mean == 0.4
    assert np.isnan(seed_interval([]).mean)


def test_a_value_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="spl of episode 2 is nan"):
        summarise({"success": np.ones(4), "spl": np.array([1.0, 0.0, np.nan, 1.0])})


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.0, 10, 0.0, 0.2775), (1.0, 37, 0.9059, 1.0)],
)
def test_the_interval_of_a_share_is_wilsons(
    share: float, count: int, low: float, high: float
) -> None:
    found = share_interval(share, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert (found.mean, found.n) == (share, count)


def test_a_share_of_nothing_has_no_interval() -> None:
    assert np.isnan(share_interval(float("nan"), 0).low)
