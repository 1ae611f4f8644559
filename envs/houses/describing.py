"""Describes a path: chooses what to mention, puts it into words and verifies that it arrives."""

import random
from collections.abc import Collection, Sequence
from math import degrees

from envs.houses.checking import ARRIVAL
from envs.houses.events import Program
from envs.houses.following import Follower, follower
from envs.houses.house import House
from envs.houses.parsing import UnreadableInstruction, parse
from envs.houses.planning import Planner
from envs.houses.wording import Wording, put_into_words

FEWEST_WORDS, MOST_WORDS = 10, 45
_TRIES = 60
_HOPELESS = 15  # tries for the first instruction, and as many for each further one
_WORDINGS = 4  # of one program, until one has a fitting length and reads as it was meant


class Describer:
    """Writes instructions for paths of one house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.follower: Follower = follower(house)
        self.map = self.follower.map
        self.planner = Planner(self.follower)

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
            eager = min(1.0, 0.8 + 0.4 * attempt / _TRIES)
            program = self.planner.program(rng, path, start, eager)
            if not self._arrives(program, path, start):
                continue
            wording = self._worded(rng, program, path, start, held_out, words)
            if wording is not None and all(
                wording.text != w.text and wording.templates != w.templates for w in found
            ):
                found.append(wording)
                if len(found) == count:
                    return tuple(found)
            if attempt >= _HOPELESS * (len(found) + 1):
                return None
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


def instruction_words(text: str) -> list[str]:
    """The words of an instruction in lower case, without punctuation."""
    return text.lower().replace(",", " ").replace(".", " ").split()
