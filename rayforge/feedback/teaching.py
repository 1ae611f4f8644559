"""Teaching: private names and preferences of users, used from the very next request.

Designed here on the frame of the source article: notice that something is not understood, ask one
question, store the answer for this user alone, put it in the place of the phrase before a request
is understood, retire what does not work. The last definition of a phrase wins.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from rayforge.language.vocabulary import words_of

MOST_WORDS = 60
"""Words of a phrase at most."""
FAILURES = 3
"""Failures in a row after which a lesson is retired."""
Kind = Literal["words", "place", "preference"]


class CycleError(ValueError):
    """A definition that needs itself."""


def key_of(phrase: str) -> tuple[str, ...]:
    """The words of a phrase, without marks: what two spellings of it share."""
    return tuple(word for word in words_of(phrase) if word[0].isalnum())


@dataclass(frozen=True)
class Lesson:
    """What one user taught."""

    user: str
    phrase: str
    meaning: str
    """Words that stand for the phrase; of a place its name, of a preference its value."""
    kind: Kind = "words"
    scope: str = ""
    """The building it holds in; "": everywhere."""
    path: tuple[str, ...] = ()
    """The demonstration: viewpoints that the user led the agent along. The last one is meant."""
    time: float = 0.0
    used: int = 0
    failures: int = 0
    """In a row."""


class Expanded(NamedTuple):
    """A request with lessons in the place of their phrases."""

    text: str
    lessons: tuple[Lesson, ...]
    """Those used, in order; a nested one after the one that needed it."""

    @property
    def demonstration(self) -> Lesson | None:
        """The lesson that shows the way, where the request came down to exactly one."""
        shown = [lesson for lesson in self.lessons if lesson.path]
        return shown[0] if len(shown) == 1 else None


@dataclass
class Memory:
    """Lessons by user. Nothing of one user is ever looked at for another."""

    _of: dict[str, dict[tuple[str, ...], Lesson]] = field(default_factory=dict)
    _longest: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def lessons(self, user: str) -> tuple[Lesson, ...]:
        return tuple(self._of.get(user, {}).values())

    def every(self) -> Iterator[Lesson]:
        for own in self._of.values():
            yield from own.values()

    def teach(self, lesson: Lesson) -> Lesson | None:
        """Store a lesson; returns the one it replaces.

        Raises CycleError where its meaning needs the phrase itself, in however many steps, and
        ValueError for a phrase without words or with more than `MOST_WORDS`, and for a user without
        a name. Then nothing changes.
        """
        if not lesson.user.strip():
            raise ValueError("a lesson is one user's, and the user has no name")
        key = key_of(lesson.phrase)
        if not 0 < len(key) <= MOST_WORDS:
            raise ValueError(f"a phrase has 1 to {MOST_WORDS} words, found {len(key)}")
        own = self._of.get(lesson.user, {})
        if lesson.kind == "words" and not lesson.path:
            self._check_cycle(own, key, lesson)
        old = own.get(key)
        self._of.setdefault(lesson.user, own)[key] = lesson
        self._longest[lesson.user] = max(self._longest.get(lesson.user, 0), len(key))
        return old

    def forget(self, user: str, phrase: str) -> bool:
        """Delete a lesson; says whether there was one."""
        return self._of.get(user, {}).pop(key_of(phrase), None) is not None

    def forget_user(self, user: str) -> int:
        """Delete all that a user taught; says how many lessons that were."""
        self._longest.pop(user, None)
        return len(self._of.pop(user, {}))

    def find(self, user: str, phrase: str) -> Lesson | None:
        return self._of.get(user, {}).get(key_of(phrase))

    def expand(self, user: str, text: str, scope: str = "") -> Expanded:
        """Put the meanings of the user's phrases in their place, the longest phrase first.

        Meanings are expanded in turn; each phrase once on the way down, so that it always ends.
        """
        own = self._of.get(user)
        if not own:
            return Expanded(text, ())
        found: list[Lesson] = []
        return Expanded(self._expand(own, user, text, scope, found, frozenset()), tuple(found))

    def _expand(
        self, own: dict[tuple[str, ...], Lesson], user: str, text: str, scope: str,
        found: list[Lesson], above: frozenset[tuple[str, ...]],
    ) -> str:  # fmt: skip
        pieces = _pieces(text)
        at = [k for k, (_, word) in enumerate(pieces) if word]
        words = [pieces[k][1] for k in at]
        out: list[str] = []
        written = place = 0  # pieces written, words read
        while place < len(words):
            most = min(self._longest.get(user, 0), len(words) - place)
            for length in range(most, 0, -1):
                key = tuple(words[place : place + length])
                lesson = own.get(key)
                if lesson is None or key in above or lesson.kind == "preference":
                    continue
                if lesson.scope and scope and lesson.scope != scope:
                    continue
                found.append(lesson)
                out += [piece for piece, _ in pieces[written : at[place]]]
                out.append(
                    self._expand(own, user, lesson.meaning, scope, found, above | {key})
                    if lesson.kind == "words" and not lesson.path
                    else lesson.meaning
                )
                written = at[place + length - 1] + 1
                place += length
                break
            else:
                place += 1
        out += [piece for piece, _ in pieces[written:]]
        return "".join(out)

    def _check_cycle(
        self, own: dict[tuple[str, ...], Lesson], key: tuple[str, ...], lesson: Lesson
    ) -> None:
        trial = Memory({lesson.user: {**own, key: lesson}}, {lesson.user: MOST_WORDS})
        waiting, seen = [lesson.meaning], set[tuple[str, ...]]()
        while waiting:
            for used in _named(trial._of[lesson.user], waiting.pop()):
                name = key_of(used.phrase)
                if name == key:
                    raise CycleError(
                        f'"{lesson.phrase[:80]}" would be defined by itself; use other words'
                    )
                if name not in seen and used.kind == "words":
                    seen.add(name)
                    waiting.append(used.meaning)

    def judge(self, lessons: Iterable[Lesson], worked: bool) -> list[Lesson]:
        """Record how a request fared that used lessons; returns those that are retired for it."""
        retired = []
        for lesson in lessons:
            own, key = self._of.get(lesson.user, {}), key_of(lesson.phrase)
            now = own.get(key)
            if now is None:
                continue
            failures = 0 if worked else now.failures + 1
            if failures >= FAILURES:
                retired.append(own.pop(key))
            else:
                own[key] = replace(now, used=now.used + 1, failures=failures)
        return retired


def _pieces(text: str) -> list[tuple[str, str]]:
    """A text in pieces that join to it, each with its word, or "" between words."""
    parts = re.split(r"([^\W_]+(?:['\u2019][^\W_]+)?)", text)
    return [
        (part, "".join(words_of(part)) if number % 2 else "")
        for number, part in enumerate(parts)
        if part
    ]


def _named(own: dict[tuple[str, ...], Lesson], text: str) -> list[Lesson]:
    """The lessons whose phrases stand in a text, overlapping ones too."""
    words = [word for _, word in _pieces(text) if word]
    most = max(map(len, own), default=0)
    return [
        own[key]
        for start in range(len(words))
        for length in range(1, min(most, len(words) - start) + 1)
        if (key := tuple(words[start : start + length])) in own
    ]


def triggers(
    requests: Sequence[tuple[float, Hashable]], window_s: float, repeats: int = 2
) -> list[int]:
    """The numbers of the requests at which the system asks to be taught: the `repeats`-th time that
    the same request is given within `window_s` seconds. It asks once for each run of repeats."""
    times: dict[Hashable, list[float]] = {}
    found = []
    for number, (time, request) in enumerate(requests):
        recent = [t for t in times.get(request, []) if time - t <= window_s]
        recent.append(time)
        if len(recent) == repeats:
            found.append(number)
        times[request] = recent
    return found


class Said(NamedTuple):
    """What a user says about a phrase."""

    act: Literal["teach", "call", "forget"]
    phrase: str
    meaning: str = ""


_PHRASE = r"[\"\u201c'](?P<phrase>[^\"\u201d]+?)[\"\u201d']"
_BARE = r"(?P<phrase>.+?)"
_MEANS = r"\s*:?\s*(?P<m>.+)"
_LESSONS: tuple[tuple[Literal["teach", "call", "forget"], str], ...] = (
    ("teach", rf"(?:when|if|whenever) i say {_PHRASE},? (?:i mean|that means|go to){_MEANS}"),
    ("teach", rf"(?:by|with) {_PHRASE},? i mean{_MEANS}"),
    ("teach", rf"(?:when|if|whenever) i say {_BARE},? (?:i mean|that means){_MEANS}"),
    ("teach", rf"by {_BARE} i mean{_MEANS}"),
    ("teach", rf"(?:please )?(?:remember|learn)(?: that)?:? {_BARE} (?:means|is){_MEANS}"),
    ("call", rf"(?:please )?(?:call this(?: place)?|this is(?: called)?|remember this as) {_BARE}"),
    ("forget", rf"(?:please )?(?:forget|delete|remove)(?: about)?(?: the name)? {_BARE}"),
)  # fmt: skip


def lesson_in(text: str) -> Said | None:
    """The lesson that an utterance gives, by its form; None where it gives none."""
    plain = " ".join(text.split())
    for act, pattern in _LESSONS:
        match = re.fullmatch(pattern + r"[.!]*", plain, re.IGNORECASE)
        if match:
            meaning = match.groupdict().get("m") or ""
            return Said(act, match["phrase"].strip(" \"'\u201c\u201d.!"), meaning.strip(" .!"))
    return None


_GO = re.compile(
    r"(?:please )?(?:go|walk|take me|bring me|lead me|come)(?: over)? (?:back )?to "
    r"(?P<phrase>.{1,80}?)[.!]*", re.IGNORECASE,
)  # fmt: skip


def gap_in(text: str) -> str:
    """The phrase to ask about: the place of a short request to go there, else the whole request."""
    plain = " ".join(text.split())
    match = _GO.fullmatch(plain)
    return match["phrase"] if match and len(match["phrase"].split()) <= 5 else plain


class Dialogue(NamedTuple):
    """A dialogue of teaching under way."""

    state: Literal["asked", "confirming", "stored", "dropped"]
    phrase: str
    meaning: str = ""
    turns: int = 0

    @property
    def over(self) -> bool:
        return self.state in ("stored", "dropped")


_YES = {"yes", "yeah", "yep", "right", "correct", "sure", "ok", "okay", "exactly"}
_NO = {"no", "nope", "never", "cancel", "stop", "wrong", "nothing", "skip"}


def ask(phrase: str) -> tuple[Dialogue, str]:
    """Begin: the system's question about a phrase."""
    return Dialogue("asked", phrase), f'What do you mean by "{phrase}"?'


