"""Chooses what to say about a path: some of the events on the way, and where to stop."""

import random
from collections.abc import Sequence
from functools import cache

from envs.houses.checking import ARRIVAL
from envs.houses.events import Event, Program
from envs.houses.following import Follower
from envs.houses.house_map import relative
from envs.houses.lexicon import MENTIONED, THINGS, meaning

_STOP = Event("stop")
_PASSED = ("past", "pass_room")
_CLEAR_TURN = (45.0, 140.0)  # degrees: what everybody would call left or right


class Planner:
    """Draws programs for the paths of one house; they are candidates, not yet verified."""

    def __init__(self, follower: Follower) -> None:
        self.follower, self.map = follower, follower.map

    def program(
        self, rng: random.Random, path: Sequence[int], start: float, eager: float
    ) -> Program:
        """Events for a path.

        Args:
            rng: the only source of chance.
            path: viewpoint indices.
            start: heading at the start, degrees.
            eager: 0 to 1, how much of what could be said is said.
        """
        ending = self._ending(rng, path)
        last = len(path) - 1
        events: list[Event] = []
        anchor = 0  # index on the path of the last place named
        turned = -1  # index where the last turn that was told is over
        for k in range(last + 1):
            arrived = self._crossing(rng, path, k, eager, ending) if k else []
            anchor = k if arrived else anchor
            turn, over = self._turn(path, k, start) if turned < k < last else (None, k)
            if turn is not None and rng.random() < (0.95 if k == 0 else 0.9) * eager:
                landmark = self._at_turn(rng, path, k, anchor)
                if landmark is not None:
                    arrived += landmark
                    anchor = k
                    # 'turn left and walk down the hall' once the room is left
                    follows = len(arrived) > 1 and arrived[-1].kind == "cross"
                    arrived.insert(len(arrived) - follows, turn)
                    turned = over
            elif k == 0 and abs(self._bend(path, 0, start)) < 25.0 and rng.random() < 0.6 * eager:
                arrived.append(Event("straight"))
            elif 0 < k < last and rng.random() < 0.3 * eager:
                arrived += self._passed(rng, path, k)
            passed = {e.what for e in events if e.kind in _PASSED}
            events += [e for e in arrived if e.kind not in _PASSED or e.what not in passed]
        if ending[0].kind == "enter" and any(
            e.kind in ("enter", "cross") and e.what == ending[0].what for e in events[-3:]
        ):
            ending = ending[1:]  # said already
        return tuple(events + ending)

    def _bend(self, path: Sequence[int], k: int, start: float) -> float:
        """Degrees by which the path turns at path[k], positive to the right."""
        heading = self.map.heading
        came = heading[path[k - 1]][path[k]] if k else start
        return relative(came, heading[path[k]][path[k + 1]])

    def _turn(self, path: Sequence[int], k: int, start: float) -> tuple[Event | None, int]:
        """The turn at path[k] that one would mention, if any, and the index where it is over."""
        bend = self._bend(path, k, start)
        if k == 0 and abs(bend) >= 150.0:
            return Event("turn", "around"), k
        over = k
        if 15.0 < abs(bend) < _CLEAR_TURN[0] and k + 2 < len(path):
            further = bend + self._bend(path, k + 1, start)
            if abs(further) > abs(bend) + 15.0:  # it bends the same way in two steps
                bend, over = further, k + 1
        if _CLEAR_TURN[0] <= abs(bend) <= _CLEAR_TURN[1]:
            return Event("turn", "right" if bend > 0 else "left"), over
        return None, k

    def _at_turn(
        self, rng: random.Random, path: Sequence[int], k: int, anchor: int
    ) -> list[Event] | None:
        """What to say about where a turn is: nothing after a place just named, or into a room."""
        regions, labels = self.follower.regions, self.map.labels
        following = path[k + 1]
        into = regions[following] != regions[path[k]] and labels[following] != "h"
        if k == anchor or (into and rng.random() < 0.6):
            return []
        options: list[Event] = []
        if path[k] in self.follower.far_ends("h") and rng.random() < 0.5:
            options.append(Event("end", "h"))
        for name in self._names(path[k]):
            what = _choice_of_noun(rng, name)
            if any(path[k] in near for _, near in self.follower.instances(what)):
                options.append(Event("reach", what))
        if options:
            return [rng.choice(options)]
        return self._passed(rng, path, k) or ([] if k - anchor <= 1 else None)

    def _names(self, viewpoint: int) -> list[str]:
        return sorted(n for n in self.map.nearby[viewpoint] if n in MENTIONED)

    def _passed(self, rng: random.Random, path: Sequence[int], k: int) -> list[Event]:
        """One thing, or in a hallway one room, that the path passes at path[k]."""
        heading = self.map.heading[path[k - 1]][path[k]]
        options: list[Event] = []
        for name in self._names(path[k]):
            things = self.map.nearby[path[k]][name]
            bearing = relative(heading, self.map.bearing(path[k], things[0]))
            sided = len(things) == 1 and rng.random() < 0.4
            options.append(
                Event("past", _choice_of_noun(rng, name), _side(bearing) if sided else "")
            )
        if self.map.labels[path[k]] == "h":
            for n in self.map.neighbours[path[k]]:
                if self.map.labels[n] != "h" and n not in path:
                    bearing = relative(heading, self.map.heading[path[k]][n])
                    side = _side(bearing) if rng.random() < 0.5 else ""
                    options.append(Event("pass_room", self.map.labels[n], side))
        return [rng.choice(options)] if options else []

    def _crossing(
        self, rng: random.Random, path: Sequence[int], k: int, eager: float, ending: list[Event]
    ) -> list[Event]:
        """What is said about going from one room into another at path[k]."""
        regions, labels = self.follower.regions, self.map.labels
        before, here = path[k - 1], path[k]
        if regions[before] == regions[here]:
            return []
        events: list[Event] = []
        mention = rng.random() < (0.9 if labels[here] != "h" else 0.7) * eager
        if rng.random() < (0.1 if labels[before] == "h" else 0.8) * eager:
            plain = labels[before] == "h" or rng.random() < 0.75
            events.append(Event("leave", labels[before] if plain else ""))
        if not mention:
            return events
        stays = all(regions[v] == regions[here] for v in path[k:])
        if stays and ending[0].kind in ("doorway", "outside", "stay"):
            return events  # the ending names the room
        walked = sum(regions[v] == regions[here] for v in path[k:])
        if labels[here] == "h":
            kind = "cross" if walked > 2 and events else "enter"
        else:
            kind = "enter" if stays or rng.random() < 0.4 else "cross"
        side = ""
        if kind == "enter" and not events and k > 1 and rng.random() < 0.35:
            side = _side(self._bend(path, k - 1, 0.0), clear=True)
        if labels[before] == "h" and labels[here] != "h" and rng.random() < 0.12:
            door = self._numbered_door(path, k)
            if door is not None:
                return [door]
        return [*events, Event(kind, labels[here], side)]

    def _numbered_door(self, path: Sequence[int], k: int) -> Event | None:
        """'The second door on the left', counted from where the path came into the hallway."""
        regions = self.follower.regions
        first = k - 1
        while first > 0 and regions[path[first - 1]] == regions[path[k - 1]]:
            first -= 1
        if k - first < 2:
            return None
        heading = self.map.heading[path[first]][path[first + 1]]
        for side in ("left", "right"):
            for ordinal in (1, 2, 3):
                door = Event("take", "", side, ordinal)
                if self.follower.follow((door,), path[first], heading) == {path[k]}:
                    return door
        return None

    def _ending(self, rng: random.Random, path: Sequence[int]) -> list[Event]:
        """Where to stop: events that end with `stop`."""
        goal = path[-1]
        label, own = self.map.labels[goal], self.follower.regions[goal]
        entered = label != "h" and any(self.follower.regions[v] != own for v in path)
        options: list[tuple[float, list[Event]]] = []
        names = {n for n, _, places in self.map.places if goal in places and n in MENTIONED}
        for name in sorted(names):
            beside = Event("reach", _choice_of_noun(rng, name))
            options.append((3.0, [beside, _STOP]))
            if entered:
                options.append((1.5, [Event("enter", label), beside, _STOP]))
        if self.map.house.viewpoints[goal].door >= 0:
            options.append((6.0, [Event("doorway", label), _STOP]))
        if label != "h":
            options.append((1.0, [Event("enter", label), _STOP]))
            members = self.map.members[self.map.rooms[goal]]
            if all(self.map.distance[goal][v] < ARRIVAL for v in members):
                options.append((2.0, [Event("stay", label), _STOP]))
        else:
            if goal in self.follower.far_ends("h"):
                options.append((4.0, [Event("end", "h"), _STOP]))
            for n in self.map.neighbours[goal]:
                if self.map.labels[n] != "h" and self.map.house.viewpoints[n].door >= 0:
                    options.append((2.0, [Event("outside", self.map.labels[n]), _STOP]))
        if not options:  # the middle of a hallway: what was said before has to do
            return [_STOP]
        weights, endings = zip(*options, strict=True)
        chosen: list[Event] = rng.choices(endings, weights)[0]
        return chosen


def _side(bearing: float, clear: bool = False) -> str:
    """'left' or 'right' for a bearing (degrees) that is clearly to that side, otherwise ''."""
    low, high = _CLEAR_TURN if clear else (40.0, 130.0)
    if not low <= abs(bearing) <= high:
        return ""
    return "right" if bearing > 0 else "left"


def _choice_of_noun(rng: random.Random, name: str) -> str:
    """What one of the thing's phrases, exact or general, stands for."""
    return rng.choice(_meanings(name))


@cache
def _meanings(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(meaning(phrase) for phrase in THINGS[name]))
