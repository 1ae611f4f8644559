"""The meaning of an instruction: an ordered list of events along a walk."""

from typing import NamedTuple


class Event(NamedTuple):
    """One thing that happens on the way.

    Kinds that name a place to walk to (the walker takes the shortest way there):
        leave: out of the room (`what` = its letter, '' = whichever it is)
        enter, cross: into the room `what` (no step where one is in it already); `cross` is how
            one says it when the walk goes on from there
        take: through a door of this room, by `side` and `ordinal`
        reach: next to the thing `what` (a phrase of the lexicon)
        end: the end of the hallway
        doorway, outside: in, or right outside, the doorway of the room `what`
        stay: anywhere in the room `what`
        ahead: some steps straight on
    Kinds that say how the way to the next such place looks, in order:
        turn: `what` = left, right or around
        straight: without a turn
        past: near the thing `what`, on the given `side` if any
        pass_room: by a door of the room `what` without entering it
    stop: the end of the walk.
    """

    kind: str
    what: str = ""
    side: str = ""
    ordinal: int = 0


Program = tuple[Event, ...]

PLACES = frozenset(
    ("leave", "enter", "cross", "take", "reach", "end", "doorway", "outside", "stay", "ahead")
)
"""Kinds that name a place to walk to."""


def legs(program: Program) -> list[tuple[Program, Event]]:
    """Split a program into legs: conditions on the way, and the place that it leads to.

    A program that ends with a landmark or 'straight' ends there; a turn at the end is dropped.
    """
    parts: list[tuple[Program, Event]] = []
    conditions: list[Event] = []
    for event in program:
        if event.kind in PLACES:
            parts.append((tuple(conditions), event))
            conditions = []
        elif event.kind != "stop":
            conditions.append(event)
    if conditions:
        last = conditions[-1]
        if last.kind == "past":
            parts.append((tuple(conditions[:-1]), Event("reach", last.what)))
        elif last.kind == "pass_room":
            parts.append((tuple(conditions[:-1]), Event("outside", last.what)))
        elif last.kind == "straight":
            parts.append((tuple(conditions), Event("ahead")))
    return parts
