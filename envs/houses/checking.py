"""Judges an instruction in words: does whoever obeys it arrive?"""

from dataclasses import dataclass
from enum import Enum
from math import degrees

from envs.houses.following import follower
from envs.houses.house import House
from envs.houses.parsing import UnreadableInstruction, parse

ARRIVAL = 3.0
"""Metres: geodesic distances to the goal strictly under it count as arrived (R2R's rule)."""


class Outcome(Enum):
    """What obeying an instruction leads to."""

    ARRIVES = "arrives"
    """All places at which it allows to end are close to the goal."""
    AMBIGUOUS = "ambiguous"
    """Some are, some are not."""
    WRONG = "wrong"
    """None is, or it cannot be followed in this house."""
    UNREADABLE = "unreadable"
    """It has no reading."""


@dataclass(frozen=True)
class Verdict:
    """The judgement about one instruction."""

    outcome: Outcome
    goals: frozenset[str]
    """Viewpoints at which the instruction allows to end."""
    reason: str
    """Why, in one instruction."""


def follow(instruction: str, house: House, viewpoint: str, heading: float) -> frozenset[str]:
    """All viewpoints at which somebody who obeys the instruction may end.

    Args:
        instruction: plain text.
        house: where.
        viewpoint: id of the start.
        heading: radians, clockwise from +y.

    Returns:
        Viewpoint ids; empty where the instruction asks for something that is not there.

    Raises:
        UnreadableInstruction: the text has no reading; the message says at which words.
        ValueError: the viewpoint is not in this house.
    """
    program = parse(instruction)
    goals = follower(house).follow(program, _index(house, viewpoint), degrees(heading) % 360.0)
    return frozenset(house.viewpoints[g].id for g in goals)


def check(instruction: str, house: House, path: tuple[str, ...], heading: float) -> Verdict:
    """Whether an instruction leads from the start of a path to its end.

    Args:
        instruction: plain text.
        house: where.
        path: viewpoint ids; only the first and the last matter.
        heading: radians, clockwise from +y, at the start.

    Raises:
        ValueError: an end of the path is not in this house.
    """
    goal = _index(house, path[-1])
    try:
        ends = follow(instruction, house, path[0], heading)
    except UnreadableInstruction as error:
        return Verdict(Outcome.UNREADABLE, frozenset(), str(error))
    if not ends:
        return Verdict(Outcome.WRONG, ends, "it asks for something that is not there")
    far = follower(house).map.distance[goal]
    near = sum(bool(far[_index(house, e)] < ARRIVAL) for e in ends)
    if near == len(ends):
        return Verdict(Outcome.ARRIVES, ends, f"all {near} allowed ends are at the goal")
    if near:
        return Verdict(
            Outcome.AMBIGUOUS, ends, f"{near} of {len(ends)} allowed ends are at the goal"
        )
    return Verdict(Outcome.WRONG, ends, f"none of {len(ends)} allowed ends is at the goal")


def _index(house: House, viewpoint: str) -> int:
    table = follower(house).map.index
    if viewpoint not in table:
        raise ValueError(f"viewpoint {viewpoint!r} is not in {house.scan}")
    return table[viewpoint]
