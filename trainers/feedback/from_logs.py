"""Session logs as what labels, rephrases and rewriting learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from envs.sessions.log import Session
from envs.sessions.turns import Turn
from rayforge.feedback.encoder import Query
from rayforge.feedback.entries import Outcome
from rayforge.feedback.labeller import Dialogue, TurnTruth
from rayforge.feedback.labeller import Turn as LabelTurn
from rayforge.feedback.rephrases import Found, Said
from rayforge.feedback.rephrases import Session as SaidSession
from rayforge.feedback.rewriting_training import Sample
from rayforge.feedback.text import normal, spans_of, words_in

NUMBERS = 4
"""Measured quantities of a turn: silence before it, its length, confidence, where it was broken
off."""
SLOTS = ("room", "object", "direction")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ROOMS = _words(
    "bathroom bedroom kitchen office hallway hall entryway entry foyer lounge closet stairs"
    " staircase garage balcony terrace patio porch gym library laundry toilet dining living room"
    " bar spa sauna"
)
DIRECTIONS = _words(
    "left right straight forward ahead around up down upstairs downstairs through past toward"
    " towards inside outside into out back across"
)
OBJECTS = _words(
    "table chair chairs couch sofa bed door doors doorway window fireplace sink stove island"
    " counter desk lamp rug mirror painting picture pictures plant plants bookshelf shelf cabinet"
    " cabinets refrigerator fridge tv television bench column pillar wall railing piano tub shower"
    " stool stools step steps"
)
"""The lexicons that name slots where words are as they were meant."""


def dialogue_of(session: Session) -> Dialogue:
    """A session for the labeller; with truth where all of its turns have some."""
    turns, before = [], None
    for turn in session.turns:
        gap = 0.0 if before is None else max(0.0, turn.time - before.time - before.duration)
        broken = math.nan if turn.step is None else turn.step / 10
        confidence = math.nan if turn.confidence is None else turn.confidence
        numbers = (math.log1p(gap) / 4, math.log1p(turn.duration) / 4, confidence, broken)
        reply = turn.reply or " ".join(turn.understood)
        turns.append(LabelTurn(turn.heard, reply, turn.signal, numbers))
        before = turn
    truths = [truth_of(turn) for turn in session.turns]
    if any(truth is None for truth in truths):
        return Dialogue(tuple(turns), (), session.building)
    names: dict[tuple[str, int], int] = {}
    numbered = []
    for turn, truth in zip(session.turns, truths, strict=True):
        assert truth is not None and turn.truth is not None, "checked above"
        key = turn.truth.session, turn.truth.goal
        goal = -1 if turn.truth.intent == "talk" else names.setdefault(key, len(names))
        numbered.append(truth._replace(goal=goal))
    # A goal was achieved where any of its turns ended at its place.
    reached = {
        truth.goal: any(t.achieved for t in numbered if t.goal == truth.goal) for truth in numbered
    }
    done = tuple(t._replace(achieved=reached[t.goal]) for t in numbered)
    return Dialogue(tuple(turns), done, session.building)


def truth_of(turn: Turn) -> TurnTruth | None:
    """The labels that a turn's truth gives; None without one."""
    if turn.truth is None:
        return None
    return TurnTruth(
        None, turn.truth.achieved, turn.truth.intent, slot_truth(turn), turn.truth.achieved
    )


def slot_truth(turn: Turn) -> tuple[tuple[int, int, str], ...] | None:
    """Slots of the words that were meant, at the places of the words that were heard; None where
    these are not as many."""
    clean = words_in(turn.truth.clean if turn.truth is not None else turn.heard)
    spans = spans_of(turn.heard)
    if len(clean) != len(spans):
        return None
    found = []
    for (a, b), word in zip(spans, clean, strict=True):
        name = slot_of(word)
        if name:
            found.append((a, b, name))
    return tuple(found)


def slot_of(word: str) -> str:
    small = word.lower()
    if small in ROOMS:
        return "room"
    if small in DIRECTIONS:
        return "direction"
    return "object" if small in OBJECTS else ""


def said_of(session: Session) -> SaidSession:
    """A session for rephrases. With truth: the first later request for the first one's goal that
    achieved it, where the first did not."""
    turns, before = [], None
    for turn in session.turns:
        gap = 0.0 if before is None else max(0.0, turn.time - before.time - before.duration)
        turns.append(Said(turn.heard, turn.reply, turn.signal, gap, turn.ended_well))
        before = turn
    first, place = session.turns[0], None
    if first.truth is not None and not first.truth.achieved:
        for number, turn in enumerate(session.turns[1:], 1):
            truth = turn.truth
            if (
                truth is not None and truth.achieved and truth.intent == "go"
                and (truth.session, truth.goal) == (first.truth.session, first.truth.goal)
            ):  # fmt: skip
                place = (number, 0, len(turn.heard))
                break
    return SaidSession(tuple(turns), place)


def tails(sessions: Iterable[Session]) -> list[Session]:
    """Each session from each of its turns on: any request may be the one that is said again."""
    return [Session(s.user, s.building, s.turns[n:]) for s in sessions for n in range(len(s.turns))]


def outcomes_of(turns: Iterable[Turn]) -> list[Outcome]:
    """What was followed, and whether it ended well. Lessons and talk are no requests."""
    return [
        Outcome(turn.user, turn.followed, turn.ended_well, turn.time)
        for turn in turns
        if turn.path and (turn.truth is None or turn.truth.intent == "go")
    ]


def samples_of(sessions: Sequence[Session], rephrases: Sequence[Found | None]) -> list[Sample]:
    """What rewriting learns from: the first request of each session with its rephrase, where that
    ended well, and the requests that ended well as they were said."""
    samples = []
    for session, found in zip(sessions, rephrases, strict=True):
        first = session.turns[0]
        fixes: tuple[str, ...] = ()
        if found is not None:
            better = session.turns[found.turn]
            if not better.ended_well or normal(found.text) == normal(first.heard):
                continue
            fixes = (found.text,)
        elif not first.ended_well or first.rewrite is not None:
            continue  # nothing says what would have been right
        samples.append(Sample(first.user, Query(first.heard), fixes, first.time, first.user))
    return samples
