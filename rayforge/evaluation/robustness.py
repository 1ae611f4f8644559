"""Accuracy under shift against accuracy at home: probit axes, the line, effective robustness.

After the assay of Wenzel et al. (NeurIPS 2022, arXiv 2207.09239); effective robustness after Taori
et al. (2020), recalled. Rates are in [0, 1]; they are moved by half a count from 0 and 1 before
their probit is taken, so that a rate of exactly 0 or 1 has a finite place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional


class Line(NamedTuple):
    """probit(target) = intercept + slope probit(source), fitted to runs by least squares."""

    slope: float
    intercept: float
    r_squared: float
    rank: float
    """Spearman's correlation."""
    runs: int

    def predict(self, source: np.ndarray) -> np.ndarray:
        """The target's rate for probits of the source's rate, [n]."""
        return np.asarray(stats.norm.cdf(self.intercept + self.slope * source))


def probit(rate: np.ndarray, count: int | np.ndarray = 10_000) -> np.ndarray:
    """Phi^-1 of rates [n] over `count` trials; 0 and 1 stand half a trial inside."""
    half = 0.5 / np.asarray(count, np.float64)
    return np.asarray(stats.norm.ppf(np.clip(np.asarray(rate, np.float64), half, 1 - half)))


def fit_line(source: np.ndarray, target: np.ndarray, count: int | np.ndarray = 10_000) -> Line:
    """The line through the rates of runs at home [n] and under shift [n], on probit axes.

    Fewer than three runs, or runs that do not differ at home, have no line: NaN. Raises ValueError
    for shapes that differ.
    """
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"a line needs pairs of rates: {x.shape} and {y.shape}")
    a, b = probit(x, count), probit(y, count)
    if len(x) < 3 or not np.ptp(a):
        return Line(math.nan, math.nan, math.nan, math.nan, len(x))
    slope, intercept = np.polyfit(a, b, 1)
    left = b - intercept - slope * a
    spread = float(np.square(b - b.mean()).sum())
    r_squared = 1.0 - float(np.square(left).sum()) / spread if spread else math.nan
    rank = float(stats.spearmanr(a, b).statistic) if spread else math.nan
    return Line(float(slope), float(intercept), r_squared, rank, len(x))


def effective_robustness(
    line: Line, source: np.ndarray, target: np.ndarray, count: int | np.ndarray = 10_000
) -> np.ndarray:
    """Target rates [n] less those that the line of the base runs predicts from the source's."""
    found: np.ndarray = np.asarray(target, np.float64) - line.predict(probit(source, count))
    return found


class Predictor(NamedTuple):
    """How well one figure of the source predicts the target's rate of a pair left out."""

    name: str
    r_squared: float
    """1 - error / variance over all left-out runs; below 0: worse than the mean of the others."""
    rank: float
    """Mean over pairs of Spearman's correlation within the pair."""


def leave_one_out(
    figures: dict[str, np.ndarray], target: np.ndarray, pair: np.ndarray
) -> list[Predictor]:
    """Which figure [n] of a run predicts its rate under shift [n], best first.

    `pair` int [n] says which (source, target) pair each row is of. For each figure a line is
    fitted, with an offset common to all, to the rows of all other pairs, and predicts those of the
    pair left out (probits of the rates). Raises ValueError where there are fewer than two pairs.
    """
    pairs = np.unique(pair)
    if len(pairs) < 2:
        raise ValueError(f"leaving one pair out needs at least two pairs, got {len(pairs)}")
    y = probit(target)
    found = []
    for name, values in figures.items():
        x = np.asarray(values, np.float64)
        error = variance = 0.0
        ranks = []
        for one in pairs:
            out, rest = pair == one, pair != one
            design = np.stack([x[rest], np.ones(rest.sum())], 1)
            weights = np.linalg.lstsq(design, y[rest], rcond=None)[0]
            error += float(np.square(y[out] - x[out] * weights[0] - weights[1]).sum())
            variance += float(np.square(y[out] - y[rest].mean()).sum())
            if out.sum() > 2 and np.ptp(x[out]) and np.ptp(y[out]):
                ranks.append(float(stats.spearmanr(x[out], y[out]).statistic))
        found.append(
            Predictor(
                name,
                1.0 - error / variance if variance else math.nan,
                float(np.mean(ranks)) if ranks else math.nan,
            )
        )
    return sorted(found, key=lambda p: -p.r_squared)


def runs_needed(r: float, width: float = 0.1) -> int:
    """Runs a pair needs so that the 95 % interval of a correlation r is +-`width` wide.

    Fisher's z: its standard error is 1 / sqrt(n - 3), and dz = dr / (1 - r^2).
    """
    if not abs(r) < 1 or not width > 0:
        raise ValueError(f"a correlation within (-1, 1) and a width above 0, got {r} and {width}")
    return math.ceil(3 + (1.96 * (1 - r * r) / width) ** 2)


def attacked(
    logits: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, sizes: Sequence[float],
    steps: int = 10,
) -> np.ndarray:  # fmt: skip
    """Accuracy [sizes] when each input may be changed by at most `size` in every number (L_inf).

    Projected gradient ascent on the cross-entropy from the clean input (Madry et al. 2018). What a
    smaller size found counts for every larger one, so accuracy never rises with the size. `inputs`
    [n, ...], `labels` int [n]; `logits` maps inputs to [n, K]. Size 0 is the clean accuracy.
    """
    wrong = logits(inputs).argmax(-1) != labels
    found = []
    for size in sizes:
        changed = inputs.clone()
        for _ in range(steps if size > 0 else 0):
            changed.requires_grad_(True)
            loss = functional.cross_entropy(logits(changed), labels)
            (gradient,) = torch.autograd.grad(loss, changed)
            with torch.no_grad():
                moved = changed + 2.5 * size / steps * gradient.sign()
                changed = torch.minimum(torch.maximum(moved, inputs - size), inputs + size)
            changed = changed.detach()
        with torch.no_grad():
            wrong = wrong | (logits(changed).argmax(-1) != labels)
        found.append(1.0 - float(wrong.double().mean()))
    return np.array(found)
