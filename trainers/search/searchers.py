"""Who proposes trials: a list that is known beforehand, or Optuna. Each gets a number.

The number stands in the trial's configuration: folders, tables and messages call it by that,
before and after a resume.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from trainers.search.config import Search
from trainers.search.space import Values

NUMBER = "number"
TRIAL = "trial-"
"""What folders of trials begin with; their numbers follow."""


class ListedSearch(Searcher):
    """Proposes the labels of the listed trials in their order; a resumed search goes on there."""

    def __init__(self, points: list[Values], metric: str, mode: str) -> None:
        super().__init__(metric=metric, mode=mode)
        self.points = points
        self.proposed = 0

    def suggest(self, trial_id: str) -> Any:
        if self.proposed == len(self.points):
            return Searcher.FINISHED
        self.proposed += 1
        return {**self.points[self.proposed - 1], NUMBER: self.proposed}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What came of a trial changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text(json.dumps(self.proposed))

    def restore(self, checkpoint_path: str) -> None:
        self.proposed = json.loads(Path(checkpoint_path).read_text())


class NumberedOptunaSearch(OptunaSearch):
    """Ray's own; what it saves of itself includes the count."""

    proposed = 0

    def suggest(self, trial_id: str) -> Any:
        proposal = super().suggest(trial_id)
        if proposal is None:
            return None
        self.proposed += 1
        return {**proposal, NUMBER: self.proposed}


def searcher(plan: Search) -> Searcher:
    """The searcher that a search asks for."""
    metrics, modes = list(plan.metrics), list(plan.metrics.values())
    if plan.settings.searcher != "optuna":
        points = [plan.space.labels(point) for point in plan.points]
        return ListedSearch(points, metrics[0], modes[0])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    one = len(metrics) == 1
    return NumberedOptunaSearch(
        space=plan.space, metric=metrics[0] if one else metrics, mode=modes[0] if one else modes,
        sampler=optuna.samplers.TPESampler(seed=plan.settings.seed),
    )  # fmt: skip
