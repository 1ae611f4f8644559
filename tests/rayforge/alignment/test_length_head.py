"""The explicit head for the length: it takes the cue off and keeps what is not length."""

from __future__ import annotations

import numpy as np
import pytest

from rayforge.alignment.margin import without_length, without_length_head


def _planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=2000)
    lengths = rng.integers(5, 40, (2000, 2))
    longer = (lengths[:, 0] - lengths[:, 1]).astype(float)
    features = np.stack([longer + rng.normal(size=2000), quality + rng.normal(size=2000)], 1)
    return quality, quality + 0.2 * longer, features, lengths


def test_what_is_left_does_not_correlate_with_length() -> None:
    quality, margins, features, lengths = _planted()
    longer = lengths[:, 0] - lengths[:, 1]
    assert np.corrcoef(margins, longer)[0, 1] > 0.8
    left = without_length_head(margins, features, lengths)
    assert np.corrcoef(left, longer)[0, 1] == pytest.approx(0, abs=1e-9)
    assert np.corrcoef(left, quality)[0, 1] > 0.95
    assert np.corrcoef(left, without_length(margins, lengths))[0, 1] > 0.95


def test_features_that_tell_nothing_change_nothing() -> None:
    _, margins, _, lengths = _planted()
    same = without_length_head(margins, np.zeros((2000, 2)), lengths)
    assert (same == margins).all()
    assert without_length_head(np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)
    with pytest.raises(ValueError, match="need features and lengths"):
        without_length_head(margins, np.zeros((3, 2)), lengths)
