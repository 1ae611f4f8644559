"""Puts events into words: picks clause templates, fills their slots, joins clauses to
instructions."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from envs.houses.events import Event, Program
from envs.houses.lexicon import ROOM_WORDS, THINGS, meaning
from envs.houses.templates import ENDINGS, TEMPLATES

_ORDINALS = ("", "first", "second", "third", "fourth")
# What may stand between two clauses of an instruction, and at the start of a later instruction;
# clauses that begin with a subordinate one do not follow a bare comma.
_JOINTS = (" and ", " and ", ", then ", ", and then ")
_SUBORDINATE = {"at", "when", "once", "after", "in", "as"}
_STARTS = ("",) * 9 + ("then ", "next, ", "after that, ")


_OF_ROOMS = {"leave", "enter", "cross", "pass_room", "doorway", "outside", "stay", "end"}


_Templates = tuple[tuple[str, ...], tuple[str, ...]]  # those of training, those held out


@dataclass(frozen=True)
class Wording:
    """An instruction in words."""

    text: str
    templates: tuple[str, ...]
    """The templates used, clause by clause, alternatives already chosen."""
    held_out: tuple[bool, ...]
    """Which of them are held out from training."""


@lru_cache(maxsize=1)
def _tables() -> tuple[Mapping[tuple[str, ...], _Templates], ...]:
    """For clauses and for endings: key -> (training templates, held-out ones)."""
    return tuple(
        {
            key: (_all_expanded(train), _all_expanded(held_out))
            for key, (train, held_out) in table.items()
        }
        for table in (TEMPLATES, ENDINGS)
    )


def _all_expanded(templates: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for template in templates for text in _expanded(template))


def _expanded(template: str) -> list[str]:
    """All ways to choose between the [a|b] alternatives."""
    found = re.search(r"\[([^\]]*)\]", template)
    if found is None:
        return [template]
    return [
        text
        for choice in found[1].split("|")
        for text in _expanded(template[: found.start()] + choice + template[found.end() :])
    ]


def _key(event: Event) -> str:
    """The event's part of a template key."""
    if event.kind == "turn" and event.what == "around":
        return "around"
    if event.kind == "leave" and event.what == "":
        return "leave room"
    if event.kind == "cross" and event.what == "h":
        return "cross h"
    if event.side:
        return f"{event.kind}:side"
    return event.kind


def put_into_words(rng: random.Random, program: Program, held_out: bool) -> Wording:
    """One wording of a program.

    Args:
        rng: the only source of chance.
        program: events, `stop` last.
        held_out: False: templates of the training wordings only; True: held-out ones where a
            coin says so, one at least.

    Raises:
        KeyError: no template covers an event.
    """
    chunks = _chunks(rng, program)
    forced = rng.randrange(len(chunks)) if held_out else -1
    clauses: list[str] = []
    chosen: list[str] = []
    kinds: list[bool] = []
    for number, (events, options) in enumerate(chunks):
        unseen = held_out and (number == forced or rng.random() < 0.5)
        template = rng.choice(options[unseen])
        chosen.append(template)
        kinds.append(unseen)
        clauses.append(_filled(rng, template, events))
    return Wording(_joined(rng, clauses), tuple(chosen), tuple(kinds))


def _chunks(rng: random.Random, program: Program) -> list[tuple[Program, _Templates]]:
    """Cut the program into runs of one to three events for each of which there are templates."""
    general, endings = _tables()
    chunks: list[tuple[Program, _Templates]] = []
    keys = tuple(_key(e) for e in program)
    start = 0
    while start < len(program):
        options: list[tuple[int, _Templates]] = []
        for length in (1, 2, 3):
            if start + length > len(program):
                break
            table = endings if start + length == len(program) else general
            templates = table.get(keys[start : start + length])
            if templates is not None:
                options.append((length, templates))
        if not options:
            raise KeyError(f"no template for {program[start]}")
        # Longer runs read better, and a bare 'stop' is rarely the nicest ending.
        weights = [length**2 for length, _ in options]
        length, templates = rng.choices(options, weights)[0]
        chunks.append((program[start : start + length], templates))
        start += length
    return chunks


def _filled(rng: random.Random, template: str, events: Sequence[Event]) -> str:
    """The template with its slots filled from the events, in their order."""
    rooms = [e for e in events if e.kind in _OF_ROOMS and e.what]
    things = [e for e in events if e.kind in ("past", "reach")]
    values: dict[str, str] = {}
    for slot, event in zip(("room", "room2"), rooms, strict=False):
        values[slot] = rng.choice(ROOM_WORDS[event.what])
    for slot, event in zip(("thing", "thing2"), things, strict=False):
        values[slot] = _thing_words(rng, event.what)
    for event in events:
        if event.kind == "turn":
            values["turn"] = event.what
        if event.side:
            values["side"] = event.side
        if event.kind == "take":
            values["ordinal"] = _ORDINALS[event.ordinal]
    text = template.format(**values)
    return re.sub(r"\s+", " ", text)


def _thing_words(rng: random.Random, what: str) -> str:
    return rng.choice(_phrases()[what])


@lru_cache(maxsize=1)
def _phrases() -> Mapping[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    for phrases in THINGS.values():
        for phrase in phrases:
            group = table.setdefault(meaning(phrase), [])
            if phrase not in group:
                group.append(phrase)
    return {what: tuple(group) for what, group in table.items()}


def _joined(rng: random.Random, clauses: Sequence[str]) -> str:
    """Instructions of one to three clauses, none with 'and' or 'then' twice."""
    instructions: list[str] = []
    k = 0
    while k < len(clauses):
        size = rng.choice((1, 2, 2, 2, 3))
        text, *rest = clauses[k : k + size]
        k += size
        said = " ".join(instructions)
        starts = [s for s in _STARTS if not s or s.strip().capitalize() not in said]
        text = (rng.choice(starts) if instructions else "") + text
        for number, clause in enumerate(rest):
            spoken = f"{text} {clause}".split()
            joints = [j for j in _JOINTS if not any(w in spoken for w in j.split() if w != ",")]
            if number < len(rest) - 1 and clause.split()[0] not in _SUBORDINATE:
                joints = [", "]
            if joints:
                text += rng.choice(joints) + clause
            else:
                instructions.append(text)
                text = clause
        instructions.append(text)
    return " ".join(s[0].upper() + s[1:] + "." for s in instructions)
