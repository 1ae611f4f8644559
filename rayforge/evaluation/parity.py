"""Parity of groups: equal rates, awareness of an attribute, the explicit second head.

After Lohaus et al. (NeurIPS 2022, arXiv 2204.04440) and the authors' code, without three faults
that the code has: here weights are fitted on validation and fixed before the test split, the range
of c is refined by c's own value, and a probability is held against 0.5. Attributes are of texts,
buildings and corpora. Attributes of people are not inferred.

Conventions: y, s in {0, 1} [n]; a prediction is 1 where its logit is above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from rayforge.evaluation.intervals import Interval


def rate_difference(predicted: np.ndarray, group: np.ndarray) -> float:
    """DDP = mean(predicted | s = 1) - mean(predicted | s = 0), signed; NaN where a group is empty.

    `predicted` [n], 0 or 1 (or rates); `group` [n], 0 or 1. 0 is parity.
    """
    p, s = _pair(predicted, group)
    if not s.any() or s.all():
        return float("nan")
    return float(p[s].mean() - p[~s].mean())


def rate_ratio(predicted: np.ndarray, group: np.ndarray) -> float:
    """The p-rule: the smaller group rate over the larger, at most 1 (1 where both are 0)."""
    p, s = _pair(predicted, group)
    if not s.any() or s.all():
        return float("nan")
    low, high = sorted((float(p[s].mean()), float(p[~s].mean())))
    return low / high if high else 1.0


def difference_interval(
    predicted: np.ndarray, group: np.ndarray, seed: int = 0, samples: int = 2_000
) -> Interval:
    """The difference of rates with its 95 % bootstrap interval, groups resampled apart."""
    p, s = _pair(predicted, group)
    found = rate_difference(p, s)
    first, second = p[s], p[~s]
    if len(first) < 2 or len(second) < 2:
        return Interval(found, np.nan, np.nan, len(p))
    rng = np.random.default_rng(seed)
    ones = first[rng.integers(len(first), size=(samples, len(first)))].mean(1)
    zeros = second[rng.integers(len(second), size=(samples, len(second)))].mean(1)
    low, high = np.quantile(ones - zeros, [0.025, 0.975])
    return Interval(found, float(min(low, found)), float(max(high, found)), len(p))


def total_variation_parity(predicted: np.ndarray, group: np.ndarray, classes: int) -> float:
    """DP = sum_g (n_g / n) 1/2 sum_k |p_g(k) - p(k)| of predicted classes int [n] in groups [n].

    0 for equal histograms; 0.5 for two equal groups that share no class (Wenzel et al. 2022).
    """
    kinds, groups = np.asarray(predicted, np.int64), np.asarray(group)
    overall = np.bincount(kinds, minlength=classes) / len(kinds)
    found = 0.0
    for one in np.unique(groups):
        own = kinds[groups == one]
        histogram = np.bincount(own, minlength=classes) / len(own)
        found += len(own) / len(kinds) * 0.5 * float(np.abs(histogram - overall).sum())
    return found


def parity_penalty(logits: Tensor, group: Tensor) -> Tensor:
    """R = (mean sigma(f) | s = 1  -  mean sigma(f) | s = 0)^2 of a mini-batch; 0 where a group is
    missing. `logits` [n], `group` [n] of 0 and 1."""
    ones = group > 0.5
    if not bool(ones.any()) or bool(ones.all()):
        return logits.sum() * 0.0
    p = logits.sigmoid()
    return (p[ones].mean() - p[~ones].mean()).square()


class Merged(NamedTuple):
    """Predict 1 where f + b g + c > 0."""

    b: float
    c: float
    accuracy: float
    """Where it was fitted."""
    difference: float
    """The difference of rates there."""

    def logits(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        return np.asarray(f + self.b * g + self.c)


def fit_merged(
    f: np.ndarray, g: np.ndarray, y: np.ndarray, s: np.ndarray, slack: float,
    reach: float = 15.0, points: int = 200, refinements: int = 4,
) -> Merged:  # fmt: skip
    """(b, c) of the greatest accuracy under |DDP| <= slack, on [-reach, reach]^2.

    A grid of points x points, refined around its best `refinements` times, each time to the two
    cells beside it. For one b every c is tried at once: predictions change with c in the order of
    f + b g alone. Where no point keeps the slack, the one of the least |DDP| is taken.
    """
    f, g, y, s = (np.asarray(v, np.float64) for v in (f, g, y, s))
    right, ones = y > 0.5, s > 0.5
    if not ones.any() or ones.all():
        raise ValueError("the attribute has one value: parity needs two groups")
    low, high = np.array([-reach, -reach]), np.array([reach, reach])
    best = Merged(0.0, 0.0, -1.0, np.inf)
    for _ in range(refinements + 1):
        bs, cs = (np.linspace(low[k], high[k], points) for k in range(2))
        for b in bs:
            best = _better(best, _best_offset(f + b * g, float(b), cs, right, ones, slack), slack)
        step = (high - low) / (points - 1)
        centre = np.array([best.b, best.c])
        low, high = centre - step, centre + step
    return best


def _best_offset(
    score: np.ndarray, b: float, cs: np.ndarray, right: np.ndarray, ones: np.ndarray, slack: float
) -> Merged:
    """The best c for one b: predicted 1 where score > -c."""
    order = np.argsort(score)
    sorted_score = score[order]
    # How many of each kind lie at or below the threshold -c, of those sorted.
    place = np.searchsorted(sorted_score, -cs, side="right")
    known, group = right[order], ones[order]
    below_right = np.concatenate([[0], np.cumsum(known)])[place]
    below_ones = np.concatenate([[0], np.cumsum(group)])[place]
    total, positives, members = len(score), known.sum(), group.sum()
    accuracy = (positives - below_right + place - below_right) / total
    above_ones = (members - below_ones) / members
    above_zeros = (total - members - (place - below_ones)) / (total - members)
    gap = above_ones - above_zeros
    kept = np.abs(gap) <= slack + 1e-12
    k = int(np.where(kept, accuracy, -1.0).argmax() if kept.any() else np.abs(gap).argmin())
    return Merged(b, float(cs[k]), float(accuracy[k]), float(gap[k]))


def _better(old: Merged, new: Merged, slack: float) -> Merged:
    inside = [abs(m.difference) <= slack + 1e-12 for m in (old, new)]
    if inside[0] != inside[1]:
        return new if inside[1] else old
    if inside[0]:
        return new if new.accuracy > old.accuracy else old
    return new if abs(new.difference) < abs(old.difference) else old


class LogisticFit(NamedTuple):
    """sigma(x w + bias): weights [K] and bias."""

    weights: np.ndarray
    bias: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.asarray(x, np.float64) @ self.weights + self.bias)


def fit_logistic(x: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> LogisticFit:
    """Logistic regression of y [n] on x [n, K], with a ridge on the weights (not on the bias)."""
    features, labels = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = features @ parameters[:-1] + parameters[-1]
        signed = np.where(labels > 0.5, score, -score)
        value = np.logaddexp(0.0, -signed).mean() + ridge / 2 * parameters[:-1] @ parameters[:-1]
        residual = (expit(score) - labels) / len(labels)
        slope = np.append(features.T @ residual + ridge * parameters[:-1], residual.sum())
        return float(value), slope

    start = np.zeros(features.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return LogisticFit(found[:-1], float(found[-1]))


def awareness(
    features: np.ndarray, s: np.ndarray, fit_on: np.ndarray, test_on: np.ndarray
) -> tuple[float, float]:
    """How well frozen features [n, K] tell the attribute s [n]: a last layer fitted on rows
    `fit_on`; returns its accuracy on rows `test_on` and the best constant's there."""
    scale = features[fit_on].std(0) + 1e-9
    x = (features - features[fit_on].mean(0)) / scale
    head = fit_logistic(x[fit_on], s[fit_on])
    right = (head.logits(x[test_on]) > 0) == (s[test_on] > 0.5)
    share = float((s[test_on] > 0.5).mean())
    return float(right.mean()), max(share, 1 - share)


