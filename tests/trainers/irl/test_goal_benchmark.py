"""The measurements of `benchmarks.goal_generator`, on an untrained run instead of its four."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.goal_generator import THRESHOLDS, Benchmark, Measurement, table


@pytest.fixture(scope="module")
def measured(
    untrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("goals")
    for name in ("follower", "judge", "generator", "plain"):
        (out / name).symlink_to(untrained)
    benchmark = Benchmark("houses", out, instructions=12)
    task, split = benchmark._task()
    return out, Measurement(benchmark, task, split, "generator").results()


def test_figures_are_what_they_say(measured: tuple[Path, dict[str, Any]]) -> None:
    _, found = measured
    assert found["instructions"] == 12
    # Untrained, it knows next to nothing of the vocabulary's two hundred words.
    assert 20 < found["perplexity"] < 400
    assert found["mutual_information"] <= min(found["kl"], np.log(12)) + 1.0
    assert 0.0 <= found["tells_paths_apart"]["mean"] <= 1.0
    human = found["human"]
    # The oracle reads what the agent reads: words that two houses have but once are left out.
    assert human["oracle"]["mean"] >= 0.4
    assert human["minus_human"]["mean"] == 0.0
    # Judge and follower are the same run here.
    assert human["follower"] == human["success"]
    assert found["free"]["oracle"]["mean"] < human["oracle"]["mean"], "the oracle can say no"
    for shares in found["thresholds"].values():
        told = [shares[str(t)] for t in THRESHOLDS]
        assert told[0] == 1.0
        assert told == sorted(told, reverse=True)


def test_samples_and_table(measured: tuple[Path, dict[str, Any]]) -> None:
    out, found = measured
    lines = [json.loads(line) for line in (out / "instructions.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    kinds = {"human", "paraphrase", "paraphrase, chosen", "paraphrase, else human", "free",
             "free, chosen"}  # fmt: skip
    assert kinds < set(lines[0])
    for line in lines:
        source = "paraphrase, chosen" if line["paraphrase, chosen"]["kept"] else "human"
        fallen_back = line["paraphrase, else human"]["sentence"]
        assert fallen_back == line[source]["sentence"]
    told = table({"plain": found, "generator": found})
    assert "| human: minus human | 0.000 [0.000, 0.000] | 0.000 [0.000, 0.000] |" in told
    widths = {line.count("|") for line in told.splitlines()}
    assert widths == {4}
