"""Spans are cut into the same chunks by whoever cuts them, and results are joined without loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rayforge.irl.labelling import Labels
from rayforge.irl.rollout import Rollout
from trainers.irl.ahead import turns
from trainers.irl.chunks import CHUNK, Span, chunks_of, end_of, gaps, in_runs, join_results
from trainers.irl.runner import Chunk, ChunkResult
from trainers.irl.task import Task


def span_of(task: Task[Any], count: int, first: int = 128) -> Span:
    rng = np.random.default_rng(0)
    rows = rng.integers(len(task.splits["train"]), size=count)
    return Span(first, rows, 7, True, rng.random(count) < 0.5, True)


def rolled_out(chunk: Chunk, failed: tuple[int, ...] = ()) -> ChunkResult:
    """A result of made-up roll-outs, of all rows of a chunk but some."""
    rows = np.setdiff1d(np.arange(len(chunk.demonstrations)), failed)
    paths, chance = chunk.demonstrations[rows], np.random.default_rng(chunk.seed)
    kept = chance.random(len(rows)) < 0.5
    scores = chance.random(len(rows)).astype(np.float32)
    return ChunkResult(
        chunk.first, chunk.first + rows, rows,
        Rollout(paths, chance.random((len(rows), 4)), scores),
        chance.random(int(chunk.rephrase.sum())) < 0.5,
        Labels(paths.tokens[:, : 3 + chunk.first % 2], kept, scores, scores),
        None, tuple(chunk.names[row] for row in failed),
    )  # fmt: skip


@pytest.mark.parametrize("shares", [(1,), (1, 1), (3, 1, 2), (0, 5)])
def test_parts_of_a_span_give_its_chunks(task: Task[Any], shares: tuple[int, ...]) -> None:
    span, split = span_of(task, 5 * CHUNK + 9), task.splits["train"]
    whole = chunks_of(span, split)
    parts = span.split_for(shares)
    assert sum(len(part) for part in parts) == len(span)
    again = [chunk for part in parts for chunk in chunks_of(part, split)]
    assert [chunk.first for chunk in again] == [chunk.first for chunk in whole]
    for ours, theirs in zip(again, whole, strict=True):
        assert (ours.seed, ours.names) == (theirs.seed, theirs.names)
        np.testing.assert_array_equal(ours.rephrase, theirs.rephrase)
        np.testing.assert_array_equal(ours.demonstrations.tokens, theirs.demonstrations.tokens)


def test_joined_results_say_what_the_parts_said(task: Task[Any]) -> None:
    span = span_of(task, 3 * CHUNK)
    chunks = chunks_of(span, task.splits["train"])
    failed: tuple[tuple[int, ...], ...] = ((), (2, 5), ())
    parts = [rolled_out(chunk, rows) for chunk, rows in zip(chunks, failed, strict=True)]
    whole = join_results(parts)
    assert (whole.first, end_of(whole)) == (span.first, span.first + len(span))
    assert whole.failures == parts[1].failures and len(whole.failures) == 2
    np.testing.assert_array_equal(whole.numbers, span.first + whole.rows)
    np.testing.assert_array_equal(whole.rephrased, np.concatenate([p.rephrased for p in parts]))
    assert whole.rollout is not None and whole.labels is not None
    tokens = task.splits["train"].paths.tokens[span.rows[whole.rows]]
    np.testing.assert_array_equal(whole.rollout.paths.tokens, tokens)
    start = 0
    for part in parts:
        assert part.labels is not None
        stop, words = start + len(part.rows), part.labels.tokens.shape[1]
        np.testing.assert_array_equal(whole.labels.tokens[start:stop, :words], part.labels.tokens)
        assert not whole.labels.tokens[start:stop, words:].any()
        np.testing.assert_array_equal(whole.labels.kept[start:stop], part.labels.kept)
        start = stop


def test_a_chunk_of_which_every_episode_failed(task: Task[Any]) -> None:
    chunks = chunks_of(span_of(task, 2 * CHUNK), task.splits["train"])
    none = np.zeros(0, np.int64)
    nothing = ChunkResult(
        chunks[0].first, none, none, None, np.zeros(0, bool), None, None, chunks[0].names
    )
    whole = join_results([nothing, rolled_out(chunks[1])])
    assert whole.rows.tolist() == list(range(CHUNK, 2 * CHUNK))
    assert join_results([nothing, replace(nothing, first=nothing.first + CHUNK)]).rollout is None


@pytest.mark.parametrize("there", [(), (0,), (1, 2), (0, 3), (0, 1, 2, 3)])
def test_what_is_missing_is_found(task: Task[Any], there: tuple[int, ...]) -> None:
    span, split = span_of(task, 3 * CHUNK + 5), task.splits["train"]
    chunks = chunks_of(span, split)
    runs = in_runs([rolled_out(chunks[place], (1,)) for place in reversed(there)])
    assert len(runs) == len([place for place in there if place - 1 not in there])
    missing = [chunk.first for part in gaps(span, runs) for chunk in chunks_of(part, split)]
    assert missing == [chunk.first for n, chunk in enumerate(chunks) if n not in there]


@pytest.mark.parametrize(
    ("now", "staleness", "expected"),
    [
        (0, 0, [0]),
        (4, 4, [4, 8]),
        (4, 7, [4, 8]),
        (4, 8, [4, 8, 12]),
        (16, 9, [16]),
        (12, 8, [12, 16]),
    ],
)
def test_turns_that_may_be_under_way(now: int, staleness: int, expected: list[int]) -> None:
    """Of 18 updates, 4 a turn. What is handed out at `now` begins at most `staleness` later."""
    found = turns(now, 18, 4, staleness)
    assert found == expected
    assert all(turn - now <= staleness for turn in found)
