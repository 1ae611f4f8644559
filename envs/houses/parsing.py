"""Reads an instruction in words as events (`envs.houses.events`).

Designed here: no grammar of whole instructions, but relation words ('into', 'past', 'out of') that
wait for the room or thing named after them, so that word order, adjectives and filler words may
vary. What is named without a relation, or a relation without a known name, makes the text
unreadable rather than guessed at: the checker judges instructions written by language models.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from envs.houses.events import PLACES, Event, Program
from envs.houses.lexicon import ROOM_PHRASES, THING_PHRASES, meaning


class UnreadableInstruction(ValueError):
    """The text has no reading as events; the message says at which words."""


class _Item(NamedTuple):
    kind: str  # room, thing, door, doorway, end, word, mark
    text: str
    value: str = ""


_ORDINALS = {"first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4}
_DOORS = ("door", "doors", "doorway", "opening")
_PORTALS = (*_DOORS, "entrance", "entry", "threshold")

_NAME_STARTS = {phrase.split()[0] for phrase in (*ROOM_PHRASES, *THING_PHRASES, *_DOORS)}

# Relation -> the phrases that say it, separated by commas. Longer phrases win.
_RELATIONS: dict[str, str] = {
    "leave": "exit, exiting, leave, leaving, out of, from, out, out from",
    "enter": "enter, entering, into, in to, for, take, onto",
    "to": "to, toward, towards, reach, reaching, find, see, get to, up to, over to, approach",
    "through": "through, across, cross, crossing, down, along, follow, following, up",
    "past": "past, pass, passing, passed, pass by, go by, going by, walk by, walking by, move by, "
    "beyond",
    "near": "next to, beside, near, by, in front of, at, close to, against, alongside, facing, "
    "opposite, on, adjacent to, before",
    "in": "in, inside, within, inside of",
    "outside": "outside, outside of",
    "with": "with, keep, keeping",
    "before entering": "before you enter, before entering, before you go into, before going into",
}
_RELATION_PHRASES = {
    tuple(phrase.split()): relation
    for relation, phrases in _RELATIONS.items()
    for phrase in phrases.split(", ")
}
_LONGEST = max(len(phrase) for phrase in _RELATION_PHRASES)
_FIRST_WORDS = {phrase[0] for phrase in _RELATION_PHRASES}
_RELATION_WORDS = {word for phrase in _RELATION_PHRASES for word in phrase}
_STOPS = {"stop", "wait", "stand", "pause", "halt", "stopping", "finish"}
_TURN_VERBS = {"turn", "take", "make", "go", "hang", "bear", "veer", "head", "a", "another"}
_TURN_VERBS |= {"turning", "sharp", "slight", "hard", "immediate", "quick", "walk", "and", "then"}
_TURN_VERBS |= {"move", "step", "your"}
_AFTER_ADVERB = {"there", "here", "in", "next", "before", "beside"}
_AFTER_WALKING = {"by", "outside", "inside", "at", "near", "into", "past", "up", "after", "through"}
_MARKERS = {("after",), ("once",), ("when",), ("as", "soon", "as")}
_STRAIGHT = {"straight", "forward", "forwards", "ahead"}
_DETERMINERS = {"the", "a", "an", "this", "that", "your", "its", "another", "one"}
# Words that may stand between a relation and the end of its clause without anything being missing.
_FILLERS = _DETERMINERS | {"you", "your", "are", "is", "will", "be", "it", "there", "here", "then"}
_FILLERS |= {"and", "way", "left", "right", "side", "door", "straight", "ahead", "forward", "turn"}
_FILLERS |= {"go", "walk", "continue", "keep", "going", "on", "of", "to"}


def parse(text: str) -> Program:
    """Events of an instruction, in the order in which they happen.

    Raises:
        UnreadableInstruction: nothing in the text says where to go, a relation is followed by a
            name that is no known room or thing, or a room or thing is named without a relation.
    """
    items = _items(text)
    reader = _Reader(items)
    events = reader.read()
    if not any(e.kind in PLACES or e.kind in ("past", "pass_room", "straight") for e in events):
        raise UnreadableInstruction(f"no room, thing or way to go to in {_short(text)!r}")
    return tuple(events)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _items(text: str) -> list[_Item]:
    """Tokens with the names of rooms and things put together."""
    words = re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[.,;:!?]", text.lower())
    items: list[_Item] = []
    k = 0
    while k < len(words):
        for length in (3, 2, 1) if words[k] in _NAME_STARTS else ():
            phrase = " ".join(words[k : k + length])
            if phrase in ROOM_PHRASES and not (phrase == "study" and words[k - 1 : k] == ["to"]):
                items.append(_Item("room", phrase, ROOM_PHRASES[phrase]))
            elif phrase in _DOORS:
                items.append(_Item("door", phrase))
            elif phrase in THING_PHRASES:
                items.append(_Item("thing", phrase, meaning(phrase)))
            else:
                continue
            k += length
            break
        else:
            kind = "mark" if words[k] in ".,;:!?" else "word"
            items.append(_Item(kind, words[k]))
            k += 1
    return _doorways(items)


def _doorways(items: Sequence[_Item]) -> list[_Item]:
    """Put 'doorway of the kitchen', 'kitchen door' and 'end of the hall' together."""
    merged: list[_Item] = []
    k = 0
    while k < len(items):
        item = items[k]
        after = items[k + 1] if k + 1 < len(items) else None
        portal = item.text in _PORTALS and item.kind in ("door", "word")
        if item.kind == "room" and item.value and after and after.text in _PORTALS:
            merged.append(_Item("doorway", f"{item.text} {after.text}", item.value))
            k += 2
            continue
        if portal or (item.kind == "word" and item.text == "end"):
            j = k + 1
            if j < len(items) and items[j].text in ("of", "to", "into", "for", "leading"):
                while j < len(items) and (
                    items[j].text in ("of", "to", "into", "for", "leading")
                    or items[j].text in _DETERMINERS
                ):
                    j += 1
                if j < len(items) and items[j].kind == "room":
                    kind = "doorway" if portal else "end"
                    merged.append(_Item(kind, item.text, items[j].value))
                    k = j + 1
                    continue
            if not portal:
                merged.append(_Item("end", item.text, "h"))
                k += 1
                continue
            if item.kind == "word":
                item = _Item("door", item.text)
        merged.append(item)
        k += 1
    return merged


class _Reader:
    """One pass over the items; holds the relation that waits for a name."""

    def __init__(self, items: Sequence[_Item]) -> None:
        self.items = items
        self.texts = tuple(i.text for i in items)
        self.events: list[Event] = []
        self.relation = ""
        self.relation_at = 0
        self.last_relation = ""
        self.stopping = False
        self.ordinal = 0
        self.clause = 0  # index of the first event of this clause
        self.main: tuple[int, int] | None = None  # the events that a subordinate clause precedes
        self.k = 0

    def read(self) -> list[Event]:
        while self.k < len(self.items):
            item = self.items[self.k]
            if item.kind == "word":
                self._word(item.text)
            elif item.kind == "mark":
                self._boundary(instruction=item.text in ".!?;")
                self.k += 1
            else:
                self._name(item)
                self.k += 1
        self._boundary(instruction=True)
        return self.events

    def _texts(self, start: int, length: int) -> tuple[str, ...]:
        return self.texts[start : start + length]

    def _word(self, word: str) -> None:
        before = self.texts[self.k - 1] if self.k else ""
        for marker in _MARKERS:
            if marker[0] == word and self._texts(self.k, len(marker)) == marker:
                self._marker()
                self.k += len(marker)
                return
        for length in range(_LONGEST if word in _FIRST_WORDS else 0, 0, -1):
            phrase = self._texts(self.k, length)
            if phrase in _RELATION_PHRASES:
                if self._is_relation(phrase):
                    self.relation = _RELATION_PHRASES[phrase]
                    if phrase == ("by",) and not self.stopping and self._walks(self.k - 1):
                        self.relation = "past"
                    self.relation_at = self.k
                    self.k += length
                    return
                break
        self.k += 1
        if word in _STOPS:
            self._boundary(instruction=False)
            self.stopping = True
            if self.events[-1:] != [Event("stop")]:
                self.events.append(Event("stop"))
        elif word in ("left", "right"):
            self._side(word, before)
        elif self._turns_around(word, before):
            self.events.append(Event("turn", "around"))
        elif word in _STRAIGHT:
            if self.events[self.clause :][-1:] != [Event("straight")]:
                self.events.append(Event("straight"))
        elif word in _ORDINALS:
            self.ordinal = _ORDINALS[word]
        elif word in ("and", "then"):
            self.last_relation = self.relation or self.last_relation
            self._boundary(instruction=False)
            self.stopping = self.stopping and word == "and"

    def _walks(self, k: int) -> bool:
        """Whether 'walk', or 'walk right', stands at k."""
        if k > 0 and self.texts[k] in ("right", "straight"):
            k -= 1
        return k >= 0 and self.texts[k] in (
            "walk",
            "go",
            "pass",
            "move",
            "head",
            "walking",
            "going",
        )

    def _turns_around(self, word: str, before: str) -> bool:
        if word == "around":
            return before in ("turn", "way", "back", "turning")
        return word == "back" and before == "turn" and self._texts(self.k, 1) != ("around",)

    def _is_relation(self, phrase: tuple[str, ...]) -> bool:
        """Whether the phrase is a relation here; 'to the left' and 'take a left' are not."""
        following = self.items[self.k + len(phrase) : self.k + len(phrase) + 3]
        words = [i.text for i in following]
        if phrase in (("take",), ("keep",), ("for",)):
            return any(i.kind in ("door", "thing", "room", "doorway") for i in following)
        if phrase in (("to",), ("on",), ("in",)) and words[:1] and words[0] not in _DETERMINERS:
            return bool(following) and following[0].kind != "word"
        side = [w for w in words[:2] if w not in _DETERMINERS]
        if phrase in (("to",), ("on",), ("at",), ("in",)) and side[:1] in (["left"], ["right"]):
            return False
        return not (phrase == ("before",) and words[:1] == ["you"])

    def _side(self, side: str, before: str) -> None:
        after = self._texts(self.k, 1)
        earlier = [i.text for i in self.items[max(0, self.k - 4) : self.k - 1]]
        follower = after[0] if after else ""
        # 'stop right there', 'walk right past the couch'; but 'turn right at the couch'
        if side == "right" and (
            (follower in _AFTER_ADVERB and before not in ("a", "the", "your"))
            or (
                follower in _AFTER_WALKING
                and before not in ("a", "the", "your", "turn", "go", "take", "make")
            )
        ):
            return
        clause = self.events[self.clause :]
        named = [e for e in clause if e.kind not in ("turn", "straight", "stop")]
        modifies = before in ("your", "the") and ("on" in earlier or ("to" in earlier and named))
        if modifies and "turn" not in earlier[-2:] and "go" not in earlier[-3:-1]:
            if named and named[-1].kind in ("enter", "past", "pass_room", "take", "doorway"):
                index = max(i for i, e in enumerate(self.events) if e == named[-1])
                self.events[index] = self.events[index]._replace(side=side)
            return
        if before in _TURN_VERBS or before in ("the", "to", "") or self._clause_starts_here():
            self.events.append(Event("turn", side))

    def _clause_starts_here(self) -> bool:
        return self.k < 2 or self.items[self.k - 2].kind == "mark"

    def _marker(self) -> None:
        """'after', 'once', 'when': what follows happens before what the clause said so far."""
        if self.events[self.clause :]:
            self.main = (self.clause, len(self.events))

    def _boundary(self, instruction: bool) -> None:
        """The end of a clause: a relation must not wait any longer."""
        if self.relation:
            between = [i.text for i in self.items[self.relation_at : self.k]]
            unknown = [w for w in between[1:] if w not in _FILLERS]
            unknown = [w for w in unknown if w not in _RELATION_WORDS and w not in _STRAIGHT]
            if unknown:
                raise UnreadableInstruction(
                    f"no known room, thing or direction in {' '.join(between)!r}"
                )
            self.relation = ""
        if self.main is not None:
            start, end = self.main
            self.events[start:] = self.events[end:] + self.events[start:end]
            self.main = None
        self.clause = len(self.events)
        if instruction:
            self.stopping = False
            self.last_relation = ""
        self.ordinal = 0

    def _name(self, item: _Item) -> None:
        relation = self.relation or ("" if self._has_verb() else self.last_relation)
        self.relation = ""
        if relation:
            self.last_relation = relation
        event = self._event(item, relation)
        self.ordinal = 0
        if event is None:
            return
        clause = self.events[self.clause :] if self.main is None else self.events[self.main[1] :]
        start = len(self.events) - len(clause)
        last = next((e for e in reversed(clause) if e.kind != "stop"), None)
        if relation in ("near", "in") and last is not None and last.kind == "turn":
            self.events.insert(len(self.events) - 1, event)  # 'turn left at the couch'
        elif relation == "in" and last is not None and last.kind in ("reach", "past"):
            # 'the couch in the living room': the room comes first
            at = max(i for i in range(start, len(self.events)) if self.events[i] == last)
            self.events.insert(at, Event("enter", item.value))
        elif self.stopping and self.main is None and self.events[-1:] == [Event("stop")]:
            self.events.insert(len(self.events) - 1, event)
        else:
            self.events.append(event)

    def _has_verb(self) -> bool:
        """Whether a word other than a determiner or adjective stands since the last boundary."""
        k = self.k - 1
        while k >= 0 and self.items[k].kind == "word" and self.items[k].text in _DETERMINERS:
            k -= 1
        return k < 0 or self.items[k].text not in ("and", "then", ",")

    def _event(self, item: _Item, relation: str) -> Event | None:
        """The event that a name means after a relation; None where it says nothing."""
        name = (item.kind, relation)
        match name:
            case ("room", "leave"):
                return Event("leave", item.value)
            case ("room", "enter" | "to"):
                return Event("enter", item.value, "", self.ordinal)
            case ("room", "through"):
                return Event("cross", item.value)
            case ("room", "past"):
                return Event("pass_room", item.value)
            case ("room", "in" | "near"):
                return Event("stay" if self.stopping else "enter", item.value)
            case ("room", "outside" | "before entering"):
                return Event("outside", item.value)
            case ("room", "with"):
                return Event("pass_room", item.value)
            case ("thing", "to" | "enter" | "near"):
                return Event("reach", item.value)
            case ("thing", "past" | "through" | "with"):
                return Event("past", item.value)
            case ("thing", "in"):
                return Event("reach", item.value)
            case ("door", "enter" | "through" | "leave"):
                return Event("take", "", "", self.ordinal)
            case ("door", "to" | "near" | "in"):
                return Event("doorway", "")
            case ("door", "past" | "with"):
                return Event("past", meaning("door"))
            case ("doorway", "enter" | "through"):
                return Event("enter", item.value)
            case ("doorway", "past"):
                return Event("pass_room", item.value)
            case ("doorway", "leave"):  # 'exit the bedroom door', 'exit the door to the hallway'
                return Event("leave" if " " in item.text else "enter", item.value)
            case ("doorway", "outside"):
                return Event("outside", item.value)
            case ("doorway", _):
                return Event("doorway", item.value)
            case ("end", _):
                return Event("end", item.value or "h")
        raise UnreadableInstruction(
            f"{item.text!r} is named without saying what to do there; use words such as 'into', "
            "'past' or 'next to'"
        )
