"""Search files: read, changed from the command line, and refused with one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rayforge.errors import ConfigurationError
from trainers.alignment.config import AlignConfig
from trainers.alignment.system import ALIGN
from trainers.both.config import BothConfig
from trainers.both.system import BOTH
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.system import IRL as AGENTS
from trainers.search.config import Search, read_search
from trainers.search.resources import concurrency, largest
from trainers.search.run import _whole, check_same, resume_command, saved_settings
from trainers.search.storage import Folder

IRL: dict[str, Any] = {
    "system": "irl",
    "base": {"evaluate": ["val_unseen"], "runners": 1},
    "space": {"policy_learning_rate": {"loguniform": [1e-5, 1e-3]}},
    "metrics": {"val_unseen/success": "max"},
}


def search_of(folder: Path, **changes: Any) -> Search:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**IRL, **changes}))
    return read_search(file)


def test_the_searches_of_the_repository_are_whole() -> None:
    folder = Path(__file__).parents[3] / "tune_configs"
    for name in ("irl", "alignment", "both", "planner"):
        search = read_search(folder / f"{name}.yaml")
        assert search.settings.name == name
        assert search.trials == 16


def test_the_paths_of_a_search_are_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    space = {**IRL["space"], "start_from": {"choice": ["first", "second"]}}
    search = search_of(tmp_path, base={**IRL["base"], "data": "mine"}, space=space)
    relative = search.settings.base["data"]
    saved = saved_settings(Folder(str(tmp_path), "s"), yaml.safe_dump(_whole(search)))
    old = saved_settings(
        Folder(str(tmp_path), "s"),
        yaml.safe_dump({**_whole(search), "base": {**search.base, "data": relative}}),
    )
    monkeypatch.chdir("/")
    trial = search.trial({"policy_learning_rate": 1e-4, "start_from": str(tmp_path / "first")})
    assert (trial.data, trial.start_from) == (str(tmp_path / "mine"), str(tmp_path / "first"))
    monkeypatch.chdir(tmp_path)
    assert search.trial({"start_from": "second"}).start_from == str(tmp_path / "second")
    for before in (saved, old):  # what an older RayForge wrote down is the same search
        check_same(before, search, "s")


def test_an_old_file_is_read_with_a_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text(
        yaml.safe_dump({**{k: v for k, v in IRL.items() if k != "system"}, "half": "irl"})
    )
    assert read_search(tmp_path / "old.yaml").settings.system == "irl"
    assert "`half: irl` is an old name: write `system: irl`" in capsys.readouterr().err
    (tmp_path / "old.yaml").write_text(
        "half: alignment\nmetrics: {win_rate: max}\nspace: {beta: {uniform: [0.1, 0.5]}}\n"
    )
    assert read_search(tmp_path / "old.yaml").settings.system == "align"


def test_code_named_in_a_file_is_imported_only_where_the_command_names_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "poison.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for named in ({}, {"system": "irl"}):
        with pytest.raises(ConfigurationError, match="confirm it on the command line"):
            search_of(tmp_path, system="poison:NAME")
            read_search(tmp_path / "mine.yaml", named)
        assert not (tmp_path / "ran").exists()
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        read_search(tmp_path / "mine.yaml", {"system": "poison:NAME"})
    assert (tmp_path / "ran").exists()


def test_a_judge_of_the_command_line_is_in_trials_and_in_no_file(tmp_path: Path) -> None:
    command = "command: KEY=secret judge.py --fast"
    asked = {
        "system": "align", "metrics": {"win_rate": "max"}, "base": {},
        "space": {"beta": {"uniform": [0.1, 0.5]}},
    }  # fmt: skip
    search_of(tmp_path, **asked)
    file = tmp_path / "mine.yaml"
    plan = read_search(file, {"judge": command})
    assert plan.trial({}).judge == command
    whole = yaml.safe_dump(_whole(plan))
    assert "secret" not in whole and "judge.py" in whole
    assert "secret" not in resume_command(file, {"judge": command})
    saved = saved_settings(Folder(str(tmp_path), "mine"), whole)
    check_same(saved, plan, "here")
    with pytest.raises(ConfigurationError, match=r"judge was 'command: judge\.py"):
        check_same(saved, read_search(file), "here")
    with pytest.raises(ConfigurationError, match="name it again on the command line, --judge"):
        search_of(tmp_path, **asked, judge=command)
    with pytest.raises(ConfigurationError, match="judge is for searches over language models"):
        search_of(tmp_path, judge="/a/folder")


def test_the_command_line_changes_a_file(tmp_path: Path) -> None:
    search_of(tmp_path)
    changed = read_search(tmp_path / "mine.yaml", {"trials": 3, "storage": "elsewhere"})
    assert (changed.settings.trials, changed.settings.storage) == (3, "elsewhere")
    with pytest.raises(ConfigurationError, match="trials must be at least 1, got 0"):
        read_search(tmp_path / "mine.yaml", {"trials": 0})


def test_a_search_may_start_from_a_runs_configuration(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(IRLConfig(gamma=0.9, batch=16)))
    search = search_of(tmp_path, config="run.yaml", base={"batch": 8, "evaluate": ["val_unseen"]})
    trial = search.trial({"policy_learning_rate": 1e-4})
    assert (trial.gamma, trial.batch, trial.policy_learning_rate) == (0.9, 8, 1e-4)


def test_a_random_search_is_known_beforehand(tmp_path: Path) -> None:
    first, second = (search_of(tmp_path, searcher="random", trials=5, seed=2) for _ in range(2))
    assert first.points == second.points
    assert len(first.points) == 5
    assert search_of(tmp_path, searcher="random", trials=5, seed=3).points != first.points


def test_a_grid_counts_its_own_trials(tmp_path: Path) -> None:
    space = {"relabel": {"choice": [True, False]}, "batch": {"choice": [8, 16, 32]}}
    assert search_of(tmp_path, searcher="grid", space=space).trials == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spce": {}}, "unknown setting spce; did you mean space"),
        ({"base": {"runers": 2}}, "base: unknown setting runers; did you mean runners"),
        ({"space": {"gama": {"uniform": [0, 1]}}}, "unknown setting gama; did you mean gamma"),
        (
            {"metrics": {"val_unseen/succes": "max"}},
            "no trial reports val_unseen/succes; did you mean val_unseen/success",
        ),
        ({"metrics": {"win_rate": "max"}}, "no trial reports win_rate.*Reported: val_unseen/"),
        ({"metrics": {"val_unseen/success": "up"}}, "must be max or min, got 'up'"),
        ({"metrics": {}}, "metrics is empty"),
        ({"system": "agent"}, "system must be one of irl, .*both, .*or module:NAME"),
        ({"scheduler": "pbt"}, "searcher must be random"),
        (
            {
                "scheduler": "pbt", "searcher": "random",
                "space": {"network.hidden": {"choice": [8, 16]}},
            },
            "network.hidden cannot change under way",
        ),
        ({"name": "a/b"}, "plain folder name"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_searched_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        search_of(tmp_path, **changes)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text("system: irl\n")
    with pytest.raises(ConfigurationError, match="space is missing"):
        read_search(tmp_path / "bare.yaml")
    with pytest.raises(ConfigurationError, match="no such file"):
        read_search(tmp_path / "absent.yaml")


def test_a_combination_that_cannot_run_is_refused_where_it_is_known(tmp_path: Path) -> None:
    space = {"rounds": {"choice": [1, 2]}, "workers": {"choice": [1, 3]}}
    with pytest.raises(ConfigurationError, match="batch 32 cannot be split into 3"):
        search_of(
            tmp_path, system="align", base={}, space=space, metrics={"win_rate": "max"}
        )  # fmt: skip


def test_reports_of_a_trial(tmp_path: Path) -> None:
    assert search_of(tmp_path, reports=5).reports == 5
    both = search_of(
        tmp_path, system="both",
        base={"irl": {"evaluate": ["val_unseen"]}, "align": {"method": "sera"}},
        space={"align.rounds": {"choice": [2, 4]}}, metrics={"irl/val_unseen/success": "max"},
    )  # fmt: skip
    assert both.reports == 4


def test_a_budget_is_shared_out_to_the_last_update() -> None:
    for share in (0.01, 0.3, 0.5, 0.99):
        both = BothConfig(align=AlignConfig(rounds=3), budget=100, agent_share=share)
        irl, align = both.parts()
        assert irl.updates + 3 * align.steps == 100
        assert irl.updates >= 1 and align.steps >= 1
        assert abs(irl.updates - 100 * share) <= 3
    assert BothConfig().parts() == (IRLConfig(), AlignConfig())
    with pytest.raises(ValueError, match="budget 3 is less than"):
        BothConfig(align=AlignConfig(rounds=3), budget=3)


def test_only_what_can_be_judged_has_a_win_rate() -> None:
    assert "win_rate" in ALIGN.metrics(AlignConfig())
    assert "win_rate" not in ALIGN.metrics(AlignConfig(data="pairs.jsonl"))
    assert "review/greedy_score" not in ALIGN.metrics(AlignConfig(judge="command: mine"))
    assert "align/win_rate" in BOTH.metrics(BothConfig())


def test_a_trial_takes_its_sum() -> None:
    assert AGENTS.resources(IRLConfig(runners=4)).cpus == 5
    assert AGENTS.resources(IRLConfig(device="cuda")).gpus == 1
    assert AGENTS.resources(IRLConfig(runners=1, runner_resource="rollout")).bundles[1] == {
        "CPU": 1.0, "rollout": 1.0,
    }  # fmt: skip
    assert ALIGN.resources(AlignConfig()).cpus == 1
    waiting = ALIGN.resources(AlignConfig(workers=2, actors=1))
    assert waiting.bundles == ({"CPU": 0.01}, {"CPU": 1.0})
    assert int(waiting.cpus) == 3
    both = BothConfig(IRLConfig(runners=2), AlignConfig(workers=1))
    assert int(BOTH.resources(both).cpus) == 4


def test_as_many_trials_run_as_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = search_of(tmp_path)  # a learner and a runner
    assert concurrency(search, 5, 0, "this machine") == 2
    assert concurrency(search, 100, 0, "this machine") == search.trials
    greedy = search_of(tmp_path, concurrent=3)
    assert concurrency(greedy, 4, 0, "this machine") == 2
    assert "concurrent is 3, but only 2 trials of 2 CPUs" in capsys.readouterr().out


def test_a_trial_that_could_never_be_placed_fails_with_the_sum(tmp_path: Path) -> None:
    space = {"runners": {"choice": [0, 7]}, "gamma": {"uniform": [0.9, 1.0]}}
    search = search_of(tmp_path, space=space)
    assert largest(search).cpus == 8
    with pytest.raises(
        ConfigurationError,
        match=r"takes 8 CPUs \(1 for the learner \+ 7 runners\), but this machine has 2",
    ):
        concurrency(search, 2, 0, "this machine")


def test_trials_that_wait_for_their_workers_leave_them_their_cpus(tmp_path: Path) -> None:
    search = search_of(
        tmp_path, system="align", base={"workers": 1}, metrics={"win_rate": "max"},
        space={"beta": {"uniform": [0.1, 0.5]}},
    )  # fmt: skip
    # A hundredth for each trial's own process: a second worker would wait for a whole CPU.
    assert concurrency(search, 2, 0, "the cluster") == 1
    assert concurrency(search, 2, 0, "this machine", spare=1) == 2
    assert concurrency(search, 4, 0, "this machine", spare=1) == 4


@pytest.mark.parametrize("key", ["null", "3", "true", "2024-01-01"])
def test_keys_are_texts(tmp_path: Path, key: str) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(f"half: irl\nspace: {{}}\nmetrics: {{{key}: max}}\n")
    with pytest.raises(ConfigurationError, match="key must be a text"):
        read_search(file)
