"""Which runs of a pretrained model there are, and on which pairs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.preferences import METHODS, SETS, Benchmark, short_lines


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [json.dumps({"chosen": "a" * size, "rejected": "b"}) + "\n"
             for size in (5, 2000, 6, 7, 8)]  # fmt: skip
    for name in ("hh_rlhf/helpful-base/x", "hh_rlhf/harmless-base/x", "ultrafeedback/train_clean",
                 "ultrafeedback/label_flip_20", "ultrafeedback/eval_clean"):  # fmt: skip
        file = tmp_path / f"{name}.jsonl.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress("".join(lines).encode()))
    return tmp_path


def test_short_pairs_are_the_first_ones(data: Path) -> None:
    file = data / "ultrafeedback/train_clean.jsonl.gz"
    assert [len(json.loads(line)["chosen"]) for line in short_lines(file, 3, 900)] == [5, 6, 7]


def test_each_set_is_trained_on_by_each_method(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    whole = Benchmark(data, out, model="smollm2", device="cuda", methods=tuple(METHODS))
    runs = whole._pretrained()
    assert len(runs) == len(SETS) * len(METHODS)
    assert {c.round_count * c.round_steps for c in runs.values()} == {96}
    small = Benchmark(data, out, model="smollm2", pairs=2)._pretrained()
    assert list(small) == [f"{name}-dpo" for name in SETS]
    helpful = small["hh-helpful-dpo"]
    assert len(Path(helpful.data).read_text().splitlines()) == 2
    # Without a file of their own held-out pairs are those that come after.
    assert not set(Path(helpful.data).read_text().splitlines()) & set(
        Path(helpful.evaluation).read_text().splitlines()
    )
