"""A trial as Tune runs it, without Tune: killed, resumed, taken over; its state goes by Tune's
events alone."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from trainers.search import trial as trials
from trainers.search.config import Search, read_search
from trainers.search.recorder import Board, Recorder
from trainers.search.snapshots import settle
from trainers.search.state import Report, State, Takeover, read_state
from trainers.search.storage import Folder
from trainers.search.trial import NUMBER, START, Start
from trainers.search.tuning import starts_of

TOY = "tests.trainers.toy_system:TOY"


class Killed(BaseException):
    pass


class TuneStandIn:
    """What a trial asks of Tune, and the snapshots and events that Tune makes of it."""

    def __init__(self, recorder: Recorder, folder: Folder, attempt: int, until: int) -> None:
        self.recorder, self.until, self.count = recorder, until, 0
        self.place = Path(str(folder)) / f"tune-{attempt}"
        self.newest: Path | None = None
        self.trial: Any = None
        self.Checkpoint = SimpleNamespace(from_directory=Path)

    def get_checkpoint(self) -> Any:
        def copy(to: str) -> None:
            assert self.newest is not None
            shutil.copytree(self.newest, to, dirs_exist_ok=True)

        return None if self.newest is None else SimpleNamespace(to_directory=copy)

    def report(self, result: dict[str, Any], checkpoint: Path) -> None:
        if self.count == self.until:
            raise Killed
        own = self.place / f"trial-{self.trial.config[NUMBER]:04d}"
        self.newest = own / f"checkpoint_{len(list(own.glob('*'))):06d}"
        shutil.copytree(checkpoint, self.newest)
        self.count += 1
        result = {**result, "config": self.trial.config}
        self.recorder.on_trial_result(0, [], self.trial, result)
        self.recorder.on_checkpoint(
            0, [], self.trial, SimpleNamespace(path=str(self.newest))
        )  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Search:
    file = tmp_path / "toys.yaml"
    document = {
        "system": TOY, "space": {"rate": {"uniform": [0.05, 0.5]}}, "reports": 6, "trials": 2,
        "metrics": {"distance": "min"}, "searcher": "random", "scheduler": "none",
    }  # fmt: skip
    file.write_text(yaml.safe_dump(document))
    return read_search(file, {"system": TOY})


def run(
    plan: Search, folder: Folder, state: State, config: dict[str, Any], until: int = 99,
    newest: Path | None = None,
) -> TuneStandIn:  # fmt: skip
    """One process of a trial, from its start to its end or to a kill after `until` reports."""
    recorder = Recorder(plan, folder, state)
    stand_in = TuneStandIn(recorder, folder, state.attempt, until)
    stand_in.trial = SimpleNamespace(config=config, last_result={}, error_file=None)
    stand_in.newest = newest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "tune", stand_in)
        recorder.on_trial_start(0, [], stand_in.trial)
        try:
            trials.run_trial(plan, folder, starts_of(state), config)
            recorder.on_trial_complete(0, [], stand_in.trial)
        except Killed:
            pass
    return stand_in


def figures(state: State, number: int = 1) -> list[tuple[int, float]]:
    return [(r.number, r.figures["distance"]) for r in state.trials[number].reports]


@pytest.mark.parametrize("until", range(6))
def test_a_killed_trial_goes_on_to_the_same_end(tmp_path: Path, plan: Search, until: int) -> None:
    config = {**plan.space.labels(plan.points[0]), NUMBER: 1}
    whole = State(attempt=1)
    run(plan, Folder(str(tmp_path), "whole"), whole, config)
    assert whole.trials[1].status == "finished" and len(figures(whole)) == 6

    folder = Folder(str(tmp_path), "mine")
    state = State(attempt=1)
    run(plan, folder, state, config, until)
    (tmp_path / "moved").mkdir()
    (tmp_path / "mine").rename(tmp_path / "moved" / "mine")  # and the folder moved meanwhile
    folder = Folder(str(tmp_path / "moved"), "mine")
    found = read_state(folder)
    assert found is not None and found.missing(2) == [1, 2]
    settle(folder, found)
    found.attempt += 1
    run(plan, folder, found, config)
    assert figures(found) == figures(whole)
    assert found.trials[1].status == "finished" and found.missing(2) == [2]
    settle(folder, found)
    assert (tmp_path / "moved" / "mine" / "trial-0001" / "state.json").is_file()


def test_a_process_that_took_the_place_of_a_dead_one_goes_on_from_its_snapshot(
    tmp_path: Path, plan: Search
) -> None:
    config = {**plan.space.labels(plan.points[0]), NUMBER: 1}
    folder, state = Folder(str(tmp_path), "mine"), State(attempt=1)
    first = run(plan, folder, state, config, 3)
    assert first.newest is not None
    again = TuneStandIn(first.recorder, folder, 1, 99)
    again.trial, again.newest = first.trial, first.newest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "tune", again)
        trials.run_trial(plan, folder, {}, config)
    assert [number for number, _ in figures(state)] == [1, 2, 3, 4, 5, 6]


def test_a_takeover_goes_on_from_the_donor_under_changed_settings(
    tmp_path: Path, plan: Search
) -> None:
    folder, state = Folder(str(tmp_path), "mine"), State(attempt=1)
    run(plan, folder, state, {"rate": 0.5, NUMBER: 1}, 4)
    poor = run(plan, folder, state, {"rate": 0.05, NUMBER: 2}, 2)
    donor = state.trials[1]
    record = state.trials[2]
    record.takeover = Takeover("2-1", {"rate": 0.4}, donor.snapshot, 1)
    start = Start("2-1", donor.snapshot, record.seconds)
    # In the same search; its own newest snapshot is older than the takeover.
    config = {"rate": 0.4, NUMBER: 2, START: vars(start)}
    stand_in = run(plan, folder, state, config, 1, newest=poor.newest)
    assert record.takeover is None and record.settings == {"rate": 0.4}
    last = record.reports[-1]
    assert last.number == 5 and last.figures["distance"] < donor.reports[-1].figures["distance"]
    assert isinstance(last, Report) and stand_in.count == 1
    # In a resumed one, where nothing was reported since.
    record.takeover = Takeover("2-2", {"rate": 0.3}, donor.snapshot, 1)
    settle(folder, state)
    state.attempt = 2
    run(plan, folder, state, {"rate": 0.3, NUMBER: 2}, 1)
    assert record.takeover is None and record.settings == {"rate": 0.3}
    assert record.reports[-1].number == 5


def test_a_stopped_search_leaves_no_writer_of_tensorboard_files_open(tmp_path: Path) -> None:
    trials = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        trials.append(Mock(local_path=str(folder)))
    before, board = set(threading.enumerate()), Board()
    for trial in trials:
        board.log_trial_result(1, trial, {"training_iteration": 1, "success": 0.5})
    own = {t for t in threading.enumerate() if type(t).__name__ == "_EventLoggerThread"} - before
    assert len(own) == 2
    board.on_experiment_end(trials)
    assert not any(thread.is_alive() for thread in own)
    assert all(list((tmp_path / name).glob("events.*")) for name in ("one", "two"))
