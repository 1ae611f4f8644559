"""Paths as padded arrays: joining, trimming and picking keep every path as it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rayforge.language.vocabulary import END
from rayforge.paths.arrays import Paths, join_paths

FIELDS = ("viewpoint", "heading", "action", "length", "tokens")


@st.composite
def some_paths(draw: st.DrawFn) -> Paths:
    """0 to 5 paths of 1 to 6 actions and 1 to 7 tokens, with up to 3 columns of padding more."""
    count = draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    length = rng.integers(1, 7, size=count).astype(np.int16)
    said = rng.integers(1, 8, size=count)
    steps = int(length.max(initial=1)) + draw(st.integers(0, 3))
    words = int(said.max(initial=1)) + draw(st.integers(0, 3))
    real = np.arange(steps) < length[:, None]
    moving = np.arange(steps) < length[:, None] - 1
    tokens = rng.integers(4, 99, size=(count, words)) * (np.arange(words) < said[:, None])
    tokens[np.arange(count), said - 1] = END
    return Paths(
        (real * rng.integers(0, 500, size=(count, steps))).astype(np.int32),
        (real * rng.integers(0, 12, size=(count, steps))).astype(np.int8),
        (moving * rng.integers(1, 9, size=(count, steps))).astype(np.int8),
        length,
        tokens.astype(np.int16),
    )


def plain(paths: Paths) -> list[tuple[list[int], ...]]:
    """Each path without its padding."""
    rows: list[tuple[list[int], ...]] = []
    for row in range(len(paths)):
        n = int(paths.length[row])
        words = int((paths.tokens[row] != 0).sum())
        rows.append(
            (
                paths.viewpoint[row, :n].tolist(),
                paths.heading[row, :n].tolist(),
                paths.action[row, :n].tolist(),
                paths.tokens[row, :words].tolist(),
            )
        )
    return rows


@settings(max_examples=80, deadline=None)
@given(parts=st.lists(some_paths(), min_size=1, max_size=4))
def test_joining_keeps_every_path_and_its_types(parts: list[Paths]) -> None:
    joined = join_paths(parts)
    assert plain(joined) == [row for part in parts for row in plain(part)]
    for name in FIELDS:
        assert getattr(joined, name).dtype == getattr(parts[0], name).dtype
        assert len(getattr(joined, name)) == len(joined)
    # What was no path's is padding: all zeros.
    steps = np.arange(joined.viewpoint.shape[1]) >= joined.length[:, None]
    assert not joined.viewpoint[steps].any()
    assert not joined.action[steps].any()


@settings(max_examples=80, deadline=None)
@given(paths=some_paths())
def test_trimming_drops_padding_alone_and_is_done_once(paths: Paths) -> None:
    trimmed = paths.trimmed()
    assert plain(trimmed) == plain(paths)
    assert trimmed.viewpoint.shape[1] == max(1, int(paths.length.max(initial=1)))
    if len(paths):
        assert (trimmed.tokens[:, -1] != 0).any()
    again = trimmed.trimmed()
    assert all(getattr(again, n).shape == getattr(trimmed, n).shape for n in FIELDS)
    assert trimmed.nbytes <= paths.nbytes


@settings(max_examples=40, deadline=None)
@given(paths=some_paths(), seed=st.integers(0, 99))
def test_rows_are_picked_in_the_order_asked_for(paths: Paths, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(len(paths), size=4 if len(paths) else 0)
    assert plain(paths[rows]) == [plain(paths)[row] for row in rows]
    assert plain(join_paths([paths[:2], paths[2:]])) == plain(paths)


def test_other_instructions_leave_the_paths_alone() -> None:
    paths = Paths(
        np.array([[4, 5]], np.int32), np.array([[0, 3]], np.int8), np.array([[2, 0]], np.int8),
        np.array([2], np.int16), np.array([[9, END]], np.int16),
    )  # fmt: skip
    told = paths.with_tokens(np.array([[7, 8, END]], np.int16))
    assert plain(told) == [([4, 5], [0, 3], [2, 0], [7, 8, END])]
    assert plain(paths) == [([4, 5], [0, 3], [2, 0], [9, END])]