def answer(dialogue: Dialogue, text: str, most_turns: int = 4) -> tuple[Dialogue, str]:
    """The next state and what the system says to it; every dialogue is stored or dropped after
    `most_turns` answers at most. "no" to the confirmation asks once more.

    Raises ValueError for a dialogue that is over.
    """
    if dialogue.over:
        raise ValueError(f"the dialogue about {dialogue.phrase!r} is over ({dialogue.state})")
    turns = dialogue.turns + 1
    words = key_of(text)
    first = words[0] if words else ""
    if dialogue.state == "confirming":
        if first in _YES:
            return dialogue._replace(state="stored", turns=turns), "I will remember that."
        if first in _NO and turns < most_turns:
            again = Dialogue("asked", dialogue.phrase, "", turns)
            return again, f'What do you mean by "{dialogue.phrase}" then?'
        return dialogue._replace(state="dropped", turns=turns), "Never mind."
    if not words or first in _NO or turns >= most_turns:
        return dialogue._replace(state="dropped", turns=turns), "Never mind."
    said = lesson_in(text)
    meaning = said.meaning if said is not None and said.act == "teach" else text.strip()
    confirming = Dialogue("confirming", dialogue.phrase, meaning, turns)
    return confirming, f'"{dialogue.phrase}" means "{meaning}": is that right?'
