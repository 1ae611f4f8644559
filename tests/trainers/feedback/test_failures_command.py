"""`rayforge feedback failures`, as it is typed: names, maps and page of an agent's failures."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from tests.trainers.conftest import untrained_run
from trainers import cli
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task


def test_failures_are_named_and_drawn(
    tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path
) -> None:
    run = untrained_run(tmp_path / "run", tiny, task)
    file = tmp_path / "failures.json"
    cli.main(["feedback", "failures", str(run), "--split", "val_unseen", "--users", "6",
              "--days", "2", "--most", "20", "--out", str(file)])  # fmt: skip
    found = json.loads(file.read_text())
    assert found["failed"] > 0
    assert abs(sum(share["mean"] for share in found["shares"]) - 1) < 1e-9
    assert found["examples"]
    for example in found["examples"]:
        place = found["maps"][example["building"]]
        steps = {frozenset((place["ids"][a], place["ids"][b])) for a, b in place["edges"]}
        assert example["walked"][0] == example["way"][0]
        for way in (example["walked"], example["way"]):
            assert all(frozenset(pair) in steps for pair in pairwise(way))
    page = file.with_suffix(".html").read_text()
    assert page.count('class="line agent"') == len(found["examples"])
