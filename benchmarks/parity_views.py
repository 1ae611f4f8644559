"""Views against recorded ones of habitat-sim; part of `python -m benchmarks.parity`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from envs.simulators.simulator import Poses, Simulator


class Check(NamedTuple):
    """One number against its bar."""

    what: str
    value: float
    bar: float
    at_least: bool
    """Whether `value` must be at least `bar`; else at most."""
    unit: str = ""

    @property
    def passed(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar


STRICT = 0.999
"""The least share of a recording with a `config`, which says all that an answer depends on."""


def check_views(
    simulator: Simulator, recorded: Mapping[str, np.ndarray], strict: bool
) -> list[Check]:
    """Depth, colours and, where they were recorded, semantic ids of the recorded views."""
    views = simulator.render(Poses(recorded["view_position"], recorded["view_yaw"]))
    assert views.depth is not None and views.colour is not None
    depth = recorded["view_depth"]
    off = off_silhouettes(depth)
    close = np.abs(views.depth - depth) <= 0.01
    colour_error = np.abs(views.colour.astype(int) - recorded["view_rgb"][..., :3]).max(axis=-1)
    checks = [
        Check("depth within 1 cm, off silhouettes", float(close[off].mean()), 0.999, True),
        Check("colour within 3 of 255", float((colour_error <= 3).mean()), 0.95, True),
    ]
    if "view_semantic" in recorded:
        assert views.semantic is not None
        same = float((views.semantic == recorded["view_semantic"]).mean())
        checks.append(Check("semantic id equal", same, STRICT if strict else 0.98, True))
    return checks


def off_silhouettes(depth: np.ndarray) -> np.ndarray:
    """Pixels in the midst of one surface, bool like `depth` [N, H, W].

    On a plane 1 / depth is linear across the image; where it bends by what a step of a centimetre
    makes, between a pixel and its neighbours, there is an edge.
    """
    seen = depth > 0
    inverse = 1 / np.where(seen, depth, np.float32(1e6))
    off = seen.copy()
    for axis in (1, 2):
        width = [(1, 1) if axis == other else (0, 0) for other in range(3)]
        wide = np.moveaxis(np.pad(inverse, width, "reflect", reflect_type="odd"), axis, 0)
        bend = np.moveaxis(np.abs(wide[:-2] - 2 * wide[1:-1] + wide[2:]), 0, axis)
        off &= bend * depth**2 <= 0.01
    return off
