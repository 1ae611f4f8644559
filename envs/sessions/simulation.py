"""Days of simulated users: what they want, say, see and put up with becomes a session log.

Designed here. Everything random of a goal is drawn from the seed, the user, the day and the number
of the goal, never from what the agent did: two assistants meet the same people with the same
wishes, and their difference is paired.

What is easy here, and is not with real people: a person wants one of the routes that the data
describes, from its start; goes back to the start after a failure; and judges by the true distance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from envs.sessions.noise import AMBIGUOUS, PRIVATE, SOUND, VAGUE, last_clause, misheard
from envs.sessions.people import PeopleConfig, Person, Route
from envs.sessions.turns import Signal, Source, Truth, Turn
from rayforge.evaluation.metrics import SUCCESS_METRES

DAY_S = 86_400.0
START_S = 1_700_000_000.0 - 1_700_000_000.0 % DAY_S
"""When the first day begins."""
STRAYED = 3.0
"""Metres from the nearest place of the wanted way at which an agent has strayed."""
SPEAKING_S, STEP_S, PAUSE_S = 4.0, 2.0, 6.0
"""Seconds of a request, of a step, and until it is said again."""
SOON = 0.3
"""Share of goals that follow the one before without leaving the session."""

Metres = Callable[[str, str, str], float]
"""Geodesic metres in a building between two viewpoints."""


class Asked(NamedTuple):
    """A request to an assistant."""

    user: str
    building: str
    start: str
    heading: float
    heard: str


class Answer(NamedTuple):
    """What the assistant did."""

    path: tuple[str, ...]
    rewrite: str | None = None
    source: Source = "none"
    confidence: float | None = None
    understood: tuple[str, ...] = ()
    reply: str = ""


class Assistant(Protocol):
    """Whoever follows requests. `follow` answers many at once, at most one of each user."""

    def follow(self, asked: Sequence[Asked]) -> list[Answer]: ...

    def question(self, turns: Sequence[Turn]) -> str | None:
        """The phrase that it asks the user to teach, after the turns of one goal; None: nothing."""
        ...

    def taught(self, turn: Turn, phrase: str) -> None:
        """The user's lesson: `turn.path` leads to what they mean by the phrase."""
        ...


@dataclass
class _Goal:
    """A goal under way."""

    person: Person
    route: Route
    number: int  # within the day
    session: str
    within: int  # goals before it in its session
    time: float
    first: str
    noise: tuple[str, ...]
    wording: int
    draws: np.ndarray  # [attempt, 6]
    key: tuple[int, ...]
    turns: list[Turn] = field(default_factory=list)
    said: set[int] = field(default_factory=set)
    words: str = ""
    done: bool = False


def simulate_day(
    config: PeopleConfig, users: Sequence[Person], routes: Mapping[str, Sequence[Route]],
    sounds: Mapping[str, tuple[str, ...]], day: int, seed: int, assistant: Assistant,
    metres: Metres,
) -> list[Turn]:  # fmt: skip
    """The turns of one day, by user and time.

    Args:
        sounds: what words are taken for, `confusions`.
        day: from 0.
    """
    wishes = [_wishes(config, person, number, routes, day, seed)
              for number, person in enumerate(users)]  # fmt: skip
    for place in range(max(map(len, wishes), default=0)):
        open_goals = [goals[place] for goals in wishes if place < len(goals)]
        for goals in wishes:  # a goal begins after the one before, however long that took
            if 0 < place < len(goals) and goals[place - 1].turns:
                before = goals[place - 1].turns[-1]
                earliest = before.time + before.duration + PAUSE_S
                if goals[place].within or goals[place].time < earliest:
                    goals[place].time = earliest
        for attempt in range(config.patience[1]):
            going = [goal for goal in open_goals if not goal.done]
            if not going:
                break
            asked = [_say(config, goal, attempt, sounds) for goal in going]
            for goal, request, answer in zip(going, asked, assistant.follow(asked), strict=True):
                _judge(config, goal, attempt, request, answer, metres)
        for goal in open_goals:
            phrase = assistant.question(goal.turns)
            if phrase is not None and goal.person.teaches:
                lesson = _lesson(goal, phrase)
                goal.turns.append(lesson)
                assistant.taught(lesson, phrase)
    return [turn for goals in wishes for goal in goals for turn in goal.turns]


