"""From a log to the chain's table: sessions as paths, counts by Ray, the test of what is live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from envs.sessions.log import Session, sessions_of
from envs.sessions.turns import Turn
from rayforge.feedback.chains import (
    Counts,
    Guards,
    Rewrite,
    Step,
    Trial,
    count,
    losing,
    rewrites,
)
from rayforge.feedback.teaching import lesson_in
from rayforge.feedback.text import normal
from trainers.feedback.config import TableConfig
from trainers.feedback.served import Place

SESSIONS = 20_000
"""Sessions that a Ray task counts."""


@lru_cache(maxsize=200_000)
def _asked(heard: str) -> str:
    """The normal form of a request; "" where it is a lesson or has no word. Every night reads the
    whole log again, and most words of it are known."""
    return normal(heard) if lesson_in(heard) is None else ""


def place_of(turn: Turn) -> Place:
    """The raw request of a turn, where it was given."""
    return Place(turn.building, turn.path[0] if turn.path else "", _asked(turn.heard))


def requests_of(turns: Iterable[Turn]) -> list[Turn]:
    """The turns that ask for something: lessons and turns without a word are left out."""
    return [turn for turn in turns if _asked(turn.heard)]


def paths_of(sessions: Iterable[Session]) -> list[tuple[list[Step[Place]], bool]]:
    """Sessions as paths of the chain. A path ends where a turn ends well: what the user asks
    next is something else. It ends, too, where they go to another start."""
    found = []
    for session in sessions:
        path: list[Step[Place]] = []
        for turn in requests_of(session.turns):
            place = place_of(turn)
            if path and path[-1].request.start != place.start:
                found.append((path, False))
                path = []
            path.append(Step(place, turn.rewrite is not None))
            if turn.ended_well:
                found.append((path, True))
                path = []
        if path:
            found.append((path, False))
    return found


def count_sessions(sessions: Sequence[Session], workers: int) -> Counts[Place]:
    """Transitions of all sessions; by Ray tasks where `workers` is not 0 (Ray must run)."""
    if not workers or len(sessions) <= SESSIONS:
        return count(paths_of(sessions))
    import ray

    def part(chunk: Sequence[Session]) -> Counts[Place]:
        return count(paths_of(chunk))

    task: Any = ray.remote(num_cpus=1)(part)
    chunks = [sessions[k : k + SESSIONS] for k in range(0, len(sessions), SESSIONS)]
    total: Counts[Place] = Counts({}, {}, {})
    waiting = [task.remote(chunk) for chunk in chunks]
    while waiting:
        done, waiting = ray.wait(waiting)
        total = total + ray.get(done[0])
    return total


def trials_of(turns: Iterable[Turn]) -> dict[tuple[Place, Place], Trial]:
    """How each rewrite of the table fared on its requests, and the requests without it."""
    with_: dict[tuple[Place, Place], list[int]] = {}
    without: dict[Place, list[int]] = {}
    for turn in requests_of(turns):
        place = place_of(turn)
        if turn.rewrite is None:
            without.setdefault(place, [0, 0])[not turn.ended_well] += 1
        elif turn.source == "table":
            pair = (place, place._replace(text=normal(turn.rewrite)))
            with_.setdefault(pair, [0, 0])[not turn.ended_well] += 1
    return {pair: Trial(*numbers, *without.get(pair[0], (0, 0))) for pair, numbers in with_.items()}


def wordings_of(turns: Iterable[Turn]) -> dict[Place, str]:
    """How each request was last written by those for whom it ended well, else by anybody."""
    found: dict[Place, tuple[bool, str]] = {}
    for turn in requests_of(turns):
        place = place_of(turn)
        well = turn.ended_well and turn.rewrite is None
        if well or not found.get(place, (False, ""))[0]:
            found[place] = (well, turn.heard)
    return {place: text for place, (_, text) in found.items()}


def table_of(turns: Sequence[Turn], config: TableConfig, workers: int = 0) -> list[Rewrite[Place]]:
    """The chain's table of a log, without rewrites that lost."""
    counts = count_sessions(sessions_of(turns), workers)
    guards = Guards(1, config.ratio, config.support, config.score)
    return rewrites(counts, guards, losing(trials_of(turns), config.losing))


def deployed(table: Iterable[Rewrite[Place]], wordings: Mapping[Place, str]) -> dict[Place, str]:
    """What the assistant looks up: the rewrite's words for each request."""
    return {row.request: wordings[row.rewrite] for row in table}


def rows_of(table: Iterable[Rewrite[Place]]) -> list[dict[str, Any]]:
    """A table as it stands in `table.jsonl`."""
    return [
        {
            "building": row.request.building, "start": row.request.start,
            "request": row.request.text, "rewrite": row.rewrite.text,
            "score": round(row.score, 4), "own": round(row.own, 4), "support": row.support,
        }
        for row in table
    ]  # fmt: skip
