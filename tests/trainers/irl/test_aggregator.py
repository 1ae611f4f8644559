"""An aggregator's bookkeeping, with runners that answer in this process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from tests.trainers.irl.test_chunks import rolled_out, span_of
from trainers.irl import aggregator
from trainers.irl.aggregator import Aggregator, Gathered
from trainers.irl.chunks import CHUNK, chunks_of
from trainers.irl.dispatch import _sample
from trainers.irl.runner import Chunk, ChunkResult
from trainers.irl.task import Task


@dataclass
class Runner:
    """Rolls out at once; forgets its weights, or ends, at a call of that number."""

    ends: int = -1
    forgets: int = -1
    number: int = -1
    calls: list[tuple[int, bool]] = field(default_factory=list)
    """Of each: chunks, and whether weights came with them."""

    @property
    def apply(self) -> Runner:
        return self

    def remote(self, asked: Any) -> Any:
        return lambda: self.answer(asked)

    def answer(self, asked: Any) -> Any:
        call = len(self.calls)
        self.calls.append((len(asked.keywords["chunks"]), asked.keywords["weights"] is not None))
        if call >= self.ends >= 0:
            raise RayActorError
        if call == self.forgets:
            self.number = -1
        return asked(self)

    def holds(self, number: int) -> bool:
        return number == self.number

    def sample(self, *, chunks: list[Chunk], weights: Any, number: int) -> list[ChunkResult]:
        self.number = number
        return [rolled_out(chunk) for chunk in chunks]


@pytest.fixture
def gather(task: Task[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rolls a number of chunks out on runners, which answer in the order of their calls."""

    def wait(going: list[Any], num_returns: int, timeout: float | None = None) -> Any:
        return ([], going) if timeout == 0 else (going[:1], going[1:])

    fake = SimpleNamespace(wait=wait, get=lambda reference: reference())
    monkeypatch.setattr(aggregator, "ray", fake)
    monkeypatch.setattr("trainers.irl.dispatch.ray", SimpleNamespace(get=lambda weights: weights))

    def run(count: int, *runners: Runner, number: int = 3) -> Gathered:
        waiting = deque(chunks_of(span_of(task, count * CHUNK, first=0), task.splits["train"]))
        given = dict(enumerate(runners))
        return Aggregator()._gather(waiting, given, _sample, ["weights"], number)  # type: ignore[list-item]

    return run


def test_every_chunk_once_and_weights_with_the_first_call_alone(gather: Any) -> None:
    runners = (Runner(), Runner(), Runner())
    found = gather(12, *runners)
    (result,) = found.results
    assert result.numbers.tolist() == list(range(12 * CHUNK)) and not found.lost
    for runner in runners:
        assert runner.calls[0][1]
        assert sum(weights for _, weights in runner.calls) == 1
    assert max(chunks for runner in runners for chunks, _ in runner.calls) == 2


def test_chunks_of_a_lost_runner_go_to_the_others(gather: Any) -> None:
    found = gather(9, Runner(), Runner(ends=1))
    (result,) = found.results
    assert result.numbers.tolist() == list(range(9 * CHUNK)) and found.lost == (1,)


def test_a_runner_without_the_weights_is_sent_them_again(gather: Any) -> None:
    """Another round's came between, or Ray has restarted it."""
    runner = Runner(forgets=2)
    (result,) = gather(8, runner).results
    assert result.numbers.tolist() == list(range(8 * CHUNK))
    assert sum(weights for _, weights in runner.calls) >= 2


def test_without_a_runner_left_what_is_done_comes_back(gather: Any) -> None:
    found = gather(6, Runner(ends=2))
    assert found.lost == (0,) and sum(len(r.numbers) for r in found.results) < 6 * CHUNK
