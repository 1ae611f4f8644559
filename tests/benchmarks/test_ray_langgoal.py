"""The benchmark of the claims, from houses to page, at a size that means nothing."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def benchmark(out: Path) -> str:
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.langgoal", "--out", str(out), "--size", "tiny",
            "--settings", "c", "--seeds", "0", "--methods", "gcbc", "adapted",
        ],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(out / "cache")},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_benchmark_trains_adapts_and_writes_its_page_and_only_reports_when_done(
    tmp_path: Path,
) -> None:
    said = benchmark(tmp_path)
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    runs = [Path(row["run"]).name for row in rows]
    assert runs == [n for n in ("start-0", "full-0", "gcbc-0", "adapted-0") for _ in range(2)]
    assert {row["split"] for row in rows} == {"val_seen", "val_unseen"}
    updates = {Path(row["run"]).name: int(row["policy_updates"]) for row in rows}
    # Adaptation takes two of each kind after the run that it began from.
    assert updates == {"start-0": 4, "full-0": 8, "gcbc-0": 8, "adapted-0": 4}
    for row in rows:
        assert 0 <= float(row["success_low"]) <= float(row["success"]) <= 1
    assert "adapted (transductive) minus LangGoalIRL full" in said
    assert "Left out: nothing." in said and (tmp_path / "c/full-0/reward_val_unseen.json").exists()
    page = (tmp_path / "report.html").read_text()
    for heading in (
        "Paired differences",
        "Learning",
        "Instructions beside",
        "Failures, one by one",
    ):
        assert heading in page
    assert "Semantic observations" not in page, "these agents see images"
    before = (tmp_path / "c/full-0/train.log").read_bytes()
    benchmark(tmp_path)
    assert (tmp_path / "c/full-0/train.log").read_bytes() == before
