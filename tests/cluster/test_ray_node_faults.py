"""Nodes of a real cluster that are killed under a job: `benchmarks.cluster_faults`, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        (os.cpu_count() or 1) < 4,
        reason="a head and three nodes want four processors: python -m benchmarks.cluster_faults",
    ),
]

ROOT = Path(__file__).parents[2]


def test_a_lost_node_and_a_lost_driver_change_nothing(tmp_path: Path) -> None:
    out = tmp_path / "faults"
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.cluster_faults", "--out", str(out),
            "--halves", "irl", "--faults", "worker", "learner", "--updates", "60",
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((out / "faults.json").read_text())
    node, driver = document["faults"]
    assert node["killed"].startswith("rollout-") and "runners: " in node["killed"]
    assert driver["killed"].startswith("learner") and "driver: 1" in driver["killed"]
    assert driver["went_on_from"] >= driver["saved"] > 0
    (outcome,) = document["outcomes"]
    assert outcome["reached"] == outcome["wanted"] > driver["at"] > node["at"]
    assert outcome["continuous"] and outcome["same_records"] and outcome["same_model"]
