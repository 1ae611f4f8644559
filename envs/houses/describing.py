"""Describes a path: chooses what to mention, puts it into words and verifies that it arrives."""

import random
from collections.abc import Collection, Sequence
from functools import cache
from math import degrees

from envs.houses.checking import ARRIVAL
from envs.houses.events import Event, Program
from envs.houses.following import Follower, follower
from envs.houses.house import House
from envs.houses.house_map import relative
from envs.houses.lexicon import MENTIONED, ROOM_WORDS, THINGS, meaning
from envs.houses.parsing import UnreadableInstruction, parse
from envs.houses.wording import Wording, put_into_words

FEWEST_WORDS, MOST_WORDS = 10, 45
_TRIES = 60
_WORDINGS = 4  # of one program, until one has a fitting length and reads as it was meant


class Describer:
    """Writes instructions for paths of one house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.follower: Follower = follower(house)
        self.map = self.follower.map

    def instructions(
        self,
        rng: random.Random,
        path: Sequence[int],
        heading: float,
        *,
        count: int = 3,
        held_out: bool = False,
        words: Collection[str] | None = None,
    ) -> tuple[Wording, ...] | None:
        """Differently worded instructions for one path, each verified to arrive.

        Args:
            rng: the only source of chance.
            path: viewpoint indices, start to goal.
            heading: start heading in radians, clockwise from +y.
            count: how many.
            held_out: write the validation splits' wordings.
            words: if given, no other word may be used.

        Returns:
            None where too few were found: some paths cannot be told without ambiguity.
        """
        start = degrees(heading) % 360.0
        found: list[Wording] = []
        for attempt in range(_TRIES):
            # The longer nothing is found, the more is mentioned.
            eager = min(1.0, 0.55 + 0.6 * attempt / _TRIES)
            program = self._program(rng, path, start, eager)
            if program is None or not self._arrives(program, path, start):
                continue
            wording = self._worded(rng, program, path, start, held_out, words)
            if wording is not None and all(
                wording.text != w.text and wording.templates != w.templates for w in found
            ):
                found.append(wording)
                if len(found) == count:
                    return tuple(found)
        return None

    def _worded(
        self,
        rng: random.Random,
        program: Program,
        path: Sequence[int],
        start: float,
        held_out: bool,
        words: Collection[str] | None,
    ) -> Wording | None:
        for _ in range(_WORDINGS):
            wording = put_into_words(rng, program, held_out)
            used = instruction_words(wording.text)
            if not FEWEST_WORDS <= len(used) <= MOST_WORDS:
                continue
            if words is not None and any(w not in words for w in used):
                continue
            try:
                read = parse(wording.text)
            except UnreadableInstruction:
                continue
            if read == program or self._arrives(read, path, start):
                return wording
        return None

    def _arrives(self, program: Program, path: Sequence[int], start: float) -> bool:
        ends = self.follower.follow(program, path[0], start)
        far = self.map.distance[path[-1]]
        return bool(ends) and all(far[e] < ARRIVAL for e in ends)

    def _program(
        self, rng: random.Random, path: Sequence[int], start: float, eager: float
    ) -> Program | None:
        """Some of the events that happen along the path, and where to stop."""
        ending = self._ending(rng, path)
        if ending is None:
            return None
        events: list[Event] = []
        anchor = 0  # index on the path of the last place named
        for k, viewpoint in enumerate(path):
            if k > 0:
                arrived = self._crossing(rng, path, k, eager)
                if arrived:
                    events += arrived
                    anchor = k
            if k == len(path) - 1:
                break
            came = self.map.heading[path[k - 1]][viewpoint] if k else start
            turn = relative(came, self.map.heading[viewpoint][path[k + 1]])
            said = _turn_words(turn, k == 0)
            if said is None:
                if k == 0 and abs(turn) < 25.0 and rng.random() < 0.5 * eager:
                    events.append(Event("straight"))
            elif rng.random() < (0.9 if k == 0 else 0.85) * eager:
                if k - anchor > 1 or (k > anchor and rng.random() < 0.3):
                    landmark = self._landmark(rng, viewpoint, came)
                    if landmark is None:
                        continue
                    events.append(landmark)
                    anchor = k
                events.append(said)
                continue
            if k > 0 and k - anchor >= 1 and rng.random() < 0.35 * eager:
                landmark = self._landmark(rng, viewpoint, came, passing=True)
                if landmark is not None:
                    events.append(landmark)
        return tuple(events + ending)

    def _crossing(
        self, rng: random.Random, path: Sequence[int], k: int, eager: float
    ) -> list[Event]:
        """What is said about going from one room into another at path[k]."""
        regions, labels = self.follower.regions, self.map.labels
        before, here = path[k - 1], path[k]
        if regions[before] == regions[here]:
            return []
        events = []
        if rng.random() < (0.15 if labels[before] == "h" else 0.75) * eager:
            events.append(Event("leave", labels[before] if rng.random() < 0.8 else ""))
        if rng.random() < (0.6 if labels[here] == "h" else 0.85) * eager:
            leaves = any(regions[v] != regions[here] for v in path[k:])
            kind = "cross" if leaves and rng.random() < 0.6 else "enter"
            if labels[here] == "h":
                kind = "cross"
            enter = Event(kind, labels[here])
            if kind == "enter" and not events and rng.random() < 0.35:
                side = self._side_of_entry(path, k)
                enter = enter._replace(side=side)
            events.append(enter)
        return events

    def _side_of_entry(self, path: Sequence[int], k: int) -> str:
        if k < 2:
            return ""
        heading = self.map.heading
        turn = relative(heading[path[k - 2]][path[k - 1]], heading[path[k - 1]][path[k]])
        return ("right" if turn > 0 else "left") if 45.0 <= abs(turn) <= 140.0 else ""

    def _landmark(
        self, rng: random.Random, viewpoint: int, came: float, passing: bool = False
    ) -> Event | None:
        """Something at this viewpoint worth a mention: to reach, or to pass."""
        nearby = self.map.nearby[viewpoint]
        names = sorted(n for n in nearby if n in MENTIONED)
        options: list[Event] = []
        for name in names:
            what = _choice_of_noun(rng, name)
            if not passing:
                if any(viewpoint in near for _, near in self.follower.instances(what)):
                    options.append(Event("reach", what))
                continue
            side = ""
            if len(nearby[name]) == 1 and rng.random() < 0.4:
                turn = relative(came, self.map.bearing(viewpoint, nearby[name][0]))
                if 40.0 < abs(turn) < 130.0:
                    side = "right" if turn > 0 else "left"
            options.append(Event("past", what, side))
        if passing and self.map.labels[viewpoint] == "h":
            rooms = {
                self.map.labels[n]
                for n in self.map.neighbours[viewpoint]
                if self.map.labels[n] != "h"
            }
            options += [Event("pass_room", r) for r in sorted(rooms)]
        return rng.choice(options) if options else None

    def _ending(self, rng: random.Random, path: Sequence[int]) -> list[Event] | None:
        goal = path[-1]
        label = self.map.labels[goal]
        own = self.follower.regions[goal]
        options: list[tuple[float, list[Event]]] = []
        stop = Event("stop")
        near = [name for name, _, places in self.map.places if goal in places and name in MENTIONED]
        for name in sorted(set(near)):
            beside = Event("reach", _choice_of_noun(rng, name))
            entered = any(self.follower.regions[v] != own for v in path) and label != "h"
            options.append((3.0, [beside, stop]))
            if entered:
                options.append((1.5, [Event("enter", label), beside, stop]))
        if self.house.viewpoints[goal].door >= 0 and label in ROOM_WORDS:
            options.append((4.0, [Event("doorway", label), stop]))
        if label != "h":
            options.append((1.0, [Event("enter", label), stop]))
            options.append((1.0, [Event("stay", label), stop]))
        else:
            options.append((2.0, [Event("end", "h"), stop]))
            for n in self.map.neighbours[goal]:
                if self.map.labels[n] != "h" and self.house.viewpoints[n].door >= 0:
                    options.append((2.0, [Event("outside", self.map.labels[n]), stop]))
        if not options:
            return None
        weights, endings = zip(*options, strict=True)
        chosen: list[Event] = rng.choices(endings, weights)[0]
        return chosen


def instruction_words(text: str) -> list[str]:
    """The words of an instruction in lower case, without punctuation."""
    return text.lower().replace(",", " ").replace(".", " ").split()


def _turn_words(turn: float, first: bool) -> Event | None:
    """The turn that one would mention, if any."""
    if 45.0 <= abs(turn) <= 140.0:
        return Event("turn", "right" if turn > 0 else "left")
    if first and abs(turn) >= 150.0:
        return Event("turn", "around")
    return None


def _choice_of_noun(rng: random.Random, name: str) -> str:
    """What one of the thing's phrases, exact or general, stands for."""
    return rng.choice(_meanings(name))


@cache
def _meanings(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(meaning(phrase) for phrase in THINGS[name]))
