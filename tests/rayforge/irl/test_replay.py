"""The replay: a ring of whole episodes, each stored once, small in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.irl.replay import Replay
from rayforge.paths.arrays import Paths

FIELDS = ("viewpoint", "heading", "action", "length", "tokens")


def episodes(serial: np.ndarray, steps: int = 4, words: int = 6) -> Paths:
    """Episodes that can be told apart: every number in one follows from its serial."""
    length = (1 + serial % steps).astype(np.int16)
    real = np.arange(steps) < length[:, None]
    count = 1 + serial % words
    return Paths(
        (real * (serial[:, None] * 10 + np.arange(steps))).astype(np.int32),
        (real * (serial[:, None] % 12)).astype(np.int8),
        (real * (serial[:, None] % 5)).astype(np.int8),
        length,
        ((np.arange(words) < count[:, None]) * (3 + serial[:, None] % 50)).astype(np.int16),
    )


def numbers(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64)


def same(a: Paths, b: Paths) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(1, 12), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_holds_the_newest_episodes_oldest_first(capacity: int, sizes: list[int]) -> None:
    replay, first = Replay(capacity, 4, 6), 0
    for size in sizes:
        replay.add(episodes(numbers(first, size)), numbers(first, size))
        first += size
    held = min(capacity, first)
    assert len(replay) == held
    state = replay.state()
    expected = numbers(first - held, held)
    np.testing.assert_array_equal(state["serial"], expected)
    assert same(Paths(*(state[name] for name in FIELDS)), episodes(expected))


@settings(max_examples=40, deadline=None)
@given(
    capacity=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 9), min_size=0, max_size=5),
    other=st.integers(1, 20),
)
def test_restored_goes_on_as_the_original(capacity: int, sizes: list[int], other: int) -> None:
    replay, first = Replay(capacity, 4, 6), 0
    for size in sizes:
        replay.add(episodes(numbers(first, size)), numbers(first, size))
        first += size
    again, smaller = Replay(capacity, 4, 6), Replay(other, 4, 6)
    again.add(episodes(numbers(900, 3)), numbers(900, 3))  # forgotten by restoring
    for copy in (again, smaller):
        copy.restore(replay.state())
    assert len(smaller) == min(other, len(replay))
    for kept in (replay, again):
        kept.add(episodes(numbers(500, 2)), numbers(500, 2))
    for name, values in replay.state().items():
        np.testing.assert_array_equal(again.state()[name], values)
    draws = [kept.sample(20, np.random.default_rng(1)) for kept in (replay, again)]
    assert same(*draws)


def test_samples_from_everything_or_from_the_newest() -> None:
    replay = Replay(8, 4, 6)
    replay.add(episodes(numbers(0, 11)), numbers(0, 11))  # 3 .. 10 are left, wrapped around
    rng = np.random.default_rng(0)
    drawn = replay.sample(400, rng).viewpoint[:, 0] // 10
    assert sorted(set(drawn.tolist())) == list(range(3, 11))
    newest = replay.sample(200, rng, replay_window=2).viewpoint[:, 0] // 10
    assert sorted(set(newest.tolist())) == [9, 10]
    more = replay.sample(200, rng, replay_window=50).viewpoint[:, 0] // 10
    assert sorted(set(more.tolist())) == list(range(3, 11))


def test_what_is_sampled_is_a_copy() -> None:
    replay = Replay(2, 4, 6)
    replay.add(episodes(numbers(1, 2)), numbers(1, 2))
    before = replay.state()
    replay.sample(4, np.random.default_rng(0)).viewpoint[:] = -1
    for name, values in before.items():
        np.testing.assert_array_equal(replay.state()[name], values)


def test_an_episode_is_stored_once() -> None:
    replay = Replay(4, 4, 6)
    replay.add(episodes(numbers(0, 3)), numbers(0, 3))
    with pytest.raises(ValueError, match=r"episodes \[2\] are stored already"):
        replay.add(episodes(numbers(2, 2)), numbers(2, 2))
    twice = np.array([7, 8, 7])
    with pytest.raises(ValueError, match=r"\[7\]"):
        replay.add(episodes(twice), twice)
    assert replay.state()["serial"].tolist() == [0, 1, 2], "a refused batch leaves no trace"
    replay.add(episodes(numbers(3, 4)), numbers(3, 4))
    replay.add(episodes(numbers(0, 1)), numbers(0, 1))  # overwritten long ago, so not a double


def test_shorter_episodes_leave_nothing_of_longer_ones() -> None:
    replay = Replay(2, 4, 6)
    replay.add(episodes(numbers(3, 2)), numbers(3, 2))
    short = episodes(numbers(20, 2), steps=1, words=2)
    replay.add(short, numbers(20, 2))
    assert not replay.paths.viewpoint[:, 1:].any()
    assert not replay.paths.tokens[:, 2:].any()
    assert replay.state()["length"].tolist() == [1, 1]


def test_episodes_that_do_not_fit_are_refused_with_both_sizes() -> None:
    replay = Replay(2, 4, 6)
    with pytest.raises(ValueError, match=r"5 steps and 6 words do not fit .* 4 steps and 6 words"):
        replay.add(episodes(numbers(0, 1), steps=5), numbers(0, 1))
    with pytest.raises(ValueError, match="9 words do not fit"):
        replay.add(episodes(numbers(0, 1), words=9), numbers(0, 1))
    with pytest.raises(ValueError, match="empty: roll out"):
        replay.sample(1, np.random.default_rng(0))


def test_a_million_graph_steps_take_less_than_200_mb() -> None:
    """143,000 episodes of seven steps and an instruction of 80 words."""
    replay = Replay(143_000, 7, 80)
    assert 143_000 * 7 > 1_000_000
    arrays = [getattr(replay.paths, name) for name in FIELDS] + [replay.serial]
    assert replay.nbytes == sum(array.nbytes for array in arrays)
    assert replay.nbytes < 200e6
    assert Replay(1, 15, 80).nbytes == 15 * 6 + 80 * 2 + 10  # as its docstring says
