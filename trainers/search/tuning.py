"""Ray Tune's side of a search: trials, who proposes them, who ends them, what is told of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune import Callback, ResultGrid, TuneConfig, Tuner
from ray.tune.schedulers import AsyncHyperBandScheduler

from rayforge.errors import RunError
from trainers.search.agent import AgentTrial
from trainers.search.both import both_trial
from trainers.search.config import Search
from trainers.search.kept import KeptState, bring_back
from trainers.search.language import language_trial
from trainers.search.resources import need
from trainers.search.results import read_trials, write_results
from trainers.search.schedulers import KeptRungs, scheduler
from trainers.search.searchers import NUMBER, TRIAL, searcher
from trainers.search.storage import Folder
from trainers.search.tracking import TrackedTrials

KEPT = 4
"""Checkpoints kept a trial: one that others copy must not vanish meanwhile."""


def tune_all(
    plan: Search, folder: Folder, at_once: int, resume: bool, file: Path, command: str
) -> None:
    """Run the trials that are missing, on the Ray that runs; write the results, however it ends.

    Raises KeyboardInterrupt after SIGTERM or SIGINT, with what was reached saved, and
    ConfigurationError where no trial came to a report.
    """
    tuner = (_restored(plan, folder) if resume else None) or _fresh(plan, folder, at_once)
    stopped: list[str] = []

    def wind_down(number: int, frame: FrameType | None) -> None:
        stopped.append(signal.Signals(number).name)
        signal.raise_signal(signal.SIGUSR1)  # Tune saves what it knows and stops its trials

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # before Tune listens, there is nothing to save

    previous = {s: signal.signal(s, wind_down) for s in (signal.SIGTERM, signal.SIGINT)}
    previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, interrupt)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        grid: ResultGrid = tuner.fit()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    trials = read_trials(grid, plan, folder)
    write_results(folder, plan, trials, command)
    if stopped:
        raise KeyboardInterrupt(
            f"stopped by {stopped[0]}; go on with: rayforge tune {file} --resume"
        )
    if not any(trial.figures for trial in trials):
        first = next((trial.error for trial in trials if trial.error), "")
        raise RunError(f"no trial reported anything; the first ended with: {first}")


def _fresh(plan: Search, folder: Folder, at_once: int) -> Tuner:
    """The whole search from its beginning."""
    settings, chosen = plan.settings, scheduler(plan)
    callbacks: list[Callback] = [Progress(plan), TrackedTrials(plan, folder), KeptState()]
    if isinstance(chosen, AsyncHyperBandScheduler):
        callbacks.append(KeptRungs(chosen))
    return Tuner(
        _trainable(plan),
        param_space={"search": plan},
        tune_config=TuneConfig(
            search_alg=searcher(plan),
            scheduler=chosen,
            num_samples=plan.trials,
            max_concurrent_trials=None if takes_turns(plan) else at_once,
            trial_dirname_creator=folder_of,
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name=settings.name,
            storage_path=str(folder.storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.failures),
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=KEPT,
                # A function reports its own checkpoints.
                **({"checkpoint_frequency": 1} if settings.half == "irl" else {}),
            ),
            callbacks=callbacks,
        ),
    )


def takes_turns(plan: Search) -> bool:
    """Whether all trials are there from the start and take turns on the CPUs: a population learns
    from its members, so they must live at the same time.

    Only where a trial reserves all that it takes: those that wait for workers of Ray Train would
    all be placed at once.
    """
    settings = plan.settings
    waits = need(settings.half, plan.trial({})).outside
    return settings.scheduler == "pbt" and not settings.concurrent and not waits


def _restored(plan: Search, folder: Folder) -> Tuner | None:
    """The search as Tune last wrote it down; None where that was before its first trial.

    Folders of trials that began after that are removed: other trials will have their numbers.
    """
    known: set[str] = set()
    tuner = None
    if not folder.remote:
        bring_back(Path(str(folder)))
    if Tuner.can_restore(str(folder)):
        tuner = Tuner.restore(
            str(folder), _trainable(plan), resume_unfinished=True, resume_errored=True,
            param_space={"search": plan},
        )  # fmt: skip
        try:
            known = {Path(result.path).name for result in tuner.get_results()}
        except RuntimeError:  # it had not written down any
            tuner = None
    for name in folder.folders():
        if name.startswith(TRIAL) and name not in known:
            folder.remove(name)
    return tuner if known else None


def _trainable(plan: Search) -> Any:
    half = plan.settings.half
    if half == "irl":
        return AgentTrial
    function = language_trial if half == "alignment" else both_trial

    def bundles(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        own = plan.trial(plan.space.values(config))
        return tune.PlacementGroupFactory(list(need(half, own).bundles))

    return tune.with_resources(function, bundles)


def folder_of(trial: Any) -> str:
    """A trial's folder in that of the search."""
    return f"{TRIAL}{trial.config[NUMBER]:04d}"


class Progress(Callback):
    """A line for each report, each trial that ends, and each that fails."""

    def __init__(self, plan: Search) -> None:
        self.metrics = tuple(plan.metrics)
        self.keys = tuple(r.key for r in plan.space.ranges)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        chosen = ", ".join(f"{k} {_short(trial.config[k])}" for k in self.keys if k in trial.config)
        print(f"{_name(trial)}  starts with {chosen}", flush=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        shown = "  ".join(f"{m} {_short(result.get(m))}" for m in self.metrics)
        seconds = result["time_total_s"]
        print(
            f"{_name(trial)}  report {result['training_iteration']}  {shown}  "
            f"{seconds / 60:.1f} min",
            flush=True,
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        how = "is finished" if trial.last_result.get("finished") else "was stopped early"
        print(f"{_name(trial)}  {how}", flush=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        why = (trial.error_file and Path(trial.error_file).read_text().strip()) or "no reason told"
        print(f"{_name(trial)}  failed: {why.splitlines()[-1]}", flush=True)


def _name(trial: Any) -> str:
    return f"trial {trial.config[NUMBER]:3d}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
