"""Which pairs a round trains on, by their margins.

Every rule has one signature: margins float64 [n], `level` in the margins' unit, `share` in (0, 1],
a seed -> the rows kept, int64, sorted. A rule reads `level` or `share` or both and says which.
Ties are broken by a seeded shuffle, never by the order of the file: before training all margins
are 0. No rule is the right one everywhere: the article keeps the largest margins, others found the
smallest or the gap to a target better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from rayforge.errors import ConfigurationError

Rule = Literal["top", "threshold", "band", "bottom", "random", "gap"]
Level = float | np.ndarray


class NothingKept(ConfigurationError):
    """A selection that keeps no pair; the message prints the margins' quantiles."""


def select(rule: Rule, margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """The rows that the rule of this name keeps, int64, sorted.

    Raises ValueError for an unknown rule, numbers out of range or margins that are not finite, and
    NothingKept (a ValueError) where no pair is left.
    """
    rules: dict[str, Callable[[np.ndarray, Level, float, int], np.ndarray]] = {
        "top": top, "threshold": threshold, "band": band, "bottom": bottom, "random": random,
        "gap": gap,
    }  # fmt: skip
    if rule not in rules:
        raise ValueError(f"unknown rule {rule!r}; there are {', '.join(get_args(Rule))}")
    return rules[rule](margins, level, share, seed)


def top(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """The `share` of the pairs with the largest margins [article; share about 0.7: recalled, low].

    Scaling all margins by a positive number changes nothing.
    """
    values = _checked(margins)
    return _first(-values, values, share, seed, "top")


def threshold(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """Pairs whose margin is at least `level` [article names the rule, not the number]."""
    values = _checked(margins)
    if not np.isfinite(level).all():
        raise ValueError(f"the threshold must be finite, got {level}")
    kept = np.flatnonzero(values >= level)
    if not kept.size:
        raise NothingKept(_nothing(f"threshold {level}", values, "lower it"))
    return kept.astype(np.int64)


def bottom(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """The `share` with the smallest margins (what arXiv 2508.04149 reports as best; abstract)."""
    values = _checked(margins)
    return _first(values, values, share, seed, "bottom")


def band(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """The `share` in the middle: as many are cut off above as below (one more above, if odd).

    Source: designed here.
    """
    values = _checked(margins)
    order = _order(-values, seed)
    count = _count(len(values), share)
    start = (len(values) - count + 1) // 2
    return _sorted(order[start : start + count], values, share, "band")


def random(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """A `share` drawn without looking at the margins: what every other rule must beat."""
    values = _checked(margins)
    return _first(np.zeros_like(values), values, share, seed, "random")


def gap(margins: np.ndarray, level: Level, share: float, seed: int) -> np.ndarray:
    """The `share` with the largest gap level - margin: what the model still has to learn.

    `level` is a target margin a pair, [n] (from an outside score), or one for all, where the order
    is that of "bottom". Source: the idea is Huang et al. 2025's target minus current margin
    (abstract read); this form is designed here.

    Raises ValueError also where targets and margins are not equally many.
    """
    values = _checked(margins)
    target = np.asarray(level, np.float64)
    if target.shape not in ((), values.shape) or not np.isfinite(target).all():
        raise ValueError(
            f"targets must be finite, one for all or one a pair: got shape {target.shape} for "
            f"{len(values)} margins"
        )
    return _first(values - target, values, share, seed, "gap")


def quantiles(margins: np.ndarray) -> str:
    """Least, 10 %, median, 90 % and largest margin, in words for a message."""
    if not len(margins):
        return "there are no margins"
    found = np.quantile(margins, [0, 0.1, 0.5, 0.9, 1])
    names = ("least", "10 %", "median", "90 %", "largest")
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, found, strict=True))


def _first(key: np.ndarray, values: np.ndarray, share: float, seed: int, name: str) -> np.ndarray:
    count = _count(len(values), share)
    return _sorted(_order(key, seed)[:count], values, share, name)


def _order(key: np.ndarray, seed: int) -> np.ndarray:
    """Rows by rising key, equal keys shuffled."""
    shuffle = np.random.default_rng(seed).permutation(len(key))
    return np.lexsort((shuffle, key))


def _count(n: int, share: float) -> int:
    """`share` of n to the nearest whole number, halves up."""
    if not 0 < share <= 1:
        raise ValueError(f"the share of pairs to keep must be in (0, 1], got {share}")
    return int(np.floor(share * n + 0.5))


def _sorted(rows: np.ndarray, values: np.ndarray, share: float, name: str) -> np.ndarray:
    if not rows.size:
        raise NothingKept(_nothing(f"share {share} by rule {name}", values, "raise it"))
    return np.sort(rows).astype(np.int64)


def _nothing(what: str, values: np.ndarray, remedy: str) -> str:
    return f"{what} keeps none of {len(values)} pairs ({quantiles(values)}): {remedy}"


def _checked(margins: np.ndarray) -> np.ndarray:
    values = np.asarray(margins, np.float64)
    if values.ndim != 1:
        raise ValueError(f"one margin a pair is needed, got shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(
            f"the margin of pair {wrong[0]} is {values[wrong[0]]}: the model that scored it has "
            "diverged; lower the learning rate"
        )
    return values
