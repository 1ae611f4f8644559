"""Who ends trials early, or lets them go on from others."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from trainers.search.config import Search
from trainers.search.searchers import NUMBER
from trainers.search.space import Space


def scheduler(plan: Search) -> TrialScheduler:
    """The scheduler that a search asks for."""
    settings = plan.settings
    metric, mode = next(iter(plan.metrics.items()))
    if settings.scheduler == "asha":
        return AsyncHyperBandScheduler(
            metric=metric, mode=mode, max_t=max(plan.reports, settings.grace + 1),
            grace_period=settings.grace, reduction_factor=settings.reduction,
        )  # fmt: skip
    if settings.scheduler == "pbt":
        return Population(
            metric=metric, mode=mode, time_attr="training_iteration",
            perturbation_interval=settings.grace,
            hyperparam_mutations=mutations(plan.space),
            custom_explore_fn=partial(within, plan.space),
        )  # fmt: skip
    return FIFOScheduler()


class Population(PopulationBasedTraining):
    """Ray's own, made to work with numbered trials, and to go on where a search was broken off."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        # Ray refuses any searcher here, because one that learns would be told of settings it did
        # not propose. Ours lists what chance drew, and learns nothing.
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)
        result = trial.last_result or {}
        if self._metric not in result:
            return
        # A trial that was there before, of a search resumed or of a process that died.
        state = self._trial_state[trial]
        self._save_trial_state(state, result[self._time_attr], result, trial)
        state.last_perturbation_time = result[self._time_attr]
        state.last_checkpoint = trial.checkpoint

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> Any:
        """The other trial's settings, changed a little; the number stays the trial's own."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        config = {**config, NUMBER: trial.config[NUMBER]}
        # A resumed search begins from what a trial's settings were before Ray put the plan in the
        # place of its stand-in: without this line it would go on with another's weights under the
        # settings that it was born with.
        original = trial._Trial__unresolved_config
        trial._Trial__unresolved_config = {**config, "search": original["search"]}
        return config, operations


class KeptRungs(Callback):
    """Saves what "asha" has compared so far whenever Tune saves the search, and brings it back.

    Tune saves trials, searcher and callbacks, but not the scheduler: a resumed search would compare
    trials with none of those before, and let poor ones through.
    """

    def __init__(self, asha: AsyncHyperBandScheduler) -> None:
        self.asha = asha

    def get_state(self) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "asha"
            self.asha.save(str(file))
            return {"asha": file.read_bytes()}

    def set_state(self, state: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "asha"
            file.write_bytes(state["asha"])
            self.asha.restore(str(file))


def mutations(space: Space) -> dict[str, Any]:
    """What population-based training may change, as Tune's own ranges."""
    found: dict[str, Any] = {}
    for r in space.ranges:
        if r.kind == "choice":
            found[r.key] = list(space.labels({r.key: c})[r.key] for c in r.choices)
        elif r.kind == "loguniform":
            found[r.key] = tune.loguniform(r.low, r.high)
        else:
            found[r.key] = tune.uniform(r.low, r.high)
    return found


def within(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """A changed configuration with what left its range put back to its end: Tune multiplies by 1.2
    or 0.8 whatever the range."""
    for r in space.ranges:
        if r.kind != "choice":
            config[r.key] = min(max(config[r.key], r.low), r.high)
    return config
