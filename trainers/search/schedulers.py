"""Who ends trials early, or lets them go on from others. A resumed search makes its scheduler anew
from the reports that were written down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from trainers.search.config import Search
from trainers.search.space import Space, label_of
from trainers.search.state import Labels, Record, State, Takeover
from trainers.search.trial import NUMBER, REPORT, SECONDS, START, start_of

QUANTILE = 0.25
"""Share of a population that takes over from as many of its best."""
RESAMPLE = 0.25
"""Probability that a setting is drawn anew instead of being changed a little."""
FACTORS = (0.8, 1.2)
"""By what a number is changed a little."""


def scheduler(plan: Search, state: State) -> TrialScheduler:
    """The scheduler that a search asks for, knowing what it had seen."""
    if plan.settings.scheduler == "asha":
        return Halving(plan, state)
    if plan.settings.scheduler == "pbt":
        return Population(plan, state)
    return FIFOScheduler()


class Halving(AsyncHyperBandScheduler):
    """Ray's own ASHA, which knows trials by their numbers: those of an earlier start too."""

    def __init__(self, plan: Search, state: State) -> None:
        metric, mode = next(iter(plan.metrics.items()))
        settings = plan.settings
        super().__init__(
            time_attr=REPORT, metric=metric, mode=mode,
            max_t=max(plan.reports, settings.grace + 1), grace_period=settings.grace,
            reduction_factor=settings.reduction,
        )  # fmt: skip
        for record in state.trials.values():
            known = _known_as(record.number)
            super().on_trial_add(None, known)
            for report in record.reports:
                super().on_trial_result(None, known, {REPORT: report.number, **report.figures})

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _known_as(trial.config[NUMBER]))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        known = _known_as(trial.config[NUMBER])
        decision: str = super().on_trial_result(tune_controller, known, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _known_as(trial.config[NUMBER]), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _known_as(trial.config[NUMBER]))


def _known_as(number: int) -> Any:
    """What Ray's scheduler asks of a trial."""
    return SimpleNamespace(trial_id=str(number))


class Population(FIFOScheduler):
    """Population-based training (Jaderberg et al. 2017): after every `grace` reports a trial of the
    worst quarter goes on from the state of one of the best, with its settings changed a little.

    Everything that is drawn depends on the seed, the trial and its report. Where more trials live
    than run at a time, they take turns.
    """

    def __init__(self, plan: Search, state: State) -> None:
        super().__init__()
        self.metric_name, mode = next(iter(plan.metrics.items()))
        self.sign = 1.0 if mode == "max" else -1.0
        self.space, self.state = plan.space, state
        self.grace, self.seed = plan.settings.grace, plan.settings.seed

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True  # the search says what it goes by

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        report = result[REPORT]
        if report % self.grace or self.metric_name not in result:
            found: str = TrialScheduler.CONTINUE
            return found
        number = trial.config[NUMBER]
        others = [t for t in tune_controller.get_trials() if t is not trial]
        alive = {t.config[NUMBER] for t in others if not t.is_finished()}
        scores = {n: self.score(self.state.trials[n]) for n in alive if n in self.state.trials}
        scores[number] = self.sign * float(result[self.metric_name])
        takeover = self.takeover(number, report, scores)
        if takeover is not None:
            record = self.state.trials[number]
            record.takeover, record.takeovers = takeover, record.takeovers + 1
            start = asdict(start_of(takeover, result[SECONDS]))
            trial.set_config({**trial.config, **takeover.settings, START: start})
            found = TrialScheduler.PAUSE  # and goes on with that
            return found
        waiting = any(t.status in (Trial.PENDING, Trial.PAUSED) for t in others)
        found = TrialScheduler.PAUSE if waiting else TrialScheduler.CONTINUE
        return found

    def score(self, record: Record) -> float:
        """A member's figure when it was last compared; NaN where it never was."""
        compared = [r for r in record.reports if r.number % self.grace == 0]
        figure = compared[-1].figures.get(self.metric_name, math.nan) if compared else math.nan
        return self.sign * figure

    def takeover(self, number: int, report: int, scores: dict[int, float]) -> Takeover | None:
        """From whom a member goes on after a report, and with which settings; None: from itself."""
        worst, best = quantiles(scores)
        best = [n for n in best if self.state.trials[n].snapshot]
        if number not in worst or not best:
            return None
        record = self.state.trials[number]
        rng = np.random.default_rng([self.seed, number, report, record.takeovers])
        donor = self.state.trials[best[int(rng.integers(len(best)))]]
        settings = explored(self.space, donor.now, rng)
        key = f"{number}-{record.takeovers + 1}"
        return Takeover(key, settings, donor.snapshot, donor.number)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The one that has come the least far."""
        waiting = [
            t for t in tune_controller.get_trials() if t.status in (Trial.PENDING, Trial.PAUSED)
        ]

        def reports(trial: Any) -> int:
            record = self.state.trials.get(trial.config[NUMBER])
            return record.reports[-1].number if record and record.reports else 0

        return min(waiting, key=reports, default=None)

    def debug_string(self) -> str:
        return "population-based training"


def quantiles(scores: dict[int, float]) -> tuple[list[int], list[int]]:
    """The worst and the best quarter of a population, rounded up, at most a half each; of members
    with a score."""
    known = {number: score for number, score in scores.items() if math.isfinite(score)}
    order = sorted(known, key=lambda number: (known[number], number))
    size = min(math.ceil(len(order) * QUANTILE), len(order) // 2)
    return order[:size], order[len(order) - size :]


def explored(space: Space, labels: Labels, rng: np.random.Generator) -> Labels:
    """Settings changed a little, within their ranges: each drawn anew, or a number times 0.8 or
    1.2, or the choice beside it."""
    changed: Labels = {}
    for r in space.ranges:
        if rng.random() < RESAMPLE:
            changed[r.key] = label_of(r.draw(rng))
        elif r.kind == "choice":
            choices: Sequence[Any] = [label_of(choice) for choice in r.choices]
            place = choices.index(labels[r.key]) + int(rng.choice((-1, 1)))
            changed[r.key] = choices[min(max(place, 0), len(choices) - 1)]
        else:
            value = labels[r.key] * float(rng.choice(FACTORS))
            value = min(max(value, r.low), r.high)
            changed[r.key] = round(value) if r.whole else value
    return changed
