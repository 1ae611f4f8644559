"""Follows the events of an instruction through a house and tells where that may end.

Designed here. The walker takes the shortest way between the places that a text names; turns,
landmarks and 'straight' say which way that may be. Where the text leaves a choice, every choice is
followed, so the answer is a set. Among several places of the asked kind those count whose way
fits what is said before, and of these the ones behind the fewest other rooms.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import cos, radians, sin
from typing import NamedTuple

from envs.houses.events import Event, Program, legs
from envs.houses.house import House
from envs.houses.house_map import HouseMap, house_map, relative

_TURN, _ABOUT, _STRAIGHT = 35.0, 135.0, 42.0  # degrees
_REMEMBERED = 200_000  # legs
_ENTERED = {"enter", "take", "doorway"}


class State(NamedTuple):
    """Where the walker stands and the headings (degrees) of the last two steps."""

    viewpoint: int
    heading: float
    before: float
    started: bool
    pending: Program = ()
    """Conditions said where no step was walked ('turn left and walk down the hall', said in the
    hall): they hold for the next leg."""


class Follower:
    """Follows programs in one house; remembers what legs led to."""

    def __init__(self, house: House) -> None:
        self.map: HouseMap = house_map(house)
        self.regions = _regions(house, self.map)
        self.hall = [label == "h" for label in self.map.labels]
        self._legs: dict[tuple[State, tuple[Event, ...], Event], tuple[State, ...]] = {}
        self._goals: dict[tuple[int, Event], tuple[tuple[int, int], ...]] = {}
        self._far_ends: dict[str, tuple[int, ...]] = {}
        self._things: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {}

    def follow(self, program: Program, viewpoint: int, heading: float) -> frozenset[int]:
        """All viewpoints at which the program may end; empty where it cannot be followed.

        Args:
            program: events in order.
            viewpoint: index of the start.
            heading: degrees, clockwise from +y.
        """
        states: set[State] = {State(viewpoint, heading, heading, False)}
        for conditions, place in legs(program):
            following: set[State] = set()
            for state in states:
                following.update(self._leg(state, conditions, place))
            states = following
            if not states:
                return frozenset()
        return frozenset(s.viewpoint for s in states)

    def _leg(self, state: State, conditions: Program, place: Event) -> tuple[State, ...]:
        key = (state, conditions, place)
        known = self._legs.get(key)
        if known is None:
            if len(self._legs) >= _REMEMBERED:  # a judge of very many instructions
                self._legs.clear()
            known = self._legs[key] = self._walk(state, conditions, place)
        return known

    def _walk(self, state: State, conditions: Program, place: Event) -> tuple[State, ...]:
        """The states after one leg: the cheapest goals whose shortest way fits the conditions."""
        conditions = state.pending + conditions
        goals = self._goals_of(state.viewpoint, place)
        if any(goal == state.viewpoint for goal, _ in goals):  # one is there already
            if place.kind in ("enter", "cross"):
                return (state._replace(pending=conditions),)
            if not conditions and place.kind in ("reach", "doorway"):
                return (state,)
        found: dict[int, list[State]] = {}
        for goal, cost in goals:
            path = self.map.path(state.viewpoint, goal)
            if (end := self._fits(state, path, conditions, place)) is not None:
                found.setdefault(cost, []).append(end)
        if not found:
            return ()
        ends = found[min(found)]
        if place.ordinal > 1 and place.kind != "take":
            ends = sorted(ends, key=lambda e: self.map.distance[state.viewpoint, e.viewpoint])
            ends = ends[place.ordinal - 1 : place.ordinal]
        return tuple(ends)

    def _goals_of(self, start: int, place: Event) -> tuple[tuple[int, int], ...]:
        key = (start, Event(place.kind, place.what))
        known = self._goals.get(key)
        if known is None:
            ends = self._ends(start, place)
            known = self._goals[key] = tuple((e, self._cost(start, e)) for e in ends)
        return known

    def _cost(self, start: int, goal: int) -> int:
        """How many rooms, hallways not counted, the shortest way enters before the goal's."""
        own, last = self.regions[start], self.regions[goal]
        path = self.map.path(start, goal)
        return len({self.regions[v] for v in path if not self.hall[v]} - {own, last}) + (
            last != own and not self.hall[goal]
        )

    def _ends(self, start: int, place: Event) -> list[int]:
        """Viewpoints of the asked kind, whatever the way there."""
        own, labels, regions = self.regions[start], self.map.labels, self.regions
        everywhere = range(self.map.count)
        match place.kind:
            case "leave":
                if place.what not in ("", labels[start]):
                    return []
                return [v for v in everywhere if self._first_outside(start, v)]
            case "take":
                return [v for v in everywhere if self._first_outside(start, v)]
            case "enter" | "cross":
                if place.what in ("", labels[start]):
                    return [start]
                return [
                    v
                    for v in everywhere
                    if labels[v] == place.what and self._first_inside(start, v)
                ]
            case "stay":
                if place.what in ("", labels[start]):
                    return [v for v in everywhere if regions[v] == own]
                return [v for v in everywhere if labels[v] == place.what]
            case "reach":
                ends: dict[int, None] = {}
                for _, near in self.instances(place.what):
                    ends.update(dict.fromkeys(near))
                return list(ends)
            case "end":
                inside = labels[start] == place.what
                return [
                    v
                    for v in self.far_ends(place.what)
                    if v != start and (not inside or regions[v] == own)
                ]
            case "doorway":
                return [v for v in everywhere if self._in_doorway(v, place.what, own)]
            case "outside":
                return [v for v in everywhere if self._is_outside(v, place.what)]
            case _:
                return self._straight_on(start)

    def instances(self, what: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(thing, viewpoints next to it) of all things that the phrase can mean."""
        known = self._things.get(what)
        if known is None:
            names = what.split("|")
            known = self._things[what] = tuple(
                (thing, near) for name, thing, near in self.map.places if name in names
            )
        return known

    def _first_outside(self, start: int, end: int) -> bool:
        own = self.regions[start]
        path = self.map.path(start, end)
        return self.regions[end] != own and all(self.regions[v] == own for v in path[:-1])

    def _first_inside(self, start: int, end: int) -> bool:
        last = self.regions[end]
        return all(self.regions[v] != last for v in self.map.path(start, end)[:-1])

    def _in_doorway(self, viewpoint: int, label: str, own: int) -> bool:
        index = self.map.house.viewpoints[viewpoint].door
        if index < 0:
            return False
        rooms = self.map.house.doors[index].rooms
        if label:
            return any(self.map.house.rooms[r].label == label for r in rooms)
        return own in (self._region_of_room(r) for r in rooms)

    def _region_of_room(self, room: int) -> int:
        members = self.map.members[room]
        return self.regions[members[0]] if members else -1

    def _is_outside(self, viewpoint: int, label: str) -> bool:
        house = self.map.house
        if self.map.labels[viewpoint] == label:
            return False
        # Next to the doorway: the viewpoint in it, or the room behind where none stands in it.
        return any(
            self.map.labels[n] == label and house.viewpoints[n].door >= 0
            for n in self.map.neighbours[viewpoint]
        )

    def far_ends(self, label: str) -> tuple[int, ...]:
        """The first and last viewpoint, along the longer side, of each room with that letter."""
        known = self._far_ends.get(label)
        if known is None:
            house = self.map.house
            ends: list[int] = []
            for index, room in enumerate(house.rooms):
                members = [v for v in self.map.members[index] if house.viewpoints[v].door < 0]
                if room.label == label and members:
                    along = 0 if room.size[0] >= room.size[1] else 1
                    members.sort(key=lambda v: house.viewpoints[v].position[along])
                    ends += [members[0], members[-1]]
            known = self._far_ends[label] = tuple(dict.fromkeys(ends))
        return known

    def _straight_on(self, start: int) -> list[int]:
        return [
            v
            for v in range(self.map.count)
            if v != start
            and len(path := self.map.path(start, v)) <= 4
            and all(
                abs(relative(self.map.heading[a][b], self.map.heading[b][c])) <= _STRAIGHT
                for a, b, c in zip(path, path[1:], path[2:], strict=False)
            )
        ]

    def _fits(
        self, state: State, path: tuple[int, ...], conditions: Program, place: Event
    ) -> State | None:
        """The state at the end of the path, or None where it breaks a condition."""
        steps = len(path) - 1
        if steps == 0:
            return state._replace(pending=()) if not conditions and not place.side else None
        # ways[i] = heading on arrival at path[i]; ways[i + 1] = heading when leaving it.
        ways = (state.heading, *self.map.ways(path[0], path[-1]))
        first = relative(ways[0], ways[1])
        about = bool(conditions) and conditions[0] == Event("turn", "around")
        if state.started and abs(first) > _ABOUT and not about:
            return None
        at = 0
        anchored = False
        for number, event in enumerate(conditions):
            # 'Turn left into the kitchen' is said of a kitchen farther on, too.
            into = number == len(conditions) - 1 and place.kind in _ENTERED
            position = self._matches(event, state, path, ways, at, anchored, into)
            if position is None:
                return None
            at, anchored = position, anchored or event.kind in ("past", "pass_room")
        if place.kind == "take" and not self._right_door(state, path, ways, place):
            return None
        if (
            place.side
            and place.kind in ("enter", "cross", "doorway")
            and not _side_of_turn(ways, place.side)
        ):
            return None
        return State(path[-1], ways[-1], ways[-2], True)

    def _matches(
        self,
        event: Event,
        state: State,
        path: tuple[int, ...],
        ways: Sequence[float],
        at: int,
        anchored: bool,
        into: bool,
    ) -> int | None:
        """Index on the path at which the event has happened, or None."""
        steps = len(path) - 1
        if event.kind == "turn":
            latest = steps - 1 if into else min(at + (2 if anchored else 1), steps - 1)
            for j in range(at, latest + 1):
                before = state.before if j == 0 and state.started else None
                if _turns(event.what, before, ways, j):
                    return min(j + 1, steps)
                if abs(relative(ways[j], ways[j + 1])) > 50.0:
                    return None
            return None
        if event.kind == "straight":
            if at < steps and abs(relative(ways[at], ways[at + 1])) <= _STRAIGHT:
                return at
            return None
        if event.kind == "past":
            names = event.what.split("|")
            for j in range(at, steps):
                nearby = self.map.nearby[path[j]]
                for name in names:
                    for thing in nearby.get(name, ()):
                        if not event.side or self._is_beside(path[j], ways[j + 1], thing, event):
                            return j
            return None
        for j in range(at, steps):  # pass_room
            if self.map.labels[path[j]] == event.what:
                continue
            on_path = {self.regions[v] for v in path}
            for n in self.map.neighbours[path[j]]:
                if self.map.labels[n] == event.what and self.regions[n] not in on_path:
                    turn = relative(ways[j + 1], self.map.heading[path[j]][n])
                    if not event.side or (turn > 0) == (event.side == "right"):
                        return j
        return None

    def _is_beside(self, viewpoint: int, heading: float, thing: int, event: Event) -> bool:
        turn = relative(heading, self.map.bearing(viewpoint, thing))
        return 10.0 < abs(turn) < 170.0 and (turn > 0) == (event.side == "right")

    def _right_door(
        self, state: State, path: tuple[int, ...], ways: Sequence[float], place: Event
    ) -> bool:
        """Whether the door through which the path leaves has the asked side and number."""
        if not place.side and place.ordinal <= 1:
            return True
        points, doors = self.map.house.positions, self.map.house.doors
        origin, stop = points[path[0]], points[path[-2]]
        if len(path) > 2:
            ahead = (stop - origin)[:2]
        else:
            ahead = (sin(radians(ways[0])), cos(radians(ways[0])))
        norm = (ahead[0] ** 2 + ahead[1] ** 2) ** 0.5 or 1.0
        ahead = (ahead[0] / norm, ahead[1] / norm)

        def place_of(x: float, y: float) -> tuple[float, float]:
            dx, dy = x - origin[0], y - origin[1]
            return dx * ahead[0] + dy * ahead[1], dx * ahead[1] - dy * ahead[0]

        chosen = place_of(*points[path[-1]][:2])
        side = "right" if chosen[1] > 0 else "left"
        if place.side and (side != place.side or abs(chosen[1]) < 0.3):
            return False
        own = self.map.rooms[path[-2]]
        passed = 0
        for door in doors:
            if own not in door.rooms:
                continue
            forward, across = place_of(*door.centre)
            same = not place.side or (across > 0) == (side == "right")
            passed += same and 0.4 < forward < chosen[0] - 0.4
        return place.ordinal == 0 or passed + 1 == place.ordinal


def _turns(what: str, before: float | None, ways: Sequence[float], j: int) -> bool:
    """Whether the walker turns at path[j]: at once, or within two steps that bend the same way."""
    first = relative(ways[j], ways[j + 1])
    if what == "around":
        return abs(first) >= _ABOUT
    angles = [first]
    if abs(first) < _TURN:
        if j + 2 < len(ways):
            angles.append(relative(ways[j], ways[j + 2]))
        if before is not None:
            angles.append(relative(before, ways[j + 1]))
    wanted = 1.0 if what == "right" else -1.0
    if first * wanted < -20.0:
        return False
    return any(_TURN <= a * wanted <= 155.0 for a in angles)


def _side_of_turn(ways: Sequence[float], side: str) -> bool:
    """Whether the last step goes to that side of how the walker came."""
    angles = [relative(ways[-2], ways[-1])]
    if len(ways) > 2:
        angles.append(relative(ways[-3], ways[-1]))
    wanted = 1.0 if side == "right" else -1.0
    return any(25.0 <= a * wanted <= 155.0 for a in angles) and angles[0] * wanted > -20.0


def _regions(house: House, tables: HouseMap) -> list[int]:
    """Room of each viewpoint, hallways that open into each other taken as one."""
    parent = list(range(len(house.rooms)))

    def root(room: int) -> int:
        while parent[room] != room:
            room = parent[room]
        return room

    for door in house.doors:
        a, b = door.rooms
        if house.rooms[a].label == house.rooms[b].label == "h":
            parent[root(b)] = root(a)
    return [root(r) for r in tables.rooms]


@lru_cache(maxsize=256)
def follower(house: House) -> Follower:
    """The follower of a house, made once and kept while it is in use."""
    return Follower(house)
