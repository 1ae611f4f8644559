"""What a search leaves behind, from trials as they come to be."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayforge.errors import ConfigurationError, RunError
from trainers.alignment.config import AlignConfig
from trainers.configuration import read_configuration, to_dict
from trainers.irl.config import IRLConfig
from trainers.search.config import Search, read_search
from trainers.search.importance import importances
from trainers.search.results import Trial, front, ranked, trials_of, write_results
from trainers.search.run import check_folder, report_search
from trainers.search.state import Record, Report, State
from trainers.search.storage import Folder


def search_of(folder: Path, **changes: Any) -> Search:
    file = folder / "mine.yaml"
    document = {
        "system": "irl",
        "base": {"evaluate": ["val_unseen"], "gamma": 0.9},
        "space": {
            "policy_learning_rate": {"loguniform": [1e-5, 1e-3]},
            "augment": {"choice": [True, False]},
        },
        "metrics": {"val_unseen/success": "max"},
        **changes,
    }
    file.write_text(yaml.safe_dump(document))
    return read_search(file)


def trial_of(number: int, status: str, **figures: float) -> Trial:
    settings = {"policy_learning_rate": 1e-4 * number, "augment": number % 2 == 0}
    named = {key.replace("__", "/"): value for key, value in figures.items()}
    curve = tuple({"report": float(n), **named} for n in (1, 2))
    return Trial(number, status, settings, named, 2, 60.0, curve, "Boom" * (status == "failed"))


def test_finished_trials_come_before_those_stopped_early() -> None:
    trials = [
        trial_of(1, "finished", val_unseen__success=0.3),
        trial_of(2, "stopped", val_unseen__success=0.9),
        trial_of(3, "finished", val_unseen__success=0.5),
        trial_of(4, "failed"),
        trial_of(5, "finished", val_unseen__success=math.nan),
    ]
    assert [t.number for t in ranked(trials, {"val_unseen/success": "max"})] == [3, 1, 2]
    assert [t.number for t in ranked(trials, {"val_unseen/success": "min"})] == [1, 3, 2]


def test_further_metrics_break_ties_of_the_first() -> None:
    trials = [
        trial_of(1, "finished", a=0.5, b=3.0),
        trial_of(2, "finished", a=0.5, b=2.0),
        trial_of(3, "finished", a=0.5),
        trial_of(4, "finished", a=0.6, b=9.0),
    ]
    assert [t.number for t in ranked(trials, {"a": "max", "b": "min"})] == [4, 2, 1, 3]


def test_the_front_goes_by_both_directions() -> None:
    trials = [
        trial_of(1, "finished", a=0.9, b=5.0),
        trial_of(2, "finished", a=0.5, b=1.0),
        trial_of(3, "finished", a=0.4, b=2.0),
        trial_of(4, "stopped", a=1.0, b=0.0),
    ]
    assert [t.number for t in front(trials, {"a": "max", "b": "min"})] == [1, 2]


def test_files_of_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = search_of(tmp_path)
    trials = [trial_of(n, "finished", val_unseen__success=n / 10) for n in (1, 2, 3, 4)]
    folder = Folder(str(tmp_path / "runs"), "mine")
    write_results(folder, search, [*trials, trial_of(5, "failed")], "rayforge tune mine.yaml")
    rows = list(csv.DictReader(io.StringIO(folder.read("results.csv"))))
    assert [row["status"] for row in rows] == ["finished"] * 4 + ["failed"]
    assert float(rows[3]["policy_learning_rate"]) == 4e-4
    assert rows[4]["val_unseen/success"] == "" and rows[4]["error"] == "Boom"
    best = read_configuration(IRLConfig, tmp_path / "runs" / "mine" / "best.yaml")
    assert (best.policy_learning_rate, best.augment, best.gamma) == (4e-4, True, 0.9)
    document = json.loads(folder.read("search.json") or "")
    assert document["best"] == 4
    assert sum(document["importance"]["val_unseen/success"].values()) == pytest.approx(1.0)
    assert "trial 4" in (folder.read("report.html") or "")
    assert "4 finished, 1 failed" in capsys.readouterr().out


def test_both_halves_leave_a_file_each_and_the_front(tmp_path: Path) -> None:
    search = search_of(
        tmp_path, system="both",
        base={"budget": 60, "irl": {"evaluate": ["val_unseen"]}, "align": {"rounds": 2}},
        space={"agent_share": {"uniform": [0.2, 0.8]}, "align.beta": {"uniform": [0.1, 0.5]}},
        metrics={"irl/val_unseen/success": "max", "align/win_rate": "max"},
    )  # fmt: skip
    trials = [
        Trial(
            n, "finished", {"agent_share": share, "align.beta": 0.2},
            {"irl/val_unseen/success": share, "align/win_rate": 1 - share}, 2, 1.0, (),
        )
        for n, share in ((1, 0.25), (2, 0.75))
    ]  # fmt: skip
    folder = Folder(str(tmp_path), "both")
    write_results(folder, search, trials, "rayforge tune")
    rows = list(csv.DictReader(io.StringIO(folder.read("results.csv"))))
    assert [row["pareto"] for row in rows] == ["1", "1"]
    for number, updates in ((1, 16), (2, 44)):
        where = tmp_path / "both" / "pareto"
        irl = read_configuration(IRLConfig, where / f"trial-{number}-irl.yaml")
        align = read_configuration(AlignConfig, where / f"trial-{number}-align.yaml")
        assert irl.updates + 2 * align.steps == 60
        assert abs(irl.updates - updates) <= 2
        assert align.beta == 0.2
    assert (tmp_path / "both" / "best-irl.yaml").is_file()


def test_importance_finds_the_setting_that_mattered(tmp_path: Path) -> None:
    space = search_of(
        tmp_path,
        space={
            "policy_learning_rate": {"loguniform": [1e-5, 1e-3]},
            "gamma": {"uniform": [0.9, 1.0]},
            "augment_probability": {"uniform": [0.2, 0.8], "when": {"augment": True}},
            "augment": {"choice": [True, False]},
        },
    ).space
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = [space.labels(space.draw(rng)) for _ in range(40)]
    found = importances(space, [(d, math.log(d["policy_learning_rate"])) for d in drawn], "max")
    assert next(iter(found)) == "policy_learning_rate"
    assert found["policy_learning_rate"] > 0.6
    assert importances(space, [(drawn[0], 1.0)] * 3, "max") == {}
    assert importances(space, [(d, 1.0) for d in drawn], "max") == {}


def test_a_folder_in_a_bucket_is_written_through_pyarrow(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}", "mine")
    (tmp_path / "mine").mkdir()
    folder.write("a.txt", "here")
    assert folder.read("a.txt") == "here"
    assert folder.read("b.txt") is None
    assert str(folder) == f"file://{tmp_path}/mine"


def test_a_name_may_be_used_once(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    folder = Folder(str(tmp_path), "mine")
    with pytest.raises(RunError, match="holds no search to go on with"):
        check_folder(folder, search, True)
    folder.write("search.yaml", yaml.safe_dump(to_dict(search.settings)))
    with pytest.raises(RunError, match="holds a search already: go on with --resume"):
        check_folder(folder, search, False)
    with pytest.raises(RunError, match=r"state\.json is missing"):
        check_folder(folder, search, True)
    State().save(folder)
    check_folder(folder, search, True)
    for changes, message in (
        ({"trials": 9}, "trials was 8 and is now 9"),
        ({"base": {"evaluate": ["val_unseen"], "gamma": 0.8}}, "gamma was 0.9 and is now 0.8"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_folder(folder, search_of(tmp_path, **changes), True)
    # What only says where and how fast it runs may change.
    check_folder(folder, search_of(tmp_path, storage="elsewhere", cpus=3, concurrent=2), True)


def test_trials_come_from_the_state(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    labels = {"policy_learning_rate": 1e-4, "augment": True}
    report = Report(1, 3.0, {"val_unseen/success": 0.5, "updates": 8.0})
    state = State(
        trials={
            2: Record(2, labels, "failed", error="Boom"),
            1: Record(1, labels, "stopped", [report], "trial-0001"),
        }
    )
    first, second = trials_of(state, search)
    assert (first.number, first.status, first.settings) == (1, "stopped", labels)
    assert first.curve == ({"report": 1.0, "val_unseen/success": 0.5},)
    assert (first.figures, first.reports, first.seconds) == (report.figures, 1, 3.0)
    assert (second.figures, second.error, second.run) == ({}, "Boom", "")


def test_the_report_of_a_search_is_written_again_from_its_folder(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    folder = Folder(str(tmp_path), "mine")
    folder.write("search.yaml", yaml.safe_dump({**to_dict(search.settings), "base": search.base}))
    with pytest.raises(RunError, match=r"state\.json is missing"):
        report_search(tmp_path / "mine")
    labels = {"policy_learning_rate": 1e-4, "augment": True}
    report = Report(1, 3.0, {"val_unseen/success": 0.5})
    State(trials={1: Record(1, labels, "unfinished", [report])}).save(folder)
    page = report_search(tmp_path / "mine")
    assert "1 unfinished" in page.read_text()
    outside = {**to_dict(search.settings), "system": "os:PathLike"}
    folder.write("search.yaml", yaml.safe_dump(outside))
    with pytest.raises(ConfigurationError, match="code from outside RayForge"):
        report_search(tmp_path / "mine")
    folder.write("search.yaml", "[" * 5000)
    with pytest.raises(RunError, match=r"search\.yaml"):
        report_search(tmp_path / "mine")


def test_the_best_trial_can_be_used_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_of(tmp_path)
    trial = replace(trial_of(1, "finished", val_unseen__success=0.1), run="trial-0001")
    write_results(Folder(str(tmp_path), "mine"), search, [trial], "rayforge tune")
    line = f"the best: rayforge irl evaluate {tmp_path}/mine/trial-0001 --split val_seen"
    assert line in capsys.readouterr().out
