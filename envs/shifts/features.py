"""Shifts of what is seen in navigation graphs: the observation tables, severities 1 to 5."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.graph.observation import ObservationTables
from envs.shifts.images import COVERED, LIGHT
from envs.shifts.shift import FEATURES, Shift

MIXED = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of a view that blur takes from all directions alike."""
NOISE = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Standard deviation of noise, in standard deviations of each feature."""


def shifted_tables(tables: ObservationTables, shift: Shift, seed: int = 0) -> ObservationTables:
    """Tables under a shift of `FEATURES`; where neighbours lie is never changed.

    "blur": every view takes a share of the mean over all directions of its viewpoint; a neighbour
    a share of the mean neighbour. "noise": Gaussian. "dark": features shrink. "hidden": features
    of a share of the views are 0, the same ones every time.
    """
    if shift.name not in FEATURES:
        raise ValueError(f"{shift.name} is no shift of features; there are {', '.join(FEATURES)}")
    level, rng = shift.severity - 1, np.random.default_rng((seed, shift.severity))
    sectors, towards = tables.sectors.astype(np.float32), tables.towards.astype(np.float32)
    if shift.name == "blur":
        share = MIXED[level]
        sectors = (1 - share) * sectors + share * sectors.mean(1, keepdims=True)
        towards = (1 - share) * towards + share * towards.mean(0, keepdims=True)
    elif shift.name == "noise":
        spread = NOISE[level] * sectors.reshape(-1, tables.dimension).std(0)
        sectors = sectors + rng.normal(size=sectors.shape) * spread
        towards = towards + rng.normal(size=towards.shape) * spread
    elif shift.name == "dark":
        sectors, towards = sectors * LIGHT[level], towards * LIGHT[level]
    else:
        sectors = sectors * (rng.random((*sectors.shape[:2], 1)) >= COVERED[level])
        towards = towards * (rng.random((len(towards), 1)) >= COVERED[level])
    return replace(tables, sectors=sectors.astype(np.float16), towards=towards.astype(np.float16))
