"""Simulated people: a home, habits, names that only they know, and a way of speaking.

Designed here. A person has a few habitual routes in their home and goes there more often than
elsewhere. Each human instruction of a route is how one annotator said it; a person mostly says a
route in the same annotator's words, and takes another's when they have to say it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from envs.episodes.episode import Episode
from rayforge.settings import SHARE, Above, AtLeast, check_limits

PRIVATE_NAMES = (
    "my corner", "my spot", "the usual place", "my desk", "grandma's place", "the quiet place",
    "base", "my chair", "the office", "the den",
)  # fmt: skip
"""Names that mean another place for everybody."""


@dataclass(frozen=True)
class Route:
    """A way that a person may want to be led, with the words of several people for it."""

    building: str
    path: tuple[str, ...]
    """Viewpoints of the reference path, the start and the goal place included."""
    heading: float
    """Heading at the start, radians."""
    wordings: tuple[str, ...]
    room: str = ""
    """The kind of room of the goal place."""

    @property
    def start(self) -> str:
        return self.path[0]

    @property
    def goal(self) -> str:
        return self.path[-1]


@dataclass(frozen=True)
class PeopleConfig:
    """Who talks to the agent, and how well."""

    users: Annotated[int, AtLeast(1)] = 200
    """Simulated users, spread evenly over the buildings."""
    goals_a_day: Annotated[float, Above(0)] = 2.0
    """Goals of a user a day, on average."""
    habits: Annotated[int, AtLeast(1)] = 6
    """Habitual routes of a user."""
    habit_share: Annotated[float, SHARE] = 0.8
    """Share of goals that are habitual; the others are any route of the building."""
    habit_power: Annotated[float, AtLeast(0)] = 1.0
    """The k-th habit is chosen with a weight of k to the minus this."""
    same_words: Annotated[float, SHARE] = 0.7
    """Share of goals that a user says in their own words; else any annotator's."""
    private: Annotated[float, SHARE] = 0.15
    """Share of habitual goals that are said by a private name."""
    vague: Annotated[float, SHARE] = 0.1
    """Share of goals of which only the last clause is said."""
    ambiguous: Annotated[float, SHARE] = 0.05
    """Share of goals of which only the kind of room is said."""
    sound: Annotated[float, SHARE] = 0.01
    """Share of words that are misheard, among those that can be."""
    watching: Annotated[float, SHARE] = 0.7
    """Share of walks that a user watches, and interrupts when the agent strays."""
    mistaken: Annotated[float, SHARE] = 0.03
    """Share of walks that a user judges wrongly: is content with a failure, or not with a
    success."""
    other_words: Annotated[float, SHARE] = 0.85
    """Share of repeated requests that are in another's words; else the same are said again."""
    patience: tuple[int, int] = (1, 4)
    """Fewest and most requests for a goal after which a user gives up; each has a number of their
    own."""
    teaches: Annotated[float, SHARE] = 0.6
    """Share of users who answer when they are asked to teach."""

    def __post_init__(self) -> None:
        check_limits(self)
        low, high = self.patience
        if not 1 <= low <= high:
            raise ValueError(f"patience must be two numbers from 1, in order, got {self.patience}")


@dataclass(frozen=True)
class Person:
    """One simulated user; `habits` and `others` are numbers of routes of their building."""

    name: str
    building: str
    habits: tuple[int, ...]
    private: Mapping[int, str]
    """Private names of some habits."""
    words: int
    """Whose words they use: the number of the wording, modulo how many a route has."""
    patience: int
    teaches: bool


def routes_of(
    episodes: Sequence[Episode], rooms: Mapping[tuple[str, str], str] | None = None
) -> dict[str, tuple[Route, ...]]:
    """The routes of each building, from episodes that share a path and a heading.

    `rooms`: the kind of room, in words, by building and viewpoint.
    """
    wordings: dict[tuple[str, tuple[str, ...], float], list[str]] = {}
    for episode in episodes:
        if not episode.blind:
            key = (episode.scan, episode.path, episode.heading)
            wordings.setdefault(key, []).append(" ".join(episode.instruction.split()))
    found: dict[str, list[Route]] = {}
    for (building, path, heading), texts in wordings.items():
        room = (rooms or {}).get((building, path[-1]), "")
        found.setdefault(building, []).append(
            Route(building, path, heading, tuple(dict.fromkeys(texts)), room)
        )
    return {building: tuple(routes) for building, routes in sorted(found.items())}


def people(
    config: PeopleConfig, routes: Mapping[str, Sequence[Route]], seed: int
) -> tuple[Person, ...]:
    """Users with homes, habits and ways of speaking; the same seed gives the same people."""
    buildings = sorted(routes)
    found = []
    for number in range(config.users):
        building = buildings[number % len(buildings)]
        rng = np.random.default_rng([seed, 1, number])
        own = rng.permutation(len(routes[building]))[: config.habits]
        names = rng.permutation(len(PRIVATE_NAMES))
        private = {int(own[k]): PRIVATE_NAMES[names[k]] for k in range(min(2, len(own)))}
        found.append(
            Person(
                f"u{number:04d}", building, tuple(int(k) for k in own), private,
                int(rng.integers(1 << 16)),
                int(rng.integers(config.patience[0], config.patience[1] + 1)),
                bool(rng.random() < config.teaches),
            )
        )  # fmt: skip
    return tuple(found)
