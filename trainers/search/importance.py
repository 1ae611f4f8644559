"""How much each setting mattered, by Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.search.space import Range, Space

FEWEST = 4
"""Trials below which importance would be noise."""


def importances(
    space: Space, trials: Sequence[tuple[Mapping[str, Any], float | None]], direction: str
) -> dict[str, float]:
    """{setting: importance}, summing to 1, from (labels of its settings, figure) of each trial.

    Optuna's own default, PED-ANOVA (Watanabe et al. 2023): how much the values of a setting among
    the best trials differ from those among all; it also takes settings that some trials lack.
    Empty where fewer than `FEWEST` trials have a figure, or all figures are equal.
    """
    import optuna

    known = [(dict(labels), v) for labels, v in trials if v is not None and math.isfinite(v)]
    if len(known) < FEWEST or len({value for _, value in known}) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize" if direction == "min" else "maximize")
    for labels, value in known:
        ranges = [r for r in space.ranges if r.key in labels]
        study.add_trial(
            optuna.trial.create_trial(
                params={r.key: labels[r.key] for r in ranges},
                distributions={r.key: _distribution(space, r) for r in ranges},
                value=value,
            )
        )
    with warnings.catch_warnings():
        # Of settings that few trials had; the page says what a handful of trials is worth.
        warnings.simplefilter("ignore", UserWarning)
        found = optuna.importance.get_param_importances(study)
    return {key: float(value) for key, value in found.items()}


def _distribution(space: Space, r: Range) -> Any:
    from optuna import distributions

    if r.kind == "choice":
        labels = [space.labels({r.key: choice})[r.key] for choice in r.choices]
        return distributions.CategoricalDistribution(labels)
    log = r.kind == "loguniform"
    if r.whole:
        return distributions.IntDistribution(int(r.low), int(r.high), log=log)
    return distributions.FloatDistribution(r.low, r.high, log=log)
