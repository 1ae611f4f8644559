"""The figures of a loop: what went wrong, by truth; what rewrites won and lost, by replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.sessions.turns import Turn
from rayforge.evaluation.intervals import Interval, bootstrap_interval
from rayforge.evaluation.metrics import SUCCESS_METRES
from trainers.feedback.follower import Follows, Request


def goals_of(turns: Iterable[Turn]) -> list[list[Turn]]:
    """The requests for each goal, in order; lessons are left out. Needs truth."""
    goals: dict[str, list[Turn]] = {}
    for turn in turns:
        if turn.truth is not None and turn.truth.intent == "go":
            goals.setdefault(turn.turn_id.rpartition("-")[0], []).append(turn)
    return list(goals.values())


def day_figures(turns: Sequence[Turn]) -> dict[str, float]:
    """defect: share of goals whose first request did not lead there; lost: share of goals never
    reached; requests: requests a goal; requests_bad: share of requests that did not lead there."""
    goals = goals_of(turns)
    if not goals:
        return {name: 0.0 for name in ("defect", "lost", "requests", "requests_bad")}
    reached = [[turn.truth is not None and turn.truth.achieved for turn in goal] for goal in goals]
    every = [one for goal in reached for one in goal]
    return {
        "defect": float(np.mean([not goal[0] for goal in reached])),
        "lost": float(np.mean([not any(goal) for goal in reached])),
        "requests": len(every) / len(goals),
        "requests_bad": float(1 - np.mean(every)),
    }


class Judged(NamedTuple):
    """A rewritten request, with what would have come of it as it was."""

    turn: Turn
    won: bool
    """It led there, and would not have."""
    lost: bool
    """It did not, and would have."""


def judge(turns: Sequence[Turn], follower: Follows) -> list[Judged]:
    """Each rewritten turn against the raw request, followed from the same start: exact, for the
    agent does the same thing every time."""
    rewritten = [turn for turn in turns if turn.rewrite is not None and turn.truth is not None]
    walks = follower.walks(
        [Request(turn.building, turn.path[0], turn.heading, turn.heard) for turn in rewritten]
    )
    found = []
    for turn, walk in zip(rewritten, walks, strict=True):
        assert turn.truth is not None, "chosen so"
        raw = follower.metres(turn.building, walk.path[-1], turn.truth.place) < SUCCESS_METRES
        worked = turn.truth.achieved
        found.append(Judged(turn, worked and not raw, raw and not worked))
    return found


def judged(turns: Sequence[Turn], follower: Follows) -> dict[str, float]:
    """won and lost: rewritten requests that a rewrite mended and broke; rewritten: all of them."""
    every = judge(turns, follower)
    return {
        "rewritten": float(len(every)),
        "won": float(sum(one.won for one in every)),
        "broken": float(sum(one.lost for one in every)),
    }


def defects_of_users(turns: Iterable[Turn], from_day: int = 0) -> dict[str, tuple[int, int]]:
    """(goals whose first request failed, goals) of each user, from a day on."""
    return _of_users(turns, from_day, lambda goal: not _reached(goal[0]))


def lost_of_users(turns: Iterable[Turn], from_day: int = 0) -> dict[str, tuple[int, int]]:
    """(goals that no request reached, goals) of each user, from a day on."""
    return _of_users(turns, from_day, lambda goal: not any(map(_reached, goal)))


def requests_of_users(turns: Iterable[Turn], from_day: int = 0) -> dict[str, tuple[int, int]]:
    """(requests, goals) of each user, from a day on."""
    return _of_users(turns, from_day, len)


def _of_users(
    turns: Iterable[Turn], from_day: int, number_of: Callable[[Sequence[Turn]], int]
) -> dict[str, tuple[int, int]]:
    """(sum of a number of each goal, goals) of each user, from a day on."""
    total: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for goal in goals_of(turns):
        if int(goal[0].turn_id.split("-", 1)[0]) >= from_day:
            count[goal[0].user] += 1
            total[goal[0].user] += number_of(goal)
    return {user: (total[user], number) for user, number in count.items()}


def _reached(turn: Turn) -> bool:
    return turn.truth is not None and turn.truth.achieved


class Saved(NamedTuple):
    """Defects of one arm against another, over users."""

    before: float
    """Defect rate of the other."""
    after: float
    relative: Interval
    """1 - after / before: the share of defects that are gone, 95 % bootstrap over users."""


def saved(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], seed: int = 0,
    samples: int = 2000,
) -> Saved:  # fmt: skip
    """Compare two arms that met the same users with the same goals."""
    users = sorted(set(before) & set(after))
    a = np.array([before[user] for user in users], float)
    b = np.array([after[user] for user in users], float)
    rows = np.random.default_rng(seed).integers(len(users), size=(samples, len(users)))
    drawn = 1 - b[rows, 0].sum(1) / np.maximum(a[rows, 0].sum(1), 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    change = 1 - b[:, 0].sum() / max(a[:, 0].sum(), 1)
    return Saved(
        float(a[:, 0].sum() / a[:, 1].sum()), float(b[:, 0].sum() / b[:, 1].sum()),
        Interval(float(change), float(low), float(high), len(users)),
    )  # fmt: skip


def rate_interval(of_users: dict[str, tuple[int, int]]) -> Interval:
    """The mean over users of their rates, with its interval."""
    return bootstrap_interval(np.array([bad / n for bad, n in of_users.values()]), samples=2000)


def by_noise(turns: Iterable[Turn]) -> dict[str, tuple[int, int]]:
    """(first requests that failed, first requests) by what was wrong with their words: each kind of
    noise, and "none". A request with two kinds counts for both."""
    bad: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for goal in goals_of(turns):
        truth = goal[0].truth
        assert truth is not None, "goals_of takes no others"
        for kind in truth.noise or ("none",):
            count[kind] += 1
            bad[kind] += not truth.achieved
    return {kind: (bad[kind], count[kind]) for kind in sorted(count)}


def example(one: Judged) -> dict[str, Any]:
    """A judged rewrite as a record."""
    turn = one.turn
    return {
        "won": one.won, "source": turn.source, "user": turn.user, "building": turn.building,
        "heard": turn.heard, "rewrite": turn.rewrite, "path": list(turn.path),
    }  # fmt: skip
