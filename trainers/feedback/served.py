"""The assistant as it is served: an agent, and what was learnt from the log put before it.

A request goes through the layers in this order; the first that answers decides: what the user
taught; the user's own entries, the chain's table, and everyone's entries (`Rewriter` of
`rayforge.feedback.rewriting`); else the request is followed as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from envs.sessions.noise import clauses_of
from envs.sessions.simulation import Answer, Asked
from envs.sessions.turns import Source, Turn
from rayforge.feedback.teaching import CycleError, Expanded, Lesson, Memory, gap_in, key_of
from rayforge.feedback.text import normal
from trainers.feedback.follower import Follows, Request


class Place(NamedTuple):
    """A request where it is given: the chain's state."""

    building: str
    start: str
    text: str
    """In its normal form."""


class Online(Protocol):
    """Rewrites that are found when a request comes: (rewrite, layer), or None."""

    def rewrite(self, asked: Asked) -> tuple[str, Source] | None: ...


@dataclass
class Served:
    """An assistant with the parts that were deployed last."""

    follower: Follows
    table: Mapping[Place, str] = field(default_factory=dict)
    online: Online | None = None
    memory: Memory | None = None
    explore: float = 0.0
    """Share of requests whose rewrite by the table is left out, drawn by the request itself."""
    ask_after: int = 2
    drawn: str = ""
    """What draws that are to differ begin with: the seed and the day."""
    _used: dict[str, Expanded] = field(default_factory=dict)
    """What each user's last request used of their lessons."""

    def follow(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answers, at most one request of each user."""
        found: dict[int, Answer] = {}
        texts, sources = [], []
        for number, request in enumerate(asked):
            text, source, shown = self._rewrite(request)
            texts.append(text)
            sources.append(source)
            if shown:
                found[number] = Answer(
                    shown, text, "taught", 1.0, tuple(clauses_of(text)), "I know the way."
                )
        rows = [number for number in range(len(asked)) if number not in found]
        walks = self.follower.walks(
            [Request(asked[n].building, asked[n].start, asked[n].heading, texts[n]) for n in rows]
        )
        for number, walk in zip(rows, walks, strict=True):
            source = sources[number]
            found[number] = Answer(
                walk.path, texts[number] if source != "none" else None, source, walk.confidence,
                tuple(clauses_of(texts[number])), _reply(texts[number]),
            )  # fmt: skip
        return [found[number] for number in range(len(asked))]

    def _rewrite(self, asked: Asked) -> tuple[str, Source, tuple[str, ...]]:
        """(what is followed, its source, the way where the user has shown it)."""
        heard = asked.heard
        self._used.pop(asked.user, None)
        if self.memory is not None:
            expanded = self.memory.expand(asked.user, heard, asked.building)
            shown = expanded.demonstration
            # A place is meant where it is the whole request; in a longer one it is passed by.
            if shown is not None and key_of(gap_in(heard)) == key_of(shown.phrase):
                self._used[asked.user] = expanded
                return expanded.text, "taught", self._way(asked, shown)
            if any(not lesson.path for lesson in expanded.lessons):
                self._used[asked.user] = expanded
                return expanded.text, "taught", ()
        online = self.online.rewrite(asked) if self.online is not None else None
        if online is not None and online[1] == "personal":
            return online[0], "personal", ()
        place = Place(asked.building, asked.start, normal(heard))
        other = self.table.get(place)
        if other is not None and not self._explores(asked):
            return other, "table", ()
        if online is not None and other is None:
            return online[0], online[1], ()
        return heard, "none", ()

    def _way(self, asked: Asked, lesson: Lesson) -> tuple[str, ...]:
        """Along the demonstration from its start; else the shortest way to its end."""
        if lesson.path[0] == asked.start:
            return lesson.path
        return self.follower.shortest(asked.building, asked.start, lesson.path[-1])

    def _explores(self, asked: Asked) -> bool:
        draw = hashlib.blake2s(f"{self.drawn} {asked.user} {asked.heard}".encode()).digest()
        return int.from_bytes(draw[:4], "big") < self.explore * 2**32

    def question(self, turns: Sequence[Turn]) -> str | None:
        """Asks what the first request of a goal means once `ask_after` of its turns ended badly."""
        if self.memory is None or not turns:
            return None
        user = turns[0].user
        if user in self._used:
            self.memory.judge(self._used.pop(user).lessons, turns[-1].ended_well)
        if sum(not turn.ended_well for turn in turns) < self.ask_after:
            return None
        return gap_in(turns[0].heard)

    def taught(self, turn: Turn, phrase: str) -> None:
        """Remember the demonstration. A phrase that cannot be taught is left alone."""
        if self.memory is None:
            return
        try:
            self.memory.teach(
                Lesson(turn.user, phrase, phrase, "place", turn.building, turn.path, turn.time)
            )
        except (CycleError, ValueError):
            return


def _reply(text: str) -> str:
    clauses = clauses_of(text)
    return f"I will {clauses[-1].lower()}."[:200] if clauses else "I did not understand."
