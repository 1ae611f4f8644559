"""What a search leaves behind, from trials as they come to be."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from ray.tune.experiment import trial as ray_trial

from rayforge.errors import ConfigurationError, RunError
from trainers.alignment.config import AlignConfig
from trainers.configuration import read_configuration, to_dict
from trainers.irl.config import IRLConfig
from trainers.search.config import Search, read_search
from trainers.search.importance import importances
from trainers.search.results import Trial, front, ranked, read_trials, write_results
from trainers.search.run import check_folder
from trainers.search.schedulers import KeptRungs, Population, mutations, scheduler, within
from trainers.search.searchers import ListedSearch, searcher
from trainers.search.storage import Folder
from trainers.search.tuning import takes_turns


def search_of(folder: Path, **changes: Any) -> Search:
    file = folder / "mine.yaml"
    document = {
        "half": "irl",
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
        tmp_path, half="both",
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


def test_a_listed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    points = [{"gamma": 0.9}, {"gamma": 0.95}]
    first = ListedSearch(points, "success", "max")
    assert first.suggest("a") == {"gamma": 0.9, "number": 1}
    first.save(str(tmp_path / "state"))
    second = ListedSearch(points, "success", "max")
    second.restore(str(tmp_path / "state"))
    assert second.suggest("b") == {"gamma": 0.95, "number": 2}
    assert second.suggest("c") == "FINISHED"


def test_optuna_goes_on_with_its_count_and_what_it_learnt(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    first: Any = searcher(search)
    proposal = first.suggest("a")
    assert proposal["number"] == 1
    assert search.trial(search.space.values(proposal)).policy_learning_rate <= 1e-3
    done = {"val_unseen/success": 0.5, "training_iteration": 1}
    first.on_trial_complete("a", done)
    first.save(str(tmp_path / "state"))
    second: Any = searcher(search)
    second.restore(str(tmp_path / "state"))
    assert second.suggest("b")["number"] == 2
    assert len(second._ot_study.get_trials()) == 2


def test_a_folder_in_a_bucket_is_written_through_pyarrow(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}", "mine")
    (tmp_path / "mine").mkdir()
    folder.write("a.txt", "here")
    assert folder.read("a.txt") == "here"
    assert folder.read("b.txt") is None
    assert str(folder) == f"file://{tmp_path}/mine"


def test_a_name_may_be_used_once(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    file, folder = tmp_path / "mine.yaml", Folder(str(tmp_path), "mine")
    with pytest.raises(RunError, match="holds no search to go on with"):
        check_folder(folder, search, True, file)
    folder.write("search.yaml", yaml.safe_dump(to_dict(search.settings)))
    with pytest.raises(RunError, match="holds a search already: go on with --resume"):
        check_folder(folder, search, False, file)
    check_folder(folder, search, True, file)
    with pytest.raises(ConfigurationError, match=r"was started with trials 8, now .* has 9"):
        check_folder(folder, search_of(tmp_path, trials=9), True, file)


def test_a_population_changes_settings_within_their_ranges(tmp_path: Path) -> None:
    search = search_of(
        tmp_path, scheduler="pbt", searcher="random",
        space={"gamma": {"uniform": [0.9, 0.99]}, "polyak": {"choice": [0.005, 0.01]}},
    )  # fmt: skip
    assert isinstance(scheduler(search), Population)
    found = mutations(search.space)
    assert found["polyak"] == [0.005, 0.01]
    assert 0.9 <= found["gamma"].sample() <= 0.99
    changed = within(search.space, {"gamma": 0.99 * 1.2, "polyak": 0.005, "number": 3})
    assert changed == {"gamma": 0.99, "polyak": 0.005, "number": 3}


def numbered(number: int, gamma: float, reported: float | None = None) -> Any:
    """A trial of Tune's as schedulers see it."""
    config = {"gamma": gamma, "number": number, "search": "stand-in"}
    trial = ray_trial.Trial("stub", stub=True, config=config)
    if reported is not None:
        trial.run_metadata.last_result = {"val_unseen/success": reported, "training_iteration": 2}
    return trial


def test_a_resumed_asha_knows_what_came_before(tmp_path: Path) -> None:
    search = search_of(tmp_path, grace=1)
    result = {"training_iteration": 1}

    def answer(asha: Any, number: int, success: float) -> str:
        trial = numbered(number, 0.9)
        asha.on_trial_add(None, trial)
        return str(asha.on_trial_result(None, trial, {**result, "val_unseen/success": success}))

    first: Any = scheduler(search)
    assert [answer(first, n, success) for n, success in ((1, 0.5), (2, 0.6))] == ["CONTINUE"] * 2
    resumed: Any = scheduler(search)
    assert answer(scheduler(search), 3, 0.4) == "CONTINUE"  # alone, it is the best so far
    KeptRungs(resumed).set_state(KeptRungs(first).get_state())
    assert answer(resumed, 3, 0.4) == "STOP"


def test_a_population_takes_a_settings_list_and_keeps_its_numbers(tmp_path: Path) -> None:
    search = search_of(
        tmp_path, scheduler="pbt", searcher="random", space={"gamma": {"uniform": [0.9, 0.99]}}
    )
    population: Any = scheduler(search)
    good, poor, new = numbered(1, 0.92, 0.8), numbered(2, 0.98, 0.1), numbered(3, 0.95)
    for trial in (good, poor, new):
        population.on_trial_add(None, trial)
    # Those that had reported before are compared at once; the new one is not.
    assert population._quantiles() == ([poor], [good])
    config, _ = population._get_new_config(poor, good)
    assert config["number"] == 2
    assert 0.9 <= config["gamma"] <= 0.99
    poor.set_config(config)
    poor.resolve_config_placeholders({})  # as in a search that is resumed
    assert poor.config == {**config, "search": "stand-in"}
    assert takes_turns(search)
    assert not takes_turns(search_of(tmp_path))


def test_trials_are_read_by_the_names_of_their_folders(tmp_path: Path) -> None:
    search, folder = search_of(tmp_path), Folder(str(tmp_path), "mine")
    labels = {"policy_learning_rate": 1e-4, "augment": True}
    folder.write("trial-0002/params.json", json.dumps({**labels, "number": 2, "search": "..."}))
    last = {"val_unseen/success": 0.5, "training_iteration": 1, "time_total_s": 3.0}
    frame = pd.DataFrame([{"training_iteration": 1, "val_unseen/success": 0.5}])
    grid: Any = [
        SimpleNamespace(
            path=str(tmp_path / "mine" / "trial-0002"), metrics={}, config=None, error=None,
            metrics_dataframe=None,
        ),
        SimpleNamespace(
            path=str(tmp_path / "mine" / "trial-0001"), metrics={**last, "done": True},
            config=labels, error=None, metrics_dataframe=frame,
        ),
    ]  # fmt: skip
    trials = read_trials(grid, search, folder)
    assert [(t.number, t.status, t.settings) for t in trials] == [
        (1, "stopped", labels), (2, "unfinished", labels),
    ]  # fmt: skip
    assert trials[0].curve == ({"report": 1.0, "val_unseen/success": 0.5},)