class Recovery(NamedTuple):
    """One classifier's decisions told by two others': sign(weight_a a + weight_b b + bias)."""

    ratio: float
    """weight_b / weight_a: what the second counts where the first counts 1."""
    agreement: float
    """Share of decisions that agree, where it is tested."""


def recover(
    decision: np.ndarray, a: np.ndarray, b: np.ndarray, fit_on: np.ndarray, test_on: np.ndarray
) -> Recovery:
    """Tell the sign of `decision` [n] from logits a and b [n] by logistic regression.

    (1) A fair classifier from (f, g): h_fair is near f + b g + c. (2) The unfair one from
    (h_fair, g): f is near h_fair - b g. Fitted on rows `fit_on`, agreement on `test_on`.
    """
    x = np.stack([a, b], 1)
    scale = x[fit_on].std(0) + 1e-12
    target = (np.asarray(decision) > 0).astype(np.float64)
    head = fit_logistic(x[fit_on] / scale, target[fit_on], ridge=1e-6)
    weights = head.weights / scale
    agreed = (head.logits(x[test_on] / scale) > 0) == (target[test_on] > 0.5)
    return Recovery(float(weights[1] / weights[0]), float(agreed.mean()))


def group_thresholds(
    f: np.ndarray, y: np.ndarray, s: np.ndarray, slack: float
) -> tuple[float, float]:
    """Thresholds of f for s = 0 and s = 1 of the greatest accuracy under |DDP| <= slack.

    The explicit reference, which reads the (predicted) attribute at test time (Lipton et al. 2018).
    All pairs of 101 quantiles of each group are tried; (0, 0) where a group is empty.
    """
    found, best = (0.0, 0.0), (-1.0, np.inf)
    ones = np.asarray(s) > 0.5
    if not ones.any() or ones.all():
        return found
    grids = []
    for group in (~ones, ones):
        cuts = np.quantile(f[group], np.linspace(0, 1, 101))
        above = f[group][None] > cuts[:, None]
        right = (above == (y[group] > 0.5)).sum(1)
        grids.append((cuts, above.mean(1), right))
    for i, cut in enumerate(grids[0][0]):
        gap = np.abs(grids[1][1] - grids[0][1][i])
        accuracy = (grids[0][2][i] + grids[1][2]) / len(f)
        kept = gap <= slack + 1e-12
        j = int(np.where(kept, accuracy, -1.0).argmax() if kept.any() else gap.argmin())
        score = (float(accuracy[j]), 0.0) if kept[j] else (-1.0, float(gap[j]))
        if score[0] > best[0] or (score[0] == best[0] and score[1] < best[1]):
            best, found = score, (float(cut), float(grids[1][0][j]))
    return found


