"""A search's state: written, read, refused; and what a resumed search makes of it."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial

from rayforge.errors import RunError
from trainers.search import snapshots
from trainers.search.config import Search, read_search
from trainers.search.schedulers import Halving, Population, explored, quantiles, scheduler
from trainers.search.searchers import searcher
from trainers.search.snapshots import settle
from trainers.search.state import STATE, Record, Report, State, Takeover, read_state
from trainers.search.storage import Folder
from trainers.search.trial import (
    NUMBER,
    REPORT,
    SECONDS,
    START,
    WORKING,
    clear_leftovers,
    working_folder,
)
from trainers.search.tuning import takes_turns

METRIC = "val_unseen/success"


def search_of(folder: Path, **changes: Any) -> Search:
    document = {
        "system": "irl",
        "base": {"evaluate": ["val_unseen"]},
        "space": {
            "policy_learning_rate": {"loguniform": [1e-5, 1e-3]},
            "augment": {"choice": [True, False]},
            "augment_probability": {"uniform": [0.2, 0.8], "when": {"augment": True}},
        },
        "metrics": {METRIC: "max"},
        **changes,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(document))
    return read_search(folder / "mine.yaml")


def reported(number: int, *figures: float, status: str = "finished", **labels: Any) -> Record:
    reports = [Report(n, 10.0 * n, {METRIC: value}) for n, value in enumerate(figures, 1)]
    snapshot = f"tune-1/trial-{number:04d}/checkpoint_000000" if figures else ""
    return Record(number, labels, status, reports, snapshot)


def state_of(*records: Record) -> State:
    return State(attempt=1, trials={record.number: record for record in records})


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path), "mine")
    assert read_state(folder) is None
    state = state_of(reported(1, 0.5, math.nan, gamma=0.9, method="gcbc", augment=True))
    state.trials[2] = Record(
        2, {"gamma": 0.95}, takeover=Takeover("2-1", {"gamma": 0.9}, "trial-0001", 1), takeovers=1
    )
    state.save(folder)
    again = read_state(folder)
    assert again is not None
    assert again.trials[2] == state.trials[2] and again.identity == state.identity
    assert str(again) == str(state)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), 2),
        (("trials",), {"1": 2}),
        (("trials", 0, "number"), "1"),
        (("trials", 0, "number"), -1),
        (("trials", 0, "status"), "won"),
        (("trials", 0, "snapshot"), "../../outside"),
        (("trials", 0, "snapshot"), "/etc"),
        (("trials", 0, "settings"), {"gamma": ["x"]}),
        (("trials", 0, "reports"), [{"number": 1, "seconds": "soon", "figures": {}}]),
        (("trials", 0, "reports"), None),
        (("trials", 0, "takeover"), {"key": "1"}),
    ],
)  # fmt: skip
def test_a_state_of_other_hands_is_refused_in_a_line(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    folder = Folder(str(tmp_path), "mine")
    state_of(reported(1, 0.5, gamma=0.9)).save(folder)
    document = json.loads(folder.read(STATE) or "")
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    folder.write(STATE, json.dumps(document))
    with pytest.raises(RunError, match=r"state\.json cannot be read") as refused:
        read_state(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", '{"format": 1e999}', "\x00"])
def test_a_broken_state_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    folder = Folder(str(tmp_path), "mine")
    folder.write(STATE, text)
    with pytest.raises(RunError, match=r"state\.json cannot be read"):
        read_state(folder)


def a_search_at_work(here: Path) -> State:
    """Two trials with snapshots, the second of which is to go on from the first; a third without
    any."""
    for name in ("tune-1/trial-0001", "tune-1/trial-0002"):
        for number in (0, 1):
            run = here / name / f"checkpoint_{number:06d}"
            run.mkdir(parents=True)
            (run / "of").write_text(f"{name} {number}")
        (here / name / "events.out.tfevents.1").write_text("events")
    (here / "tune-1" / "tuner.pkl").write_bytes(b"poison")
    state = state_of(reported(1, 0.5, 0.6), reported(2, 0.1, 0.2), Record(3, {}))
    for number in (1, 2):
        state.trials[number].snapshot = f"tune-1/trial-000{number}/checkpoint_000001"
    donor = "tune-1/trial-0001/checkpoint_000000"
    state.trials[2].takeover = Takeover("2-1", {}, donor, 1)
    state.save(Folder(str(here.parent), here.name))
    return state


@given(st.integers(0, 20))
@settings(deadline=None, max_examples=21)
def test_run_folders_are_settled_whatever_was_killed_meanwhile(
    tmp_path_factory: pytest.TempPathFactory, after: int
) -> None:
    here = tmp_path_factory.mktemp("searches") / "mine"
    folder = Folder(str(here.parent), "mine")
    state = a_search_at_work(here)
    calls = 0

    class Killed(BaseException):
        pass

    def dying(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                raise Killed
            return function(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for place, name in (
            (snapshots.shutil, "rmtree"), (snapshots.shutil, "copytree"), (Path, "rename"),
        ):  # fmt: skip
            patch.setattr(place, name, dying(getattr(place, name)))
        with contextlib.suppress(Killed):
            settle(folder, state)
    found = read_state(folder)
    assert found is not None
    settle(folder, found)
    assert (here / "trial-0001" / "of").read_text() == "tune-1/trial-0001 1"
    assert (here / "trial-0002" / "of").read_text() == "tune-1/trial-0001 0"
    assert {n: t.snapshot for n, t in found.trials.items()} == {
        1: "trial-0001", 2: "trial-0002", 3: "",
    }  # fmt: skip
    assert (here / "tensorboard" / "trial-0002" / "events.out.tfevents.1").is_file()
    assert sorted(p.name for p in here.iterdir()) == [
        STATE, "tensorboard", "trial-0001", "trial-0002",
    ]  # fmt: skip
    assert read_state(folder) == found
    settle(folder, found)  # once more changes nothing
    assert (here / "trial-0002" / "of").read_text() == "tune-1/trial-0001 0"


def proposals(plan: Search, figures: list[float], killed_after: int | None) -> list[Any]:
    """What a search proposes, one trial at a time; made anew from its state after one of them."""
    state = State()
    source = searcher(plan, state)
    made = []
    for number, figure in enumerate(figures, 1):
        proposal = source.suggest(f"id {number}")
        made.append(proposal)
        labels = {k: v for k, v in proposal.items() if k != "number"}
        state.trials[number] = reported(number, figure, **labels)
        if killed_after == number - 1:  # while it was running
            state.trials[number].status = "unfinished"
            source = searcher(plan, state)
            assert source.suggest("again") == proposal
            source.on_trial_complete("again", {METRIC: figure})
            state.trials[number].status = "finished"
        else:
            source.on_trial_complete(f"id {number}", {METRIC: figure})
        if killed_after == number:
            source = searcher(plan, state)
    assert source.suggest("more") == "FINISHED"
    return made


@pytest.mark.parametrize("kind", ["optuna", "random"])
def test_a_resumed_search_proposes_what_it_would_have(tmp_path: Path, kind: str) -> None:
    """Past the first ten, which Optuna draws at random."""
    figures = [0.3, 0.1, 0.5, 0.2, 0.4, math.nan, 0.7, 0.6, 0.8, 0.1, 0.2, 0.9, 0.3, 0.4]
    plan = search_of(tmp_path, trials=len(figures), searcher=kind)
    whole = proposals(plan, figures, None)
    assert [proposal[NUMBER] for proposal in whole] == list(range(1, 15))
    assert len({proposal["policy_learning_rate"] for proposal in whole}) == 14
    for number in (3, 11, 13):
        assert proposals(plan, figures, number) == whole


def test_optuna_learns_from_what_it_is_told(tmp_path: Path) -> None:
    plan = search_of(
        tmp_path, trials=40, space={"policy_learning_rate": {"loguniform": [1e-5, 1e-3]}}
    )
    source, found = searcher(plan, State()), []
    for number in range(40):
        rate = source.suggest(f"{number}")["policy_learning_rate"]
        found.append(abs(math.log10(rate) + 4))  # the best is 1e-4
        source.on_trial_complete(f"{number}", {METRIC: -found[-1]})
    assert sum(found[30:]) < 0.7 * sum(found[:10])


def test_trials_that_never_began_are_proposed_again(tmp_path: Path) -> None:
    plan = search_of(tmp_path, trials=4, searcher="random")
    state = state_of(reported(1, 0.5), reported(3, 0.2, status="unfinished", gamma=0.9))
    source = searcher(plan, state)
    found = [source.suggest(f"{n}") for n in range(4)]
    assert [p if isinstance(p, str) else p[NUMBER] for p in found] == [2, 3, 4, "FINISHED"]
    assert found[1] == {"gamma": 0.9, NUMBER: 3}


def numbered(number: int, status: str = Trial.RUNNING, **labels: Any) -> Any:
    """A trial of Tune's as schedulers see it."""
    trial = Trial("stub", stub=True, config={**labels, NUMBER: number})
    trial.status = status
    return trial


