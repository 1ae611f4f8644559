"""Scores are computed once; a broken-off request goes on with the very same batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.alignment.generation import GenerationJob, Sampling, generate
from trainers.alignment.models import fingerprint
from trainers.alignment.scoring import Scores
from trainers.alignment.tokens import Completion
from trainers.runs.pool import Job, Pool


@dataclass
class Counting(Pool):
    """Counts batches; breaks off after `most` of them, as a kill would."""

    actors: int = 0
    most: int = 1000
    seen: list[Any] = field(default_factory=list)

    def run(self, job: Job, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for number, result in super().run(job, batches):
            if len(self.seen) == self.most:
                raise KeyboardInterrupt
            self.seen.append(batches[number])
            yield number, result


def completions(count: int) -> list[Completion]:
    rng = np.random.default_rng(0)
    return [
        Completion(
            tuple(rng.integers(5, 20, 3).tolist()),
            (*rng.integers(5, 20, rng.integers(1, 9)).tolist(), 3),
        )
        for _ in range(count)
    ]


def test_nothing_is_scored_twice(model_folder: Path, tmp_path: Path) -> None:
    cache, start, pool = Scores(tmp_path, "cpu", False, 4), fingerprint(model_folder), Counting()
    some = completions(10)
    first = cache.of(start, some[:6] + some[:3], pool)
    assert len(pool.seen) == 2
    assert first[:3].tolist() == first[6:].tolist()
    again = Scores(tmp_path, "cpu", False, 4).of(start, some[:6], pool)
    assert len(pool.seen) == 2
    assert again.tolist() == first[:6].tolist()
    cache.of(start, some, pool)
    assert sum(map(len, pool.seen)) == 10
    assert cache.missing(start, completions(12)) == 2


def test_a_broken_off_request_ends_with_the_same_bits(model_folder: Path, tmp_path: Path) -> None:
    start, some = fingerprint(model_folder), completions(20)
    whole = Scores(tmp_path / "whole", "cpu", False, 3).of(start, some, Counting())
    cache = Scores(tmp_path / "broken", "cpu", False, 3)
    with pytest.raises(KeyboardInterrupt):
        cache.of(start, some, Counting(most=3))
    rest = Counting()
    assert cache.of(start, some, rest).tolist() == whole.tolist()
    assert len(rest.seen) == 4  # of seven batches three were done
    assert not list((tmp_path / "broken").rglob("*.parts"))


def test_responses_do_not_depend_on_what_was_done_before(
    model_folder: Path, tmp_path: Path
) -> None:
    job = GenerationJob(model_folder, "cpu", False, "transformers", Sampling(3, 1.0, 1.0, 8), 1, 64)
    prompts = [c.prompt for c in completions(7)]
    whole = generate(job, prompts, tmp_path / "whole.parquet", 2, 5, Counting())
    with pytest.raises(KeyboardInterrupt):
        generate(job, prompts, tmp_path / "broken.parquet", 2, 5, Counting(most=2))
    rest = Counting()
    resumed = generate(job, prompts, tmp_path / "broken.parquet", 2, 5, rest)
    assert len(rest.seen) == 2
    assert resumed.completions == whole.completions
    assert len(whole.completions) == 21
    assert whole.completions[3].prompt == prompts[1]
    ended = [c.response[-1] == 3 for c in whole.completions]
    assert whole.finished.tolist() == ended
    other = generate(job, prompts, tmp_path / "other.parquet", 2, 6, Counting())
    assert other.completions != whole.completions


def test_the_fingerprint_is_of_the_weights(model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    model.save_pretrained(tmp_path / "copy")
    assert fingerprint(tmp_path / "copy").hash == fingerprint(model_folder).hash
    model.model.norm.weight.data[0] += 1
    model.save_pretrained(tmp_path / "other")
    assert fingerprint(tmp_path / "other").hash != fingerprint(model_folder).hash
