"""Keeps a search's state by what Tune tells of its trials, and says it line by line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.logger import TBXLoggerCallback

from trainers.search.config import Search
from trainers.search.state import Labels, Record, Report, State
from trainers.search.storage import Folder
from trainers.search.trial import FINISHED, NAMES, NUMBER, REPORT, SECONDS, START


class Recorder(Callback):
    """Writes the state down after each event. The scheduler has decided by then."""

    def __init__(self, plan: Search, folder: Folder, state: State) -> None:
        self.folder, self.state = folder, state
        self.keys = tuple(r.key for r in plan.space.ranges)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config[NUMBER]
        if number not in self.state.trials:
            self.state.trials[number] = Record(number, self._labels(trial.config))
        record = self.state.trials[number]
        record.status, record.error = "unfinished", ""
        self.state.save(self.folder)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        record = self._of(trial)
        figures = {name: float(result[name]) for name in json.loads(result[NAMES])}
        record.report(Report(result[REPORT], result[SECONDS], figures))
        # Those it was made with: the trial's own may have been changed by this very report.
        record.settings = self._labels(result["config"])
        if record.takeover is not None and record.takeover.key == result[START]:
            record.takeover = None
        if result[FINISHED]:
            record.status = "finished"
        self.state.save(self.folder)

    def on_checkpoint(
        self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        """A checkpoint is whole in the search's folder by now."""
        place = Path(checkpoint.path)
        record = self._of(trial)
        record.snapshot = "/".join(place.parts[-3:])  # tune-1/trial-0003/checkpoint_000002
        self.state.save(self.folder)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._of(trial)
        if record.status != "finished":
            record.status = "stopped"
        self.state.save(self.folder)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._of(trial)
        record.status, record.error = "failed", reason(trial)
        self.state.save(self.folder)

    def _of(self, trial: Any) -> Record:
        number = trial.config[NUMBER]
        if number not in self.state.trials:  # it failed before it started
            self.state.trials[number] = Record(number, self._labels(trial.config))
        return self.state.trials[number]

    def _labels(self, config: dict[str, Any]) -> Labels:
        return {key: config[key] for key in self.keys if key in config}


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
        shown = "  ".join(f"{m} {_short(result.get(m, math.nan))}" for m in self.metrics)
        print(
            f"{_name(trial)}  report {result[REPORT]}  {shown}  {result[SECONDS] / 60:.1f} min",
            flush=True,
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        how = "is finished" if trial.last_result.get(FINISHED) else "was stopped early"
        print(f"{_name(trial)}  {how}", flush=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(f"{_name(trial)}  failed: {reason(trial)}", flush=True)


class Board(TBXLoggerCallback):
    """Tune's writer of TensorBoard files, closed where a search is stopped, too.

    Tune closes the files of trials that end. Those of trials that a stop cuts short it leaves to
    the end of the process, where their threads die with tracebacks.
    """

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        for writer in self._trial_writer.values():
            writer.close()
        self._trial_writer.clear()


def reason(trial: Any) -> str:
    """The last line of what a trial's process said when it failed."""
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason told"


def _name(trial: Any) -> str:
    return f"trial {trial.config[NUMBER]:3d}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
