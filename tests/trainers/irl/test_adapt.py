"""`rayforge irl adapt`: end to end at a tiny size; no episode of a new building is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayforge.errors import DataError
from rayforge.language.vocabulary import END
from rayforge.paths.arrays import Paths
from rayforge.reports.adaptation import adaptation
from tests.trainers.conftest import untrained_run
from trainers.cli import main
from trainers.configuration import read_configuration
from trainers.irl.adapt import _describe, _describe_nothing, _plan, _start_from, adapted
from trainers.irl.adapt_building import Described, detours, goal_agnostic, resemblance, silent
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.adapt_said import check_said
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_weights
from trainers.irl.plan import plan_run
from trainers.irl.plan_config import PlanConfig
from trainers.irl.run_folder import load_run, read_saved
from trainers.irl.task import Task, read_task

NEW = "house00002"
SMALL = AdaptConfig(
    paths=6, candidates=2, agreement=0.0, agnostic_updates=2, clone_updates=2, updates=2
)
FLAGS = (
    "--paths", "6", "--candidates", "2", "--agreement", "0", "--agnostic-updates", "2",
    "--clone-updates", "2", "--updates", "2",
)  # fmt: skip


@pytest.mark.ray
def test_an_adapted_run_is_a_run_that_says_so(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real command in a process of its own."""
    out = tmp_path / "run"
    arguments = ("irl", "adapt", str(trained.run), "--scans", NEW, "--out", str(out), *FLAGS)
    done = subprocess.run(
        [sys.executable, "-m", "trainers.cli", *arguments], capture_output=True, text=True,
        timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((out / "adaptation.json").read_text())
    (building,) = document["buildings"]
    assert (building["scan"], building["in_training"]) == (NEW, False)
    assert building["described"] == building["kept"] == 6
    records = json.loads((out / "further.json").read_text())
    assert len(records) == 6
    assert {record["scan"] for record in records} == {NEW}
    for split in ("val_seen", "val_unseen"):
        evaluation = json.loads((out / f"evaluation_{split}.json").read_text())
        assert evaluation["method"] == "LangGoalIRL full, adapted (transductive)"
        assert document["change"][split]["count"] > 0
    assert "Transductive" in (out / "report.html").read_text()
    phases = [json.loads(line)["phase"] for line in (out / "metrics.jsonl").open()]
    assert phases == ["clone", "irl"], "the generator is the run's own"
    kept = read_configuration(IRLConfig, out / "goal_agnostic" / "config.yaml")
    assert (kept.text, kept.method) == (False, "gcbc")
    # Called otherwise, it is refused.
    with pytest.raises(SystemExit):
        main([*arguments, "--seed", "5"])
    assert "was begun with other settings" in capsys.readouterr().err


def describe_in(
    folder: Path, out: Path, run: Path, tiny: IRLConfig, task: Task, scan: str,
    held_out: tuple[str, ...] = (),
) -> bytes:  # fmt: skip
    """The pairs that one building gives when the data lie in `folder`."""
    config, vocabulary, objects = load_run(run)
    config = replace(config, data=str(folder), held_out=held_out)
    untrained_run(out / "goal_agnostic", goal_agnostic(tiny, SMALL), task)
    _describe(run, (scan,), out, folder, config, SMALL, vocabulary, objects)
    return (out / "further.json").read_bytes()


def test_no_instruction_and_no_path_of_the_new_building_is_read(
    untrained: Path, tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path
) -> None:
    """The same pairs come of files without the building's episodes, and of files that lie."""
    run = (untrained, tiny, task)
    before = describe_in(houses, tmp_path / "a", *run, NEW)
    without = tmp_path / "without"
    shutil.copytree(houses, without, ignore=shutil.ignore_patterns("scenes", "val_*"))
    (without / "R2R_val_unseen.json").unlink()
    assert describe_in(without, tmp_path / "b", *run, NEW) == before

    # A building held out of the training file: its episodes stand in the very file that is read.
    held = "house00001"
    honest = describe_in(without, tmp_path / "c", *run, held, (held,))
    file = without / "R2R_train.json"
    records = json.loads(file.read_text())
    for record in records:
        if record["scan"] == held:
            record["instructions"] = ["a lie"]
            record["path"] = record["path"][:2]
    file.write_text(json.dumps(records))
    assert describe_in(without, tmp_path / "d", *run, held, (held,)) == honest
    seen = describe_in(without, tmp_path / "e", *run, held)
    assert seen != honest, "what is read does make a difference"


@pytest.mark.ray
def test_actors_of_the_pool_describe_what_this_process_describes(
    cluster: None, untrained: Path, tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ray.shutdown", lambda: None)  # the cluster is the other tests' as well
    config, vocabulary, objects = load_run(untrained)
    found = []
    for name, runners in (("here", 0), ("actors", 2)):
        out = tmp_path / name
        untrained_run(out / "goal_agnostic", goal_agnostic(tiny, SMALL), task)
        settings, scans = replace(SMALL, runners=runners), ("house00001", NEW)
        _describe(untrained, scans, out, houses, config, settings, vocabulary, objects)
        found.append((out / "further.json").read_bytes())
    assert found[0] == found[1]


def test_random_walks_and_training_buildings_are_controls(
    untrained: Path, tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path
) -> None:
    scan = task.splits["train"].episodes[0].scan
    config, vocabulary, objects = load_run(untrained)
    untrained_run(tmp_path / "goal_agnostic", goal_agnostic(tiny, SMALL), task)
    settings = replace(SMALL, walks="random")
    _describe(untrained, (scan,), tmp_path, houses, config, settings, vocabulary, objects)
    document = json.loads((tmp_path / "adaptation.json").read_text())
    assert document["buildings"][0]["in_training"]
    told = json.loads((tmp_path / "buildings" / f"{scan}.json").read_text())["described"]
    assert len(told) == SMALL.paths
    for record in told:
        edges = document["described_by_people"]["edges"]
        assert str(len(record["path"]) - 1) in edges
    # What one building gave is kept: only what is missing is made again.
    (tmp_path / "further.json").unlink()
    (tmp_path / "buildings" / f"{scan}.json").write_text(
        json.dumps({"scan": scan, "walked": 7, "fit": 7, "described": told[:2]})
    )
    _describe(untrained, (scan,), tmp_path, houses, config, settings, vocabulary, objects)
    assert len(json.loads((tmp_path / "further.json").read_text())) == 2


def test_the_first_checkpoint_goes_on_from_the_runs_weights(
    untrained: Path, tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path
) -> None:
    config, vocabulary, objects = load_run(untrained)
    settings = replace(SMALL, rate=0.3)
    untrained_run(tmp_path / "goal_agnostic", goal_agnostic(tiny, SMALL), task)
    _describe(untrained, (NEW,), tmp_path, houses, config, settings, vocabulary, objects)
    _start_from(untrained, tmp_path, config, settings, "rayforge irl adapt")
    own = read_configuration(IRLConfig, tmp_path / "config.yaml")
    assert own == adapted(config, settings, tmp_path)
    assert own.learning_rate == pytest.approx(0.3 * tiny.learning_rate)
    saved = read_saved(tmp_path, own)
    assert saved is not None
    before = load_weights(untrained, config)
    assert saved.module.keys() == before.keys()
    assert all((saved.module[name] == before[name]).all() for name in before)
    assert saved.state["counts"]["generator"] == tiny.generator.updates
    assert saved.state["counts"]["clone"] == saved.state["counts"]["irl"] == 0
    union = read_task(houses, own, ("train",), vocabulary, objects).splits["train"]
    assert len(union) == len(task.splits["train"]) + SMALL.paths
    assert union.episodes[-1].scan == NEW


def test_further_training_without_walks_is_a_control(
    untrained: Path, tiny: IRLConfig, task: Task, tmp_path: Path
) -> None:
    """The same weights and updates as an adaptation, and the demonstrations alone."""
    config, *_ = load_run(untrained)
    settings = replace(SMALL, walks="none")
    _describe_nothing(untrained, tmp_path, settings)
    _start_from(untrained, tmp_path, config, settings, "rayforge irl adapt")
    own = read_configuration(IRLConfig, tmp_path / "config.yaml")
    walking = adapted(config, SMALL, tmp_path)
    assert own == replace(walking, extra_demonstrations="")
    saved, before = read_saved(tmp_path, own), load_weights(untrained, config)
    assert saved is not None
    assert all((saved.module[name] == before[name]).all() for name in before)
    section = str(adaptation(tmp_path))
    assert "a control of adaptation" in section and "Transductive" not in section


def test_the_goal_agnostic_policy_is_told_nothing(
    tiny: IRLConfig, houses: Path, task: Task
) -> None:
    """Whatever the goals are, they never reach it: its log-probabilities cannot change."""
    config = goal_agnostic(tiny, SMALL)
    tokens = read_task(houses, config, ("train",)).splits["train"].paths.tokens
    assert (tokens == np.pad(silent(1), ((0, 0), (0, tokens.shape[1] - 1)))).all()
    assert (silent(3) == END).all()
    assert (config.text, config.method, config.network) == (False, "gcbc", tiny.network)


def test_what_peoples_paths_are_like(task: Task) -> None:
    paths, buildings = task.splits["train"].paths, task.data.buildings
    room = ["b" if v % 2 else "h" for v in range(len(buildings.viewpoint_ids))]
    described = Described.of(paths, buildings, room)
    assert described.detour == pytest.approx(1.0, abs=1e-4), "houses' paths are shortest ones"
    assert set(described.edges) <= {4, 5, 6}
    assert sum(described.edges.values()) == pytest.approx(1.0)
    # Among themselves people's paths are no likelier than they are.
    np.testing.assert_allclose(resemblance(paths, room, described), 1.0)
    only = replace(described, rooms={"b": 1.0})
    ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
    assert ((resemblance(paths, room, only) > 0) == (ends % 2 == 1)).all()


def test_detours_of_known_ways(task: Task) -> None:
    buildings = task.data.buildings
    there = int(buildings.neighbours[0, 0])
    back = Paths.zeros(2, 3, 1)
    back.viewpoint[:] = [[0, there, 0], [0, there, there]]
    back.length[:] = [3, 2]
    assert detours(back, buildings).tolist() == [np.inf, 1.0]


def test_bad_input_is_one_line(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["irl", "adapt", str(untrained), "--out", str(tmp_path / "out"), *words])
        assert caught.value.code in (2, 3, 4)
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return error

    error = refused("--scans", f"{NEW},house0002")
    assert "building 'house0002' has no graph" in error
    assert "nearest name is house0000" in error
    assert "named twice" in refused("--scans", NEW, NEW)
    assert "does not exist" in refused("--scans", NEW, "--data", str(tmp_path / "nowhere"))
    assert "nothing to learn" in refused("--scans", NEW, "--updates", "0", "--clone-updates", "0")
    assert not (tmp_path / "out").exists(), "refused before anything is written"


def test_what_people_said_is_planned_for_and_their_paths_are_not_read(
    tiny: IRLConfig, task: Task, houses: Path, tmp_path: Path
) -> None:
    """Plans that the planner is sure of are further pairs; an adapted agent plans in the end."""
    config = replace(tiny, held_back=0.3)
    run = untrained_run(tmp_path / "planned", config, task)
    plan_run(run, PlanConfig(updates=1, checks=1, batch=4), "test")
    records = json.loads((houses / "R2R_val_unseen.json").read_text())

    def described(name: str, said: list[dict[str, Any]], margin: float) -> list[dict[str, Any]]:
        out = tmp_path / name
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
        settings = replace(SMALL, instructions=str(tmp_path / f"{name}.json"), margin=margin)
        check_said(run, Path(settings.instructions), (NEW,))
        untrained_run(out / "goal_agnostic", goal_agnostic(config, settings), task)
        _describe(run, (NEW,), out, houses, config, settings, task.vocabulary, task.objects)
        document = json.loads((out / "adaptation.json").read_text())
        further: list[dict[str, Any]] = json.loads((out / "further.json").read_text())
        assert len(further) == 6 + document["instructions"]["kept"]
        return further[6:]

    every = described("every", records, 0.0)
    told = sum(len(record["instructions"]) for record in records)
    assert len(every) == told, "a plan of every length is a move here"
    assert every[0]["path"][0] == records[0]["path"][0]
    false = [{**record, "path": record["path"][:2]} for record in records]
    assert described("false", false, 0.0) == every
    assert described("sure", records, 1.0) == []
    with pytest.raises(DataError, match="has no instruction in any of the buildings house00000"):
        check_said(run, tmp_path / "every.json", ("house00000",))

    shutil.copytree(run, tmp_path / "adapted", ignore=shutil.ignore_patterns("planner*"))
    _plan(run, tmp_path / "adapted", "test")
    document = json.loads((tmp_path / "adapted" / "planner.json").read_text())
    assert document["settings"]["reward"] == "kept" and document["form"] == "maxent"
