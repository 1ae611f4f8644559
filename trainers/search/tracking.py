"""A search's trials in Weights & Biases and MLflow, each as a run of the search's group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune import Callback

from trainers.configuration import to_dict
from trainers.runs.tracking import Identity, Tracking
from trainers.search.config import Search
from trainers.search.snapshots import folder_of
from trainers.search.storage import Folder
from trainers.search.trial import NAMES, NUMBER, REPORT


class TrackedTrials(Callback):
    """Sends each report of each trial.

    Ray's own callbacks for the two would begin a second run, or overwrite the first, when a search
    is resumed.
    """

    def __init__(self, plan: Search, folder: Folder, identity: str) -> None:
        self.plan, self.identity = plan, identity
        here = Path() if folder.remote else Path(str(folder))
        self.files, self.store = here, Path() if folder.remote else here.parent
        self.open: dict[str, Tracking] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        settings = self.plan.settings
        if not settings.track or trial.trial_id in self.open:
            return
        own = self.plan.trial(self.plan.space.values(trial.config))
        name = folder_of(trial.config[NUMBER])
        key = f"{settings.name}-{self.identity}-{name}"
        identity = Identity(
            key, name, settings.name, to_dict(own), self.files, self.store,
        )  # fmt: skip
        self.open[trial.trial_id] = Tracking(settings.track, identity)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if trial.trial_id in self.open:
            figures = {name: float(result[name]) for name in json.loads(result[NAMES])}
            self.open[trial.trial_id].send(result[REPORT], figures)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, failed=True)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        for tracking in self.open.values():  # of trials that a resumed search goes on with
            tracking.end(failed=True)
        self.open.clear()

    def _end(self, trial: Any, failed: bool) -> None:
        tracking = self.open.pop(trial.trial_id, None)
        if tracking is not None:
            tracking.end(failed)