def parity_curve(
    f: np.ndarray, g: np.ndarray, y: np.ndarray, s: np.ndarray, fit_on: np.ndarray,
    test_on: np.ndarray, steps: int = 21,
) -> list[dict[str, float]]:  # fmt: skip
    """Accuracy and |DDP| on `test_on` of merged forms fitted on `fit_on`, one for each slack.

    Slacks run from 0.001 to the unconstrained |DDP| of f on `fit_on`.
    """
    plain = abs(rate_difference(f[fit_on] > 0, s[fit_on]))
    found = []
    for slack in np.linspace(0.001, max(plain, 0.002), steps):
        m = fit_merged(f[fit_on], g[fit_on], y[fit_on], s[fit_on], float(slack), points=60)
        predicted = m.logits(f[test_on], g[test_on]) > 0
        found.append(
            {
                "slack": float(slack), "b": m.b, "c": m.c,
                "accuracy": float((predicted == (y[test_on] > 0.5)).mean()),
                "difference": rate_difference(predicted, s[test_on]),
            }
        )  # fmt: skip
    return found


def two_groups(values: Sequence[str] | np.ndarray, name: str) -> np.ndarray:
    """An attribute's values as 0 and 1: the most frequent value against all others.

    Numbers are split at their median. Raises ValueError where there is one value alone.
    """
    array = np.asarray(values)
    kinds, counts = np.unique(array, return_counts=True)
    if len(kinds) < 2:
        raise ValueError(
            f"attribute {name} has one value alone ({str(kinds[0])[:80] if len(kinds) else 'none'}"
            "): parity needs two groups; choose another attribute or other data"
        )
    if array.dtype.kind in "iuf":
        split = array > np.median(array)
        return np.asarray(split if split.any() else array >= np.median(array), np.float64)
    return np.asarray(array == kinds[counts.argmax()], np.float64)


def _pair(predicted: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, s = np.asarray(predicted, np.float64), np.asarray(group) > 0.5
    if p.shape != s.shape or p.ndim != 1:
        raise ValueError(f"rates by group need pairs: {p.shape} predictions, {s.shape} groups")
    return p, s


def regularised_head(
    x: Tensor, y: Tensor, s: Tensor, weight: float, steps: int = 400, learning_rate: float = 0.05
) -> Tensor:
    """Weights [K + 1] (bias last) of a linear head f on features x [n, K], trained with
    BCE(f, y) + weight R(f, s).

    All rows in every step; Adam.
    """
    head = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.Adam([head], lr=learning_rate)
    for _ in range(steps):
        f = x @ head[:-1] + head[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(f, y)
        loss = loss + weight * parity_penalty(f, s)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.detach()
