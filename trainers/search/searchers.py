"""Who proposes trials: a list that is known beforehand, or Optuna. Each gets a number.

The number stands in the trial's configuration: folders, tables and messages call it by that. A
resumed search proposes its unfinished trials first, under their own numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState
from ray.tune.search import Searcher

from trainers.search.config import Search
from trainers.search.state import Labels, State
from trainers.search.trial import NUMBER


class NumberedSearch(Searcher):
    """Trials by their numbers: the unfinished ones of a resumed search, then new ones."""

    def __init__(self, plan: Search, state: State) -> None:
        metric, mode = next(iter(plan.metrics.items()))
        super().__init__(metric=metric, mode=mode)
        self.missing = state.missing(plan.trials)
        self.known = {number: record.now for number, record in state.trials.items()}
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if not self.missing:
            return Searcher.FINISHED
        number = self.numbers[trial_id] = self.missing.pop(0)
        return {**(self.known.get(number) or self.propose(number)), NUMBER: number}

    def propose(self, number: int) -> Labels:
        """The labels of a new trial."""
        raise NotImplementedError

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What came of a trial changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """The search's own state says it all."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a resumed search makes its searcher anew")


class ListedSearch(NumberedSearch):
    """The trials of a list that is known beforehand."""

    def __init__(self, plan: Search, state: State) -> None:
        super().__init__(plan, state)
        self.points = [plan.space.labels(point) for point in plan.points]

    def propose(self, number: int) -> Labels:
        return self.points[number - 1]


class OptunaSearch(NumberedSearch):
    """Optuna's tree-structured Parzen estimator.

    Each proposal has a seed of its own, so that it depends on the trials before it alone, and a
    resumed search proposes what it would have proposed.
    """

    def __init__(self, plan: Search, state: State) -> None:
        super().__init__(plan, state)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.metrics, self.seed = plan.space, tuple(plan.metrics), plan.settings.seed
        ways = [
            StudyDirection.MAXIMIZE if way == "max" else StudyDirection.MINIMIZE
            for way in plan.metrics.values()
        ]
        self.study = optuna.create_study(directions=ways)
        self.asked: dict[int, optuna.Trial] = {}
        for number in sorted(state.trials):
            record = state.trials[number]
            self.study.enqueue_trial(record.settings)
            self.ask(number)
            if record.settled:
                self.tell(number, record.reports[-1].figures if record.reports else {})

    def propose(self, number: int) -> Labels:
        return dict(self.ask(number).params)

    def ask(self, number: int) -> optuna.Trial:
        """The next trial of the study, with its settings suggested."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self.asked[number] = self.study.ask()
        self.space(trial)
        return trial

    def tell(self, number: int, figures: Mapping[str, Any]) -> None:
        """What a trial came to; one without a figure of every metric has failed."""
        values = [float(figures.get(metric, math.nan)) for metric in self.metrics]
        trial = self.asked.pop(number)
        if all(math.isfinite(value) for value in values):
            self.study.tell(trial, values)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.tell(self.numbers[trial_id], {} if error or result is None else result)


def searcher(plan: Search, state: State) -> Searcher:
    """The searcher that a search asks for, with what it had learnt."""
    kind = OptunaSearch if plan.settings.searcher == "optuna" else ListedSearch
    return kind(plan, state)
