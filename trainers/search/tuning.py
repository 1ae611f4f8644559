"""Ray Tune's side of a search: it is told which trials to run, and runs them.

Every start makes a tuner anew, in a folder of its own, from the search file and the search's state
(`trainers.search.state`). Ray's own way to resume unpickles what lies in the folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune import TuneConfig, Tuner

from rayforge.errors import RunError
from trainers.alignment.named_code import recorded
from trainers.runs.stopping import asking, limit
from trainers.search.config import Search
from trainers.search.recorder import Board, Progress, Recorder
from trainers.search.results import trials_of, write_results
from trainers.search.schedulers import scheduler
from trainers.search.searchers import searcher
from trainers.search.snapshots import TUNE, folder_of, settle
from trainers.search.state import State
from trainers.search.storage import Folder
from trainers.search.tracking import TrackedTrials
from trainers.search.trial import NUMBER, Start, clear_leftovers, run_trial, start_of

WIND_DOWN_S = 60.0
"""Seconds that Tune has to stop its trials once a signal came."""
KEPT = 4
"""Snapshots kept a trial: one that others copy must not vanish meanwhile."""


def tune_all(plan: Search, folder: Folder, state: State, at_once: int, command: str) -> None:
    """Run the trials that are missing, on the Ray that runs; write the results, however it ends.

    Raises KeyboardInterrupt after SIGTERM or SIGINT, with what was reached saved, and RunError
    where no trial came to a report.
    """
    # What Tune writes down for itself must not hold a command's text: it goes through the store.
    judge = ray.put(plan.settings.judge)
    plan = plan.with_judge(recorded(plan.settings.judge))
    clear_leftovers()
    state.attempt += 1
    settle(folder, state)
    state.save(folder)
    stopped = False
    if state.missing(plan.trials):
        stopped = _fit(make_tuner(plan, folder, state, at_once, judge))
        settle(folder, state)
    trials = trials_of(state, plan)
    write_results(folder, plan, trials, command)
    print(f"report: {folder}/report.html", flush=True)
    if stopped:
        raise KeyboardInterrupt
    if not any(trial.figures for trial in trials):
        first = next((trial.error for trial in trials if trial.error), "")
        raise RunError(f"no trial reported anything; the first ended with: {first}")


def _fit(tuner: Tuner) -> bool:
    """Run a tuner to its end, or to a signal: whether it was that."""

    def wind_down(name: str) -> None:
        limit(WIND_DOWN_S)
        signal.raise_signal(signal.SIGUSR1)  # Tune stops its trials

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # before Tune listens, there is nothing to stop

    previous = signal.signal(signal.SIGUSR1, interrupt)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    # Tables and records of Tune's own would stand beside the search's, one of them a pickle.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    try:
        with asking(wind_down):
            tuner.fit()
    except KeyboardInterrupt:
        return True
    finally:
        signal.signal(signal.SIGUSR1, previous)
    return False


def make_tuner(
    plan: Search, folder: Folder, state: State, at_once: int, judge: ray.ObjectRef
) -> Tuner:
    """A tuner for the trials that are missing, whose judge lies in Ray's store."""
    settings = plan.settings
    return Tuner(
        _trainable(plan, folder, starts_of(state), judge),
        tune_config=TuneConfig(
            search_alg=searcher(plan, state),
            scheduler=scheduler(plan, state),
            num_samples=len(state.missing(plan.trials)),
            max_concurrent_trials=None if takes_turns(plan) else at_once,
            trial_dirname_creator=lambda trial: folder_of(trial.config[NUMBER]),
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name=f"{TUNE}{state.attempt}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT),
            callbacks=[
                Recorder(plan, folder, state), Progress(plan),
                TrackedTrials(plan, folder, state.identity), Board(),
            ],
        ),
    )  # fmt: skip


def starts_of(state: State) -> dict[int, Start]:
    """What the trials of an earlier start go on with, by their numbers."""
    return {
        number: start_of(record.takeover, record.seconds)
        if record.takeover is not None
        else Start(f"attempt-{state.attempt}", record.snapshot, record.seconds)
        for number, record in state.trials.items()
        if record.takeover is not None or record.snapshot
    }


def takes_turns(plan: Search) -> bool:
    """Whether all trials are there from the start and take turns on the CPUs: a population learns
    from its members, so they must live at the same time.

    Only where a trial reserves all that it takes: those that wait for workers of Ray Train would
    all be placed at once.
    """
    settings = plan.settings
    waits = plan.system.resources(plan.trial({})).outside
    return settings.scheduler == "pbt" and not settings.concurrent and not waits


def _trainable(
    plan: Search, folder: Folder, starts: Mapping[int, Start], judge: ray.ObjectRef
) -> Any:
    def trial(config: dict[str, Any]) -> None:
        run_trial(plan.with_judge(ray.get(judge)), folder, starts, config)

    def bundles(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        own = plan.trial(plan.space.values(config))
        return tune.PlacementGroupFactory(list(plan.system.resources(own).bundles))

    return tune.with_resources(trial, bundles)
