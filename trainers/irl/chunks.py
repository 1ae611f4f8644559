"""Episodes to roll out, cut into chunks, and their results put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.labelling import Labels
from rayforge.irl.rollout import join_rollouts
from trainers.irl.runner import Chunk, ChunkResult

CHUNK = 64
"""Episodes a chunk: one forward pass of a runner."""


@dataclass(frozen=True)
class Span:
    """Consecutive episodes: what a round rolls out, or a node's part of it."""

    first: int
    """Number of its first episode."""
    rows: np.ndarray
    """Of the split, int64 [n]: the demonstrations that say what to do."""
    seed: int
    """Of the run; each chunk has its own, from this and the number of its first episode."""
    sample: bool
    rephrase: np.ndarray
    """bool [n]."""
    label: bool
    tokens: np.ndarray | None = None
    """int16 [n, N]: other instructions than the split's."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def chunks(self) -> int:
        return -(-len(self) // CHUNK)

    def part(self, start: int, stop: int) -> Span:
        """Its episodes `start` to `stop`, of its own."""
        tokens = None if self.tokens is None else self.tokens[start:stop]
        return Span(
            self.first + start, self.rows[start:stop], self.seed, self.sample,
            self.rephrase[start:stop], self.label, tokens,
        )  # fmt: skip

    def split_for(self, shares: Sequence[int]) -> list[Span]:
        """Whole chunks in proportion to `shares`, in order; some may be empty."""
        ends = np.rint(np.cumsum(shares) / sum(shares) * self.chunks).astype(int) * CHUNK
        starts = [0, *ends[:-1].tolist()]
        return [self.part(start, stop) for start, stop in zip(starts, ends.tolist(), strict=True)]


def random_numbers(seed: int, purpose: str, number: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the place in the run alone, so that a resumed run
    goes on as it would have."""
    return np.random.default_rng([seed, number, *purpose.encode()])


def chunks_of(span: Span, split: Demonstrations) -> list[Chunk]:
    """The chunks of a span of a split."""
    chunks = []
    for start in range(0, len(span), CHUNK):
        rows = span.rows[start : start + CHUNK]
        paths = split.paths[rows]
        if span.tokens is not None:
            paths = paths.with_tokens(span.tokens[start : start + CHUNK])
        number = span.first + start
        seed = int(random_numbers(span.seed, "chunk", number).integers(2**62))
        names, rephrase = split.names(rows), span.rephrase[start : start + CHUNK]
        chunks.append(Chunk(number, seed, paths, names, span.sample, rephrase, span.label))
    return chunks


def end_of(result: ChunkResult) -> int:
    """The number of the episode that follows: each of a chunk's ended well, or failed by name."""
    return result.first + len(result.numbers) + len(result.failures)


def in_runs(results: Sequence[ChunkResult]) -> list[ChunkResult]:
    """Results in order, each run of consecutive ones joined."""
    runs: list[list[ChunkResult]] = []
    for result in sorted(results, key=lambda result: result.first):
        if runs and end_of(runs[-1][-1]) == result.first:
            runs[-1].append(result)
        else:
            runs.append([result])
    return [join_results(run) for run in runs]


def gaps(span: Span, results: Sequence[ChunkResult]) -> list[Span]:
    """What of a span has no result yet, in order."""
    missing, start = [], 0
    for result in sorted(results, key=lambda result: result.first):
        stop = result.first - span.first
        if stop > start:
            missing.append(span.part(start, stop))
        start = end_of(result) - span.first
    if start < len(span):
        missing.append(span.part(start, len(span)))
    return missing


def join_results(results: Sequence[ChunkResult]) -> ChunkResult:
    """Results of consecutive chunks as the result of one chunk that long."""
    if len(results) == 1:
        return results[0]
    first = results[0].first
    done = [result for result in results if result.rollout is not None]
    images = [walk for result in done if result.images is not None for walk in result.images]
    labels = [result.labels for result in done if result.labels is not None]
    return ChunkResult(
        first,
        np.concatenate([result.numbers for result in results]),
        np.concatenate([result.first - first + result.rows for result in results]),
        join_rollouts([r.rollout for r in done if r.rollout is not None]) if done else None,
        np.concatenate([result.rephrased for result in results]),
        _join_labels(labels) if labels else None,
        tuple(images) if any(result.images is not None for result in done) else None,
        tuple(message for result in results for message in result.failures),
    )


def _join_labels(labels: Sequence[Labels]) -> Labels:
    words = max(part.tokens.shape[1] for part in labels)
    tokens = [np.pad(p.tokens, ((0, 0), (0, words - p.tokens.shape[1]))) for p in labels]
    return Labels(
        np.concatenate(tokens),
        *(np.concatenate([getattr(part, name) for part in labels])
          for name in ("kept", "follower", "speaker")),
    )  # fmt: skip
