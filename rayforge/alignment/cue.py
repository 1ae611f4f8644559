"""Cues: what chosen sides have more of than rejected ones, and pairs balanced so that it says
nothing.

A cue is measured by the sign of a difference between the sides, chosen minus rejected. Where labels
follow a cue (longer sides are chosen in 80 % of the pairs), a model learns the cue first; in a
balanced set as many pairs point one way as the other, and it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Feature = Literal["length", "words", "sentences", "lines", "digits"]

FEATURES: dict[Feature, Callable[[str], int]] = {
    "length": len,
    "words": lambda text: len(text.split()),
    "sentences": lambda text: len(re.findall(r"[.!?]+(?:\s|$)", text)),
    "lines": lambda text: len([line for line in text.splitlines() if line.strip()]),
    "digits": lambda text: sum(letter.isdigit() for letter in text),
}
"""What can be counted in a text. Length is in characters."""
SURE = 0.01
"""A cue is there where chance alone would give such a share in fewer cases than this."""


class Cue(NamedTuple):
    """How the sides of pairs differ in a feature."""

    share: float
    """Of the pairs whose sides differ, those whose chosen side has more; 0.5 is no cue."""
    p_value: float
    """Of a two-sided sign test: how likely a share so far from 0.5 is without a cue."""


def differences(feature: Feature, chosen: Sequence[str], rejected: Sequence[str]) -> np.ndarray:
    """How much more of a feature the chosen sides have, int64 [n]."""
    count = FEATURES[feature]
    return np.array([count(a) - count(b) for a, b in zip(chosen, rejected, strict=True)], np.int64)


def measured(difference: np.ndarray) -> Cue:
    """The cue in differences [n]; share 0.5 where no two sides differ."""
    sign = np.sign(np.asarray(difference))
    more, differ = int((sign > 0).sum()), int((sign != 0).sum())
    if not differ:
        return Cue(0.5, 1.0)
    from scipy.stats import binomtest  # slow to import, and settings import this module

    return Cue(more / differ, float(binomtest(more, differ).pvalue))


def by_lot(difference: np.ndarray, seed: int, most: int | None = None) -> np.ndarray:
    """Rows of differences [n] such that as many are above 0 as below, int64, sorted.

    The side with more is thinned by lot; rows at 0 stay. With `most` at most so many rows are left,
    by lot as well, and both ways are still equally many.
    """
    sign = np.sign(np.asarray(difference)).astype(np.int64)
    rng = np.random.default_rng(seed)
    above, below, equal = (rng.permutation(np.flatnonzero(sign == s)) for s in (1, -1, 0))
    each = min(len(above), len(below))
    if most is None or 2 * each + len(equal) <= most:
        return np.sort(np.concatenate([above[:each], below[:each], equal]))
    # Pairs of one above and one below, and equal ones, as they come out of one urn.
    share = most * each // (2 * each + len(equal))
    rest = min(len(equal), most - 2 * share)
    return np.sort(np.concatenate([above[:share], below[:share], equal[:rest]]))
