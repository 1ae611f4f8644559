"""How often one model's answers beat another's: ties, both orders, length, intervals.

Everywhere a *win* is a number in [0, 1]: 1 where ours is better, 0 where theirs is, 0.5 for a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from rayforge.evaluation.intervals import Interval, bootstrap_interval

_STEPS = 50
_LEVEL = 0.95


class WinRate(NamedTuple):
    """Ours against theirs over n prompts."""

    rate: Interval
    """Mean win with its 95 % interval, bootstrapped over prompts."""
    wins: int
    """Prompts whose win is above 0.5."""
    losses: int
    ties: int
    swayed: int
    """Prompts on which the judge preferred one side in one order and the other in the other."""


def over_orders(wins: np.ndarray) -> np.ndarray:
    """Mean over the orders of presentation: wins [n, orders] -> float64 [n].

    Column 0 was judged with ours first, column 1 with theirs first, both as wins of ours. A judge
    that follows the position, not the answer, comes out at 0.5.

    Raises ValueError for a win outside [0, 1].
    """
    found: np.ndarray = _wins(wins, 2).mean(axis=1)
    return found


def win_rate(wins: np.ndarray, seed: int = 0) -> WinRate:
    """The win rate of wins [n, orders], with ties as half a win.

    The prompts are resampled, each with all its orders, so that two judgements of one prompt do
    not count as two. Raises ValueError for a win outside [0, 1].
    """
    table = _wins(wins, 2)
    mean = table.mean(axis=1)
    swayed = (table.max(axis=1, initial=0) > 0.5) & (table.min(axis=1, initial=1) < 0.5)
    return WinRate(
        bootstrap_interval(mean, seed),
        int((mean > 0.5).sum()),
        int((mean < 0.5).sum()),
        int((mean == 0.5).sum()),
        int(swayed.sum()),
    )


def win_rate_from_success(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Wins [n, 1] of two models that a judge scored alone: the higher score wins, equal is a tie.

    `ours`, `theirs` [n]: success (0 or 1) or any score, higher is better, of the same prompts in
    the same order. Order cannot matter here, so there is one column.

    Raises ValueError where the two are not equally many or not finite.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"a paired win rate needs one score a prompt on both sides: {a.shape} and {b.shape}; "
            "match them by prompt first"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a score is not finite: judge that prompt again or leave it out")
    return np.where(a == b, 0.5, a > b)[:, None].astype(np.float64)


def length_controlled(
    wins: np.ndarray, ours: np.ndarray, theirs: np.ndarray, seed: int = 0, samples: int = 1000
) -> Interval:
    """The win rate if answers were equally long: sigma(theta), 95 % bootstrap over prompts.

    Fits P(win) = sigma(theta + phi tanh(delta / s)) to wins [n] by maximum likelihood, delta =
    length of ours - length of theirs [n] (any unit), s its standard deviation, and sets delta to 0.
    This is the "minimal" form of the length-controlled AlpacaEval (arXiv 2404.04475): model and
    length, without its term for each instruction's difficulty and without its regularisation
    towards known models, which exist for its own prompts alone. A weak ridge on both numbers (one
    hundredth of a prompt) keeps them finite where a side always wins.

    Where all lengths differ alike, length and model cannot be told apart: NaN limits, and the mean
    is the raw win rate.

    Raises ValueError for counts that differ or wins outside [0, 1].
    """
    won = _wins(wins, 1)
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if not won.shape == a.shape == b.shape:
        raise ValueError(
            f"one win and two lengths a prompt are needed: {won.shape}, {a.shape}, {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a length is not finite")
    count = len(won)
    delta = a - b
    spread = float(delta.std()) if count else 0.0
    if count < 2 or spread == 0:
        # Without a spread nothing says what length did; equal lengths need no control at all.
        if count >= 2 and not delta.any():
            return bootstrap_interval(won, seed)
        return Interval(float(won.mean()) if count else np.nan, np.nan, np.nan, count)
    feature = np.tanh(delta / spread)
    mean = float(expit(_fit(feature, won, np.ones((1, count)))[0, 0]))
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, count, (samples, count))
    drawn += np.arange(samples)[:, None] * count
    times = np.bincount(drawn.ravel(), minlength=samples * count).reshape(samples, count)
    found = expit(_fit(feature, won, times.astype(np.float64))[:, 0])
    low, high = np.quantile(found, [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    return Interval(mean, min(float(low), mean), max(float(high), mean), count)


def _fit(feature: np.ndarray, won: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(theta, phi) of a weighted logistic regression for each row of weight [k, n] -> [k, 2].

    Newton's method on a strictly convex loss, with the step halved for a row whose loss rises.
    """
    inputs = np.stack([np.ones_like(feature), feature], axis=1)
    found = np.zeros((len(weight), 2))
    ridge = 0.01

    def loss(numbers: np.ndarray) -> np.ndarray:
        logit = numbers @ inputs.T
        nll = np.logaddexp(0, logit) - won * logit
        found: np.ndarray = (weight * nll).sum(1) + ridge / 2 * (numbers**2).sum(1)
        return found

    now = loss(found)
    for _ in range(_STEPS):
        p = expit(found @ inputs.T)
        slope = (weight * (p - won)) @ inputs + ridge * found
        curvature = np.einsum("kn,ni,nj->kij", weight * p * (1 - p), inputs, inputs)
        curvature += ridge * np.eye(2)
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        size = np.ones(len(weight))
        for _ in range(_STEPS):
            then = loss(found - size[:, None] * step)
            worse = then > now + 1e-9 * (1 + np.abs(now))  # beyond rounding
            if not worse.any():
                break
            size[worse] /= 2
        found = found - size[:, None] * step
        now = then
        if np.abs(slope).max() < 1e-8 * (1 + weight.sum(1).max()):
            break
    return found


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(score of a true one > score of a false one), ties half: the area under the ROC curve.

    scores [n], labels bool [n]. 0.5 is chance. NaN where all labels are the same. For margins as
    a detector of flipped labels pass the negated margins.

    Raises ValueError for counts that differ or scores that are not numbers.
    """
    values, true = np.asarray(scores, np.float64), np.asarray(labels).astype(bool)
    if values.shape != true.shape or values.ndim != 1:
        raise ValueError(f"one score a label is needed: {values.shape} and {true.shape}")
    if np.isnan(values).any():
        raise ValueError(f"the score of item {np.flatnonzero(np.isnan(values))[0]} is NaN")
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return float("nan")
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(times) - (times - 1) / 2)[place]
    return float((rank[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def alpaca_outputs(
    prompts: Sequence[str], outputs: Sequence[str], model: str, data: str
) -> list[dict[str, str]]:
    """A model's answers as `alpaca_eval --model_outputs` reads them, one record a prompt.

    Keys: instruction, output, generator (the model's name), dataset.
    """
    return [
        {"instruction": prompt, "output": output, "generator": model, "dataset": data}
        for prompt, output in zip(prompts, outputs, strict=True)
    ]


def alpaca_annotations(
    prompts: Sequence[str],
    ours: Sequence[str],
    theirs: Sequence[str],
    wins: np.ndarray,
    names: tuple[str, str],
    judge: str,
    data: str,
) -> list[dict[str, Any]]:
    """Judgements in the format of alpaca_eval's `annotations.json`, one record a prompt.

    There theirs is the baseline, output_1, and ours is output_2; `preference` is 1 where the
    baseline won, 2 where ours did, 1.5 for a tie, that is 1 + win. `names`: of ours and theirs.
    `wins` [n], one a prompt (see `over_orders`).
    """
    won = _wins(wins, 1)
    return [
        {
            "instruction": prompt,
            "output_1": other,
            "generator_1": names[1],
            "dataset": data,
            "output_2": own,
            "generator_2": names[0],
            "annotator": judge,
            "preference": 1.0 + float(win),
        }
        for prompt, own, other, win in zip(prompts, ours, theirs, won, strict=True)
    ]


def _wins(wins: np.ndarray, dimensions: int) -> np.ndarray:
    table = np.asarray(wins, np.float64)
    if table.ndim != dimensions:
        expected = "[n, orders]" if dimensions == 2 else "[n]"
        raise ValueError(f"wins must be {expected}, got shape {table.shape}")
    if not ((table >= 0) & (table <= 1)).all():
        raise ValueError("a win is not in [0, 1]: 1 is ours, 0 theirs, 0.5 a tie")
    return table
