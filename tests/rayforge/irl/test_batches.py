"""Shuffled epochs: every row once an epoch, the same batches for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.irl.batches import batch_rows


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 400),
    size=st.integers(1, 70),
    seed=st.integers(0, 10),
    epoch=st.integers(0, 3),
)
def test_each_epoch_visits_each_row_once(count: int, size: int, seed: int, epoch: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 80, size=count)
    batches = -(-count // size)
    numbers = range(epoch * batches, (epoch + 1) * batches)
    rows = [batch_rows(lengths, size, seed, number) for number in numbers]
    assert sorted(np.concatenate(rows).tolist()) == list(range(count))
    assert sorted(map(len, rows))[1:] == [size] * (batches - 1)
    # A pure function: asked again in another order, the same.
    for number, batch in reversed(list(zip(numbers, rows, strict=True))):
        np.testing.assert_array_equal(batch_rows(lengths, size, seed, number), batch)


def test_epochs_and_seeds_differ() -> None:
    lengths = np.arange(64) % 7
    first = batch_rows(lengths, 64, 0, 0)
    assert not np.array_equal(np.sort(first), first)
    assert not np.array_equal(batch_rows(lengths, 16, 0, 0), batch_rows(lengths, 16, 0, 4))
    assert not np.array_equal(batch_rows(lengths, 16, 0, 0), batch_rows(lengths, 16, 1, 0))


def test_instructions_of_like_length_share_a_batch_and_long_ones_do_not_come_last() -> None:
    lengths = np.random.default_rng(0).integers(5, 80, size=1024)
    batches = [lengths[batch_rows(lengths, 32, 0, number)] for number in range(32)]
    padding = sum(int((b.max() - b).sum()) for b in batches)
    mixed = lengths.reshape(32, 32)
    assert padding < 0.25 * sum(int((b.max() - b).sum()) for b in mixed)
    means = np.array([b.mean() for b in batches])
    assert np.abs(np.corrcoef(means, np.arange(32))[0, 1]) < 0.4


def test_lengths_are_not_changed_and_nothing_is_an_error() -> None:
    lengths = np.array([3, 1, 2])
    batch_rows(lengths, 2, 0, 0)
    assert lengths.tolist() == [3, 1, 2]
    with pytest.raises(ValueError, match="no pairs"):
        batch_rows(np.zeros(0, int), 2, 0, 0)
