"""Means with 95 % confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

_LEVEL = 0.95
_DRAWS_AT_ONCE = 4_000_000  # bounds the memory of a bootstrap at about 100 MB


class Interval(NamedTuple):
    """A mean with its 95 % interval; NaN where too few values say anything about it."""

    mean: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        """As it stands in `evaluation_<split>.json`, where n is called `count`."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "count": self.n}


def bootstrap_interval(values: np.ndarray, seed: int = 0, samples: int = 10_000) -> Interval:
    """The mean of values [n] and its 95 % percentile bootstrap interval (Efron 1979).

    No values: mean and limits are NaN. One value: the limits are NaN, for one value says nothing
    about its spread. Values that are all equal (no success at all, say) give an interval of width
    zero: read it with the count beside it. The same seed gives the same interval, and the same
    resamples for equally many values. Raises ValueError if a value is not finite.
    """
    return _bootstrap({"values": np.asarray(values, np.float64)}, seed, samples)["values"]


def paired_difference(
    a: np.ndarray, b: np.ndarray, seed: int = 0, samples: int = 10_000
) -> Interval:
    """The mean of a − b over the same episodes in the same order, with its bootstrap interval.

    Positive: a is larger. Raises ValueError if the two are not equally long.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"a paired difference needs the same episodes on both sides: "
            f"{first.shape} and {second.shape} values; match them by episode first"
        )
    return bootstrap_interval(first - second, seed, samples)


def seed_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of one figure a seed, [n], with its 95 % Student t interval.

    For a handful of seeds, where a bootstrap is far too narrow. Normal errors are assumed, so the
    limits of a rate may leave [0, 1]. Fewer than two seeds: the limits are NaN.
    """
    figures = np.asarray(values, np.float64)
    _check("values", figures)
    count = len(figures)
    if count < 2:
        return Interval(float(figures[0]) if count else np.nan, np.nan, np.nan, count)
    mean = float(figures.mean())
    half = float(stats.t.ppf(0.5 + _LEVEL / 2, count - 1) * figures.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)


def share_interval(share: float, count: int) -> Interval:
    """A share of `count` independent cases with its 95 % interval (Wilson, JASA 1927); NaN limits
    where there is no case. It never leaves [0, 1], and has a width at 0 and 1 as well."""
    if count < 1:
        return Interval(share, np.nan, np.nan, 0)
    z = float(stats.norm.ppf(0.5 + _LEVEL / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), count)


def summarise(
    per_episode: Mapping[str, np.ndarray], seed: int = 0, samples: int = 10_000
) -> dict[str, dict[str, float]]:
    """`{metric: {"mean", "low", "high", "count"}}` of values [n] an episode, by bootstrap.

    Metrics with equally many values share their resamples, which makes eight cost little more
    than one, and each gives what `bootstrap_interval` gives for it alone.
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in per_episode.items()}
    return {name: found.as_dict() for name, found in _bootstrap(arrays, seed, samples).items()}


def _bootstrap(arrays: Mapping[str, np.ndarray], seed: int, samples: int) -> dict[str, Interval]:
    for name, values in arrays.items():
        _check(name, values)
    found: dict[str, Interval] = {}
    for count in sorted({len(values) for values in arrays.values()}):
        group = [name for name, values in arrays.items() if len(values) == count]
        columns = np.stack([arrays[name] for name in group], axis=1)
        if count < 2:
            for name, column in zip(group, columns.T, strict=True):
                mean = float(column[0]) if count else np.nan
                found[name] = Interval(mean, np.nan, np.nan, count)
            continue
        low, high = np.quantile(
            _resampled_means(columns, seed, samples),
            [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2],
            axis=0,
        )
        # Rounding may push the limits of nearly equal values past their mean by one unit.
        mean = columns.mean(0)
        low, high = np.minimum(low, mean), np.maximum(high, mean)
        for i, name in enumerate(group):
            found[name] = Interval(float(mean[i]), float(low[i]), float(high[i]), count)
    return {name: found[name] for name in arrays}


def _resampled_means(columns: np.ndarray, seed: int, samples: int) -> np.ndarray:
    """Means [samples, m] of resamples with replacement of the rows of columns [n, m].

    Counting how often each row was drawn and multiplying is about four times faster than
    gathering the drawn values.
    """
    count = len(columns)
    generator = np.random.default_rng(seed)
    means = np.empty((samples, columns.shape[1]))
    at_once = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, samples, at_once):
        rows = min(at_once, samples - start)
        drawn = generator.integers(0, count, (rows, count), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means[start : start + rows] = times.astype(np.float64) @ columns / count
    return means


def _check(name: str, values: np.ndarray) -> None:
    if values.ndim != 1:
        raise ValueError(f"{name}: one value an episode is needed, got shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(
            f"{name} of episode {wrong[0]} is {values[wrong[0]]}: "
            "leave an episode without a value out before summarising"
        )
