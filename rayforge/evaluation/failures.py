"""Why an episode failed, by rule: one cause each, so that failures can be counted and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

STOREY = 2.0
"""Metres of height between where an episode ended and its goal from which it is another floor."""

FORCED, PASSED, FLOOR, EARLY, LEFT = (
    "never stopped", "walked past the goal", "another floor", "stopped early, on the way",
    "left the way",
)  # fmt: skip
CAUSES = (FORCED, PASSED, FLOOR, EARLY, LEFT)
"""In the order in which they are looked for."""


class Cause(NamedTuple):
    """Why one episode failed; `step` is the number of viewpoints of the reference path that were
    followed, the start included."""

    name: str
    step: int

    def __str__(self) -> str:
        return f"{self.name} after {self.step - 1} right steps"


def cause_of(
    path: Sequence[str], reference: Sequence[str], left: Sequence[float], climbed: float,
    forced: bool, success_metres: float,
) -> Cause:  # fmt: skip
    """The cause of a failed episode, the first rule that fits:

    never stopped: the step limit stopped it; walked past: it was within `success_metres` of the
    goal and went on; another floor: it ended `STOREY` metres above or below the goal; stopped
    early: all it walked lies on the reference path; left the way: the rest.

    Args:
        path: viewpoint ids that the agent went through.
        reference: viewpoint ids of the reference path.
        left: geodesic metres to the goal at each viewpoint of `path`.
        climbed: metres of height from the end to the goal.

    Raises ValueError where the episode did not fail, or the lists do not fit together.
    """
    if len(left) != len(path) or not path:
        raise ValueError(f"{len(path)} viewpoints and {len(left)} distances: one each is needed")
    if left[-1] < success_metres and not forced:
        raise ValueError(f"the episode ended {left[-1]:.2f} m from its goal, which is no failure")
    step = 0
    while step < min(len(path), len(reference)) and path[step] == reference[step]:
        step += 1
    if forced:
        return Cause(FORCED, step)
    if min(left) < success_metres:
        return Cause(PASSED, step)
    if abs(climbed) >= STOREY:
        return Cause(FLOOR, step)
    return Cause(EARLY if step == len(path) else LEFT, step)


def choose_failures(
    episodes: Sequence[dict[str, Any]], count: int, seed: int
) -> list[dict[str, Any]]:
    """`count` failed episodes drawn at random, at most one a path: not picked by anybody."""
    rng = np.random.default_rng(seed)
    failed = [e for e in episodes if not e["success"]]
    chosen: dict[tuple[str, ...], dict[str, Any]] = {}
    for place in rng.permutation(len(failed)):
        episode = failed[int(place)]
        chosen.setdefault((str(episode["scan"]), *episode["reference"]), episode)
        if len(chosen) == count:
            break
    return list(chosen.values())