def test_a_resumed_asha_knows_what_came_before(tmp_path: Path) -> None:
    plan = search_of(tmp_path, grace=1, reports=4)

    def answer(asha: Any, number: int, report: int, success: float) -> str:
        trial = numbered(number)
        asha.on_trial_add(None, trial)
        return str(asha.on_trial_result(None, trial, {REPORT: report, METRIC: success}))

    before = state_of(reported(1, 0.5, 0.7), reported(2, 0.6, status="unfinished"))
    alone, resumed = scheduler(plan, State()), scheduler(plan, before)
    assert isinstance(resumed, Halving)
    assert answer(alone, 3, 1, 0.4) == "CONTINUE"  # the best so far
    assert answer(resumed, 3, 1, 0.4) == "STOP"
    # Number 2 goes on: what it had reported is not counted twice, what it now reports counts.
    assert answer(resumed, 2, 2, 0.65) == "STOP"
    assert answer(scheduler(plan, before), 2, 2, 0.75) == "CONTINUE"


def test_the_worst_and_the_best_of_a_population() -> None:
    assert quantiles({}) == quantiles({1: 0.5}) == ([], [])
    assert quantiles({1: 0.5, 2: 0.1}) == ([2], [1])
    assert quantiles({1: 0.5, 2: 0.1, 3: math.nan, 4: 0.3, 5: 0.7, 6: 0.2}) == ([2, 6], [1, 5])


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_a_population_changes_settings_within_their_ranges(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    import numpy as np

    space = search_of(
        tmp_path_factory.mktemp("s"),
        space={
            "gamma": {"uniform": [0.9, 0.99]}, "batch": {"uniform": [8, 16]},
            "polyak": {"choice": [0.005, 0.01, 0.02]},
        },
    ).space  # fmt: skip
    labels = {"gamma": 0.95, "batch": 9, "polyak": 0.005}
    changed = explored(space, labels, np.random.default_rng(seed))
    assert 0.9 <= changed["gamma"] <= 0.99 and changed["polyak"] in (0.005, 0.01, 0.02)
    assert isinstance(changed["batch"], int) and 8 <= changed["batch"] <= 16
    assert changed == explored(space, labels, np.random.default_rng(seed))


def test_the_worst_of_a_population_goes_on_from_the_best(tmp_path: Path) -> None:
    plan = search_of(
        tmp_path, scheduler="pbt", searcher="random", grace=2,
        space={"policy_learning_rate": {"loguniform": [1e-5, 1e-3]}},
    )  # fmt: skip
    assert takes_turns(plan) and not takes_turns(search_of(tmp_path))
    good, poor = (
        reported(n, *f, status="unfinished", policy_learning_rate=1e-4)
        for n, f in ((1, (0.7, 0.8)), (2, ()))
    )
    state = state_of(good, poor)
    population = scheduler(plan, state)
    assert isinstance(population, Population)
    trials = [numbered(1, policy_learning_rate=1e-4), numbered(2, policy_learning_rate=5e-4)]
    controller: Any = SimpleNamespace(get_trials=lambda: trials)
    result = {METRIC: 0.1, REPORT: 1, SECONDS: 7.0}
    assert population.on_trial_result(controller, trials[1], result) == "CONTINUE"
    result[REPORT] = 2
    assert population.on_trial_result(controller, trials[1], result) == "PAUSE"
    taken = poor.takeover
    assert taken is not None and (taken.donor, taken.snapshot) == (1, good.snapshot)
    assert 1e-5 <= taken.settings["policy_learning_rate"] <= 1e-3
    assert trials[1].config == {
        **taken.settings, NUMBER: 2,
        START: {"key": taken.key, "snapshot": good.snapshot, "seconds": 7.0},
    }  # fmt: skip
    # The good one goes on by itself, and makes room for who waits.
    assert population.on_trial_result(controller, trials[0], {**result, METRIC: 0.9}) == "CONTINUE"
    trials[1].status = Trial.PAUSED
    assert population.on_trial_result(controller, trials[0], {**result, METRIC: 0.9}) == "PAUSE"
    assert population.choose_trial_to_run(controller) is trials[1]
    # A search resumed there goes on with what was taken over, which is drawn the same again.
    assert scheduler(plan, state).takeover(2, 2, {1: 0.8, 2: 0.1}) != taken  # another takeover
    poor.takeovers = 0
    assert scheduler(plan, state).takeover(2, 2, {1: 0.8, 2: 0.1}) == taken
    poor.takeovers = 1
    source = searcher(plan, state)
    assert source.suggest("a") == {"policy_learning_rate": 1e-4, NUMBER: 1}
    assert source.suggest("b") == {**taken.settings, NUMBER: 2}


def test_only_folders_of_dead_processes_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import subprocess
    import sys
    import tempfile

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    program = (
        "import sys, time\nfrom trainers.search.trial import working_folder\n"
        "with working_folder() as run:\n    print(run, flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        run = Path(other.stdout.readline().strip())
        os.utime(run.parent, (0, 0))
        with working_folder():
            clear_leftovers()
            assert run.is_dir() and run.parent.name.startswith(WORKING)
        other.kill()
        other.wait()
    clear_leftovers()
    assert not list(tmp_path.iterdir())
