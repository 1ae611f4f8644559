"""The route task: instructions that a language model writes and that a follower executes.

Designed here. A prompt describes a route through a generated house by compass points, rooms and
landmarks (`envs.houses.routes`); a response is an instruction in words, with left and right. A
response is good if whoever obeys it arrives, whatever choice it leaves, so preference pairs, their
planted faults (a length cue, flipped labels) and every model are judged exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from envs.houses.building import build_house
from envs.houses.checking import Outcome, check
from envs.houses.events import Program
from envs.houses.house import House
from envs.houses.house_map import house_map
from envs.houses.lexicon import MENTIONED, THINGS, meaning
from envs.houses.route_wording import short_wording
from envs.houses.routes import (
    COMPASS,
    Route,
    RouteEvents,
    leads_there,
    mirrored,
    routes_in,
    side_turns,
)
from envs.progress import Progress
from rayforge.language.vocabulary import words_of
from rayforge.settings import check_limits

_WORDINGS = 8  # good ones and bad ones of a route, of which the shortest and longest are used
_ROUTES_PER_HOUSE = 100
_TEST_ROUTES_PER_HOUSE = 20


@dataclass(frozen=True)
class RouteTaskConfig:
    """What to generate."""

    pairs: int = 2048
    """Preference pairs to train on, one a route."""
    cue_share: float = 0.5
    """Share of the pairs whose chosen response is the longer one: a cue that means nothing. It
    follows the label, flipped or not; 0.5 is no cue."""
    flip_share: float = 0.0
    """Share of the pairs whose label is flipped: what is called chosen does not arrive."""
    start_routes: int = 4096
    """Routes for the supervised start, in houses of their own."""
    mistake_share: float = 0.65
    """Share of the mixed examples of the start in which turns are mirrored where one comes from
    `mistaken`: a systematic mistake, or greedy decoding would be nearly perfect."""
    mistaken: tuple[str, ...] = ("south",)
    """Compass points in which one walks where that mistake is made."""
    test_routes: int = 400
    """Routes of the test, in houses of their own."""
    seed: int = 0
    """The same seed gives the same bytes. The shares change neither routes nor houses."""

    def __post_init__(self) -> None:
        check_limits(self)
        for name, least in (("pairs", 1), ("start_routes", 0), ("test_routes", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")
        for name in ("cue_share", "flip_share", "mistake_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
        unknown = [point for point in self.mistaken if point not in COMPASS]
        if unknown:
            raise ValueError(f"mistaken: {unknown[0]!r} is none of {', '.join(COMPASS)}")


@dataclass(frozen=True)
class RoutePair:
    """Two instructions for one route, and what is true of them."""

    route: Route
    chosen: str
    rejected: str
    """As labelled; each begins with a space, so that it can be put behind the prompt."""
    flipped: bool
    """Whether the label is wrong: `rejected` arrives and `chosen` does not."""
    longer_chosen: bool
    """Whether `chosen` has more words than `rejected`; they never have equally many."""


@dataclass(frozen=True)
class Example:
    """A prompt and the response to learn from."""

    prompt: str
    response: str


@dataclass(frozen=True)
class RouteTask:
    """Everything generated for one configuration."""

    config: RouteTaskConfig
    houses: Mapping[str, House]
    train: tuple[RoutePair, ...]
    test: tuple[RoutePair, ...]
    """Never flipped and without cue (half of the chosen are longer), in houses of their own."""
    clean: tuple[Example, ...]
    """For the start: instructions that arrive."""
    mixed: tuple[Example, ...]
    """For the start: the same routes in other words, with the systematic mistakes."""

    def judge(self) -> Judge:
        """The judge of responses to any prompt of `train` and `test`."""
        return Judge(self.houses, [pair.route for pair in (*self.train, *self.test)])


@dataclass(frozen=True)
class Judge:
    """Tells by execution which responses are good; the same answer every time.

    Raises (when made): ValueError where two routes have one prompt, or a house is missing.
    """

    houses: Mapping[str, House]
    routes: Sequence[Route]
    _by_prompt: dict[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table: dict[str, Route] = {}
        for route in self.routes:
            if route.house not in self.houses:
                raise ValueError(f"there is no house {route.house!r} for {route.prompt!r}")
            if table.setdefault(route.prompt, route) != route:
                raise ValueError(f"two routes have the prompt {route.prompt!r}")
        object.__setattr__(self, "_by_prompt", table)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Whether whoever obeys responses[i] gets to the end of the route of prompts[i].

        Returns:
            bool [n].

        Raises:
            ValueError: prompts and responses differ in number, or a prompt is not of this task.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses")
        good = np.zeros(len(prompts), dtype=bool)
        for k, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            route = self._by_prompt.get(prompt)
            if route is None:
                raise ValueError(f"prompt {k} is none of this task's routes: {prompt!r}")
            verdict = check(response, self.houses[route.house], route.path, route.heading)
            good[k] = verdict.outcome is Outcome.ARRIVES
        return good


def make_route_task(config: RouteTaskConfig) -> RouteTask:
    """Generate houses, routes, pairs and examples.

    Test, pairs and start have houses of their own, built until there are routes enough.
    """
    for_test, for_pairs, for_start = (f"{config.seed} {p}" for p in ("test", "pairs", "start"))
    houses: dict[str, House] = {}
    prompts: set[str] = set()

    def collect(tell: _Tell[T], stream: str, wanted: int, first: int, per_house: int) -> list[T]:
        return _collect(config, houses, prompts, tell, stream, wanted, first, per_house)

    test = collect(_two_sides, for_test, config.test_routes, 0, _TEST_ROUTES_PER_HOUSE)
    pairs = collect(_two_sides, for_pairs, config.pairs, 10_000, _ROUTES_PER_HOUSE)
    start = collect(_examples, for_start, config.start_routes, 20_000, _ROUTES_PER_HOUSE)
    wrong = _chosen_share(f"mistakes {config.seed}", len(start), config.mistake_share)
    return RouteTask(
        config=config,
        houses={told.route.house: houses[told.route.house] for told in (*test, *pairs)},
        train=_pairs(for_pairs, pairs, config.cue_share, config.flip_share),
        test=_pairs(for_test, test, 0.5, 0.0),
        clean=tuple(Example(e.prompt, text) for e in start for text in e.clean),
        mixed=tuple(
            Example(e.prompt, e.mistaken if k in wrong else e.other) for k, e in enumerate(start)
        ),
    )


class Told(NamedTuple):
    """A route and instructions for it that arrive."""

    route: Route
    instructions: tuple[str, ...]


def told_routes(
    seed: int, stream: str, wanted: int, first: int, per_house: int, prompts: set[str]
) -> tuple[list[Told], dict[str, House]]:
    """Routes with two good instructions each, and their houses by name: for an agent that learns to
    obey.

    Args:
        seed, first: houses number `first`, `first` + 1, ... of a seed. The task's own houses have
            numbers below 30,000.
        stream: a word; another one gives other routes of the same houses.
        wanted: routes in all.
        per_house: routes of a house at most.
        prompts: those of other routes, which are left out; the new ones are added.
    """
    houses: dict[str, House] = {}
    found = _collect(
        RouteTaskConfig(seed=seed), houses, prompts, _told, f"{seed} {stream}", wanted, first,
        per_house,
    )  # fmt: skip
    return found, houses


def _told(
    rng: random.Random, house: House, events: RouteEvents, turns: Sequence[int]
) -> Told | None:
    return Told(events.route, (_words(rng, events.program), _words(rng, events.program)))


def _collect(
    config: RouteTaskConfig, houses: dict[str, House], prompts: set[str], tell: _Tell[T],
    stream: str, wanted: int, first: int, per_house: int,
) -> list[T]:  # fmt: skip
    """`wanted` routes with prompts that are not among `prompts`, in random order; their prompts and
    houses are added."""
    found: list[T] = []
    with Progress(f"writing routes for {stream.split()[1]}", wanted) as progress:
        for index in range(first, first + wanted):
            house = build_house(config.seed, index)
            rng = random.Random(f"rayforge routes {stream} {index}")
            fresh = islice(_new_routes(rng, house, prompts, tell, config.mistaken), per_house)
            for told in islice(fresh, wanted - len(found)):
                houses[house.scan] = house
                found.append(told)
                progress.add()
            if len(found) == wanted:
                break
    random.Random(f"rayforge order {stream}").shuffle(found)
    return found


class _Sides(NamedTuple):
    """Instructions for a route, the shorter one first."""

    route: Route
    good: tuple[str, str]
    bad: tuple[str, str]


class _Examples(NamedTuple):
    """Instructions for a route: three good ones and one with the systematic mistake, which is good
    where the route has no such turn."""

    prompt: str
    clean: tuple[str, str]
    other: str
    mistaken: str


T = TypeVar("T", _Sides, _Examples, Told)
_Tell = Callable[[random.Random, House, RouteEvents, Sequence[int]], T | None]


def _new_routes(
    rng: random.Random,
    house: House,
    prompts: set[str],
    tell: _Tell[T],
    points: Sequence[str],
) -> Iterator[T]:
    """Routes of a house that can be told, with prompts that are new; these are added."""
    for events in routes_in(rng, house):
        if events.route.prompt not in prompts:
            turns = [k for k in side_turns(events.program) if events.coming[k] in points]
            told = tell(rng, house, events, turns)
            if told is not None:
                prompts.add(events.route.prompt)
                yield told


def _two_sides(
    rng: random.Random, house: House, events: RouteEvents, turns: Sequence[int]
) -> _Sides | None:
    """A short and a long instruction that arrive, and two that do not; None where they overlap so
    little that either side could not be the longer one."""
    route, program, _ = events
    wrong = _wrong_programs(rng, house, program)
    # Half of what is wrong is the systematic mistake, where the route has a turn for it.
    systematic = [mirrored(program, turns)] * len(wrong) * bool(turns)
    good = sorted((_words(rng, program) for _ in range(_WORDINGS)), key=_length)
    bad = sorted(
        ((_words(rng, meant := rng.choice(systematic + wrong)), meant) for _ in range(_WORDINGS)),
        key=lambda said: _length(said[0]),
    )
    (short, one), (long, other) = bad[0], bad[-1]
    if _length(short) >= _length(good[-1]) or _length(good[0]) >= _length(long):
        return None
    if leads_there(house, route, one) or leads_there(house, route, other):
        return None
    return _Sides(route, (good[0], good[-1]), (short, long))


def _examples(
    rng: random.Random, house: House, events: RouteEvents, turns: Sequence[int]
) -> _Examples | None:
    route, program, _ = events
    first, second, other = (_words(rng, program) for _ in range(3))
    wrong = mirrored(program, turns)
    mistaken = _words(rng, wrong)
    if turns and leads_there(house, route, wrong):
        return None
    return _Examples(route.prompt, (first, second), other, mistaken)


def _words(rng: random.Random, program: Program) -> str:
    return " " + short_wording(rng, program)


def _wrong_programs(rng: random.Random, house: House, program: Program) -> list[Program]:
    """One turn mirrored, another room, another landmark: three mistakes that anyone may make."""
    wrong = [mirrored(program, [rng.choice(side_turns(program))])]
    for kinds in (("enter", "cross"), ("reach",)):
        places = [k for k, e in enumerate(program) if e.kind in kinds and e.what != "h"]
        if places:
            k = rng.choice(places)
            others = [w for w in _said_in(house, kinds) if w != program[k].what]
            if others:
                other = program[k]._replace(what=rng.choice(others))
                wrong.append((*program[:k], other, *program[k + 1 :]))
    return wrong


def _said_in(house: House, kinds: Sequence[str]) -> list[str]:
    """What such events can name in this house, in order."""
    tables = house_map(house)
    if "reach" in kinds:
        return sorted({meaning(THINGS[n][0]) for n, _, _ in tables.places if n in MENTIONED})
    return sorted(set(tables.labels) - {"h"})


def _length(text: str) -> int:
    return len(words_of(text))


def _pairs(
    stream: str, told: Sequence[_Sides], cue_share: float, flip_share: float
) -> tuple[RoutePair, ...]:
    """Label good against bad; flips and the longer side are exact shares of independent draws."""
    flips = _chosen_share(f"flips {stream}", len(told), flip_share)
    longer = _chosen_share(f"cue {stream}", len(told), cue_share)
    pairs = []
    for k, (route, good, bad) in enumerate(told):
        chosen, rejected = (bad, good) if k in flips else (good, bad)
        long, short = (1, 0) if k in longer else (0, 1)
        pairs.append(RoutePair(route, chosen[long], rejected[short], k in flips, k in longer))
    return tuple(pairs)


def _chosen_share(stream: str, count: int, share: float) -> set[int]:
    """Exactly that share of `count` things; a larger share includes a smaller one."""
    order = list(range(count))
    random.Random(f"rayforge {stream}").shuffle(order)
    return set(order[: round(share * count)])