def _wishes(
    config: PeopleConfig, person: Person, number: int, routes: Mapping[str, Sequence[Route]],
    day: int, seed: int,
) -> list[_Goal]:  # fmt: skip
    """What a user wants on a day, and in which words they will say it first."""
    own = routes[person.building]
    rng = np.random.default_rng([seed, 2, number, day])
    count = int(rng.poisson(config.goals_a_day))
    times = np.sort(rng.random(count)) * 14 * 3600 + 7 * 3600
    weights = (1.0 + np.arange(len(person.habits))) ** -config.habit_power
    goals: list[_Goal] = []
    for place in range(count):
        rng = np.random.default_rng([seed, 3, number, day, place])
        habitual = rng.random() < config.habit_share
        habit = int(rng.choice(len(weights), p=weights / weights.sum()))
        chosen = person.habits[habit] if habitual else int(rng.integers(len(own)))
        route = own[chosen]
        mine = rng.random() < config.same_words
        wording = (person.words + chosen if mine else int(rng.integers(1 << 16))) % len(
            route.wordings
        )
        first, noise = _first_words(config, person, route, chosen, wording, rng.random(3))
        soon = bool(place and rng.random() < SOON)
        within = goals[-1].within + 1 if soon else 0
        session = goals[-1].session if soon else f"{person.name}-{day}-{place}"
        goals.append(
            _Goal(
                person, route, place, session, within, START_S + day * DAY_S + float(times[place]),
                first, noise, wording, rng.random((config.patience[1], 6)),
                (seed, 4, number, day, place),
            )
        )  # fmt: skip
    return goals


def _first_words(
    config: PeopleConfig, person: Person, route: Route, chosen: int, wording: int,
    draws: np.ndarray,
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    if chosen in person.private and draws[0] < config.private:
        return f"go to {person.private[chosen]}", (PRIVATE,)
    if route.room and draws[1] < config.ambiguous:
        return f"go to the {route.room}", (AMBIGUOUS,)
    text = route.wordings[wording]
    if draws[2] < config.vague and (short := last_clause(text)) != text:
        return short, (VAGUE,)
    return text, ()


def _say(
    config: PeopleConfig, goal: _Goal, attempt: int, sounds: Mapping[str, tuple[str, ...]]
) -> Asked:
    """The next request for a goal: the first words, then another's, then the same again."""
    route, draws = goal.route, goal.draws[attempt]
    if attempt == 0:
        goal.words = goal.first
        if not goal.noise:
            goal.said.add(goal.wording)
    else:
        others = [k for k in range(len(route.wordings)) if k not in goal.said]
        if others and (goal.noise or draws[0] < config.other_words):
            chosen = others[int(draws[1] * len(others))]
            goal.said.add(chosen)
            goal.words, goal.noise = route.wordings[chosen], ()
    rng = np.random.default_rng([*goal.key, attempt])
    heard = misheard(goal.words, sounds, config.sound, rng)
    return Asked(goal.person.name, route.building, route.start, route.heading, heard)


def _judge(
    config: PeopleConfig, goal: _Goal, attempt: int, asked: Asked, answer: Answer, metres: Metres
) -> None:
    """The user sees what the agent does and takes it well or not; adds the turn."""
    route, draws, path = goal.route, goal.draws[attempt], answer.path
    achieved = bool(path) and metres(route.building, path[-1], route.goal) < SUCCESS_METRES
    content = achieved != bool(draws[2] < config.mistaken)
    last = attempt + 1 >= goal.person.patience
    signal: Signal
    step: int | None = None
    if content:
        signal = "thanks" if draws[3] < 0.3 else "none"
        goal.done = True
    else:
        signal = "stop" if last else "rephrase"
        goal.done = last
        strayed = None if achieved else _strays(route, path, metres)
        if not last and strayed is not None and draws[4] < config.watching:
            signal, step = "barge_in", strayed
            path = path[: strayed + 1]
    noise = (*goal.noise, *((SOUND,) if asked.heard != goal.words else ()))
    truth = Truth(goal.session, goal.within, route.goal, achieved, goal.words, noise)
    goal.turns.append(
        Turn(
            f"{goal.key[3]}-{goal.person.name}-{goal.number}-{attempt}", goal.person.name,
            route.building, round(goal.time, 3), asked.heard, signal, goal.words, answer.rewrite,
            answer.source, answer.understood, answer.confidence, answer.reply, route.heading,
            path, step, SPEAKING_S + STEP_S * len(path), truth,
        )
    )  # fmt: skip
    goal.time += SPEAKING_S + STEP_S * len(path) + PAUSE_S


def _strays(route: Route, path: Sequence[str], metres: Metres) -> int | None:
    """The first place of a path that is `STRAYED` metres from every place of the wanted way."""
    for step, place in enumerate(path):
        if place not in route.path and all(
            metres(route.building, place, wanted) >= STRAYED for wanted in route.path
        ):
            return step
    return None


def _lesson(goal: _Goal, phrase: str) -> Turn:
    """The user shows what they mean by a phrase: they lead the agent there, and say so."""
    route, name = goal.route, goal.person.name
    said = f'by "{phrase}" i mean: {route.wordings[goal.wording]}'[:2000]
    truth = Truth(goal.session, goal.within, route.goal, True, said, (), "teach")
    return Turn(
        f"{goal.key[3]}-{name}-{goal.number}-taught", name, route.building, round(goal.time, 3),
        said, "none", said, heading=route.heading, path=route.path, reply="What is that?",
        duration=SPEAKING_S + STEP_S * len(route.path), truth=truth,
    )  # fmt: skip
