"""Cues measured, and balanced by lot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayforge.alignment.cue import FEATURES, by_lot, differences, measured


def test_features_count_what_they_are_called() -> None:
    text = "Go left. Then 2 steps!\n\nStop."
    assert {name: count(text) for name, count in FEATURES.items()} == {
        "length": 29, "words": 6, "sentences": 3, "lines": 2, "digits": 1,
    }  # fmt: skip
    assert differences("words", ["a b", "a"], ["a", "a b c"]).tolist() == [1, -2]


def test_a_cue_is_the_share_of_signs_and_how_sure_that_is() -> None:
    found = measured(np.array([3, 1, 2, -1, 0]))
    assert found.share == 0.75
    assert found.p_value == pytest.approx(0.625)  # two-sided: (1 + 4 + 4 + 1) / 16
    assert measured(np.zeros(3)) == (0.5, 1.0)
    assert measured(np.repeat([1, -1], [80, 20])).p_value < 1e-8


@given(st.lists(st.integers(-3, 3), max_size=80), st.integers(0, 5), st.integers(0, 90))
def test_balanced_pairs_point_either_way_equally_often(
    values: list[int], seed: int, most: int
) -> None:
    difference = np.array(values, np.int64)
    every, some = by_lot(difference, seed), by_lot(difference, seed, most)
    for rows in (every, some):
        sign = np.sign(difference[rows])
        assert (sign > 0).sum() == (sign < 0).sum()
        assert rows.tolist() == sorted(set(rows.tolist()))
    # Without a limit nothing is thrown away that the balance does not cost.
    up, down = (difference > 0).sum(), (difference < 0).sum()
    assert len(every) == len(difference) - abs(int(up) - int(down))
    assert len(every) >= len(some) >= min(most, len(every)) - 2
    assert len(some) <= max(most, 0) or len(some) == len(every) <= most


def test_the_lot_is_the_seeds() -> None:
    difference = np.repeat([1, -1], [60, 20])
    assert by_lot(difference, 0).tolist() == by_lot(difference, 0).tolist()
    assert by_lot(difference, 0).tolist() != by_lot(difference, 1).tolist()
    chosen = np.mean([np.isin(np.arange(60), by_lot(difference, s)) for s in range(300)], axis=0)
    assert chosen == pytest.approx(1 / 3, abs=0.12)
