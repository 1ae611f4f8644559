"""Sensitivity to a deficit, and the step sizes of its control arms.

After Achille, Rovere & Soatto (ICLR 2019): a deficit holds for a time, then training goes on clean
for a fixed number of steps. Three arms of the step size keep the schedule apart from the period:
the schedule alone can make the effect or reverse it (designed here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rayforge.evaluation.intervals import Interval, seed_interval

Arm = Literal["running", "restarted", "constant"]
ARMS: tuple[Arm, ...] = ("running", "restarted", "constant")


def sensitivity(normal: np.ndarray, damaged: np.ndarray) -> np.ndarray:
    """100 (normal - damaged) / normal: the percentage that a deficit costs, paired by seed, [n]."""
    a, b = np.asarray(normal, np.float64), np.asarray(damaged, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"sensitivity pairs scores by seed: {a.shape} and {b.shape}")
    found: np.ndarray = 100.0 * (a - b) / a
    return found


def sensitivity_interval(normal: Sequence[float], damaged: Sequence[float]) -> Interval:
    """Its mean over seeds with a 95 % Student t interval."""
    return seed_interval(sensitivity(np.asarray(normal), np.asarray(damaged)))


def rates(arm: Arm, first: float, decay: float, until: int, steps: int) -> np.ndarray:
    """Step sizes [steps] of an arm where a deficit ends before step `until`.

    "running": first x decay^t throughout, so what comes after the deficit is learnt with smaller
    steps. "restarted": the schedule begins anew at `until`. "constant": the geometric mean of the
    clean steps' schedule throughout.
    """
    if arm not in ARMS:
        raise ValueError(f"unknown arm {arm!r}; there are {', '.join(ARMS)}")
    t = np.arange(steps, dtype=np.float64)
    if arm == "constant":
        return np.full(steps, first * decay ** ((steps - until - 1) / 2))
    if arm == "restarted":
        t = np.where(t >= until, t - until, t)
    return np.asarray(first * decay**t)


def rises_then_falls(curve: np.ndarray, share: float = 0.9) -> bool:
    """Whether a curve [n] has its greatest value inside and ends at less than `share` of it."""
    values = np.asarray(curve, np.float64)
    peak = int(values.argmax())
    return bool(0 < peak < len(values) - 1 and values[-1] < share * values[peak])
