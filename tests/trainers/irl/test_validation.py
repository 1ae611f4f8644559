"""Validation while training: it changes nothing that is learnt, and keeps the best weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rayforge.errors import ConfigurationError, DataError, RunError
from trainers.cli import main
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_agent
from trainers.irl.task import Task
from trainers.irl.validation import check_split, due, forget_best_after, rank
from trainers.runs.checkpoint import latest, load_checkpoint, load_module, save_checkpoint


@pytest.mark.parametrize(
    ("every", "before", "after", "said"),
    [(0, 0, 8, False), (4, 0, 3, False), (4, 3, 4, True), (4, 4, 7, False), (4, 2, 11, True)],
)
def test_it_is_due_where_a_multiple_was_passed(
    every: int, before: int, after: int, said: bool
) -> None:
    assert due(every, before, after) is said


def test_success_ranks_first_and_spl_decides_ties() -> None:
    def scores(success: float, spl: float) -> dict[str, float]:
        return {"validation/success": success, "validation/spl": spl}

    assert rank(scores(0.5, 0.1)) > rank(scores(0.4, 0.4))
    assert rank(scores(0.5, 0.2)) > rank(scores(0.5, 0.1))


def test_a_resumed_run_forgets_best_weights_that_it_has_not_made(tmp_path: Path) -> None:
    for number in (8, 16):
        save_checkpoint(tmp_path / "best", number, {"w": np.zeros(1)}, {}, {}, {})
    forget_best_after(tmp_path, 12)
    found = latest(tmp_path / "best")
    assert found is not None and int(found.name) == 8
    forget_best_after(tmp_path / "none", 12)


def test_a_split_without_goals_is_refused_before_training(task: Task[Any]) -> None:
    check_split(task, "train")
    episodes = tuple(replace(e, path=e.path[:1]) for e in task.splits["train"].episodes)
    blind = replace(task.splits["train"], episodes=episodes)
    with pytest.raises(DataError, match=r"validation split test of .* name another"):
        check_split(replace(task, splits={"test": blind}), "test")


@pytest.mark.ray
def test_a_validated_run_learns_the_same_and_keeps_its_best_weights(
    tiny: IRLConfig, tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("ray.shutdown", lambda: None)  # the cluster is the other tests' as well
    file, ends = tmp_path / "run.yaml", []
    file.write_text(to_yaml(replace(tiny, evaluate=("val_seen",))))
    for name, more in (("plain", []), ("validated", ["--evaluate-every", "4"])):
        run = str(tmp_path / name)
        main(["irl", "train", "--config", str(file), "--debug", *more, "--run", run])
        end = latest(tmp_path / name / "checkpoints")
        assert end is not None
        ends.append(load_checkpoint(end))
    plain, validated = ends
    np.testing.assert_array_equal(plain.random, validated.random)
    for key, value in plain.module.items():
        np.testing.assert_array_equal(value, validated.module[key], err_msg=key)

    run = tmp_path / "validated"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scored = [r for r in records if "validation/success" in r]
    # Four updates of cloning, then six of the method's own: passed are 4 and 8, and 10 is the end.
    assert [r["updates"] - tiny.generator.updates for r in scored] == [4, 8, 10]
    best = latest(run / "best")
    assert best is not None
    kept = load_module(best)[1]["validation"]
    assert rank(kept) == max(rank(r) for r in scored)

    main(["irl", "evaluate", str(run), "--split", "val_seen", "--checkpoint", "best"])
    document = json.loads((run / "evaluation_val_seen.json").read_text())
    assert document["checkpoint"] == "best"
    assert document["agents"]["agent"]["success"]["mean"] == kept["validation/success"]
    assert "the weights that validated best" in (run / "report.html").read_text()
    assert load_agent(run, "best").agent is not None
    with pytest.raises(RunError, match="trained without --evaluate-every"):
        load_agent(tmp_path / "plain", "best")
    with pytest.raises(SystemExit) as ended:
        main(["irl", "evaluate", str(run), "--split", "val_seen", "--checkpoint", "best",
              "--planner", "map"])  # fmt: skip
    assert ended.value.code == ConfigurationError.exit_code
    assert "drop --checkpoint" in capsys.readouterr().err

    steps = EventAccumulator(str(run / "tensorboard" / "over_env_steps"))
    steps.Reload()
    axis = [event.step for event in steps.Scalars("rollout/success")]
    assert axis == [r["env_steps"] for r in records if r["phase"] == "irl"]
