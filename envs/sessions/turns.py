"""A turn of a session log: what was said to an agent, what it did, and how the person took it.

The raw request, `heard`, is always there, beside the rewrite that was followed instead. Thus what
is learnt from a log is about what people say, not about what earlier rewrites made of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rayforge.readers.content import is_blank
from rayforge.readers.faults import kind_of, shown

VERSION = 1
"""The version of the format that this module writes, and the only one it reads."""


TEXT = 2000
"""Characters of a request at most."""


Signal = Literal["none", "thanks", "rephrase", "barge_in", "stop"]
"""How a person took a turn. none: said nothing more about it; thanks; rephrase: said it again
afterwards; barge_in: interrupted the agent on its way; stop: gave up."""


SIGNALS: tuple[str, ...] = get_args(Signal)


GOOD = ("none", "thanks")
"""The signals of a turn that ended well."""


Source = Literal["none", "table", "global", "personal", "taught"]
"""Where a rewrite came from."""


SOURCES: tuple[str, ...] = get_args(Source)


Intent = Literal["go", "teach", "forget", "talk"]
"""What a person wanted of a turn: to be led somewhere, to teach a name, to have one deleted, or
something that no walk answers."""


INTENTS: tuple[str, ...] = get_args(Intent)


@dataclass(frozen=True)
class Truth:
    """What only a simulation, or a person who labels, knows of a turn."""

    session: str
    """The true session: turns of one are about goals that the user has there."""
    goal: int
    """Number of the goal within its session, from 0: goal segmentation."""
    place: str
    """The goal place: a viewpoint."""
    achieved: bool
    """Whether the agent ended less than 3 m from the place."""
    clean: str
    """What the user meant to say, before any noise."""
    noise: tuple[str, ...] = ()
    """What was done to it: kinds of `envs.sessions.noise`."""
    intent: Intent = "go"


@dataclass(frozen=True)
class Turn:
    """One request and what came of it."""

    turn_id: str
    """Unique in a log."""
    user: str
    building: str
    time: float
    """Seconds since 1970 at which the user began to speak."""
    heard: str
    """The raw request, as the recogniser or the keyboard gave it."""
    signal: Signal
    """How the user took it."""
    said: str | None = None
    """The request as it was said, where that is known."""
    rewrite: str | None = None
    """What was followed instead of `heard`; None: `heard` itself."""
    source: Source = "none"
    """Where the rewrite came from."""
    understood: tuple[str, ...] = ()
    """What the agent understood, in clauses; () where it says nothing about that."""
    confidence: float | None = None
    """The agent's own probability of what it did, in [0, 1]."""
    reply: str = ""
    """What the agent answered in words."""
    heading: float = 0.0
    """Heading at the start, radians, clockwise from +y."""
    path: tuple[str, ...] = ()
    """Viewpoints that the agent went through, the start included; () where it did not move."""
    step: int | None = None
    """Place in `path` (from 0) at which the user interrupted; None without barge-in."""
    duration: float = 0.0
    """Seconds from `time` until the turn was over."""
    truth: Truth | None = None
    version: int = VERSION

    @property
    def ended_well(self) -> bool:
        return self.signal in GOOD

    @property
    def followed(self) -> str:
        """The request that the agent followed."""
        return self.heard if self.rewrite is None else self.rewrite


def line_of(turn: Turn) -> str:
    """A turn as a line of a JSON lines file; fields at their defaults are left out."""
    record = {
        name: value
        for name, value in record_of(turn).items()
        if name == "version" or value != _DEFAULTS.get(name, ...)
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


class BadTurn(ValueError):
    """A record that is no turn: the kind of fault, and what is wrong in words."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def turn_of(record: Any) -> Turn:
    """A turn of the fields of a record.

    Raises ValueError, with a `kind` of `KINDS`, in one line.
    """
    if not isinstance(record, Mapping):
        raise BadTurn("not a record", f"expected an object, found {kind_of(record)}")
    if record.get("version") != VERSION or isinstance(record["version"], bool):
        raise BadTurn(
            "other version",
            f"version {shown(record.get('version'))}; this reads version {VERSION}",
        )
    if record.get("signal") is None:
        raise BadTurn("missing outcome", f"signal is missing; it is one of {', '.join(SIGNALS)}")
    given = {
        name: value for name, value in record.items() if value is not None or name in _NULLABLE
    }
    for name in _REQUIRED:
        if name not in given:
            raise BadTurn("missing field", f"missing field {name}")
    if unknown := sorted(set(given) - set(FIELDS)):
        raise BadTurn("wrong value", f"unknown field {shown(unknown[0])}")
    for name in ("turn_id", "user", "building", "heard"):
        _text(name, given[name], empty=False)
    for name in ("said", "rewrite", "reply"):
        if given.get(name) is not None:
            _text(name, given[name], empty=name == "reply")
    _one_of("signal", given["signal"], SIGNALS)
    _one_of("source", given.get("source", "none"), SOURCES)
    for name, low, high in (
        ("time", 0.0, 1e11), ("duration", 0.0, 1e6), ("heading", -1e3, 1e3),
        ("confidence", 0.0, 1.0),
    ):  # fmt: skip
        if given.get(name) is not None:
            given[name] = _number(name, given[name], low, high)
    for name in ("understood", "path"):
        given[name] = _texts(name, given.get(name, ()))
    _check_step(given)
    if given.get("truth") is not None:
        given["truth"] = _truth(given["truth"])
    return Turn(**given)


def _check_step(given: Mapping[str, Any]) -> None:
    step, interrupted = given.get("step"), given["signal"] == "barge_in"
    if interrupted != (step is not None):
        raise BadTurn("wrong value", "step belongs to the signal barge_in, and is needed there")
    if step is None:
        return
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < len(given["path"]):
        raise BadTurn("wrong value", f"step must be a place in path, found {shown(step)}")


def _truth(value: Any) -> Truth:
    if not isinstance(value, Mapping):
        raise BadTurn("wrong value", f"truth must be an object, found {kind_of(value)}")
    given = {name: v for name, v in value.items() if v is not None}
    missing = {"session", "goal", "place", "achieved", "clean"} - set(given)
    unknown = set(given) - set(Truth.__dataclass_fields__)
    if missing or unknown:
        name = sorted(missing or unknown)[0]
        kind = "missing field" if missing else "wrong value"
        raise BadTurn(kind, f"truth: {'missing' if missing else 'unknown'} field {shown(name)}")
    for name in ("session", "place", "clean"):
        _text(f"truth.{name}", given[name], empty=True)
    goal, achieved = given["goal"], given["achieved"]
    if isinstance(goal, bool) or not isinstance(goal, int) or goal < 0:
        raise BadTurn("wrong value", f"truth.goal must be a number from 0, found {shown(goal)}")
    if not isinstance(achieved, bool):
        raise BadTurn("wrong value", f"truth.achieved must be true or false: {shown(achieved)}")
    _one_of("truth.intent", given.get("intent", "go"), INTENTS)
    return Truth(**given | {"noise": _texts("truth.noise", given.get("noise", ()))})


def _text(name: str, value: Any, *, empty: bool) -> None:
    if not isinstance(value, str) or (not empty and is_blank(value)):
        raise BadTurn("wrong value", f"{name} must be a text, found {shown(value)}")
    if len(value) > TEXT:
        raise BadTurn("wrong value", f"{name} has {len(value)} characters; {TEXT} at most")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise BadTurn("wrong value", f"{name} must be a list of texts, found {shown(value)}")
    return tuple(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTurn("wrong value", f"{name} must be a number, found {shown(value)}")
    if not math.isfinite(value) or not low <= value <= high:
        raise BadTurn("wrong value", f"{name} must be in [{low:g}, {high:g}], found {value}")
    return float(value)


def _one_of(name: str, value: Any, values: Sequence[str]) -> None:
    if value not in values:
        raise BadTurn("wrong value", f"{name} is one of {', '.join(values)}, found {shown(value)}")


def record_of(turn: Turn) -> dict[str, Any]:
    """A turn as plain values by field name, as files hold it."""
    record = asdict(turn)
    for name in ("understood", "path"):
        record[name] = list(record[name])
    if record["truth"] is not None:
        record["truth"]["noise"] = list(record["truth"]["noise"])
    return record


FIELDS = tuple(Turn.__dataclass_fields__)


_REQUIRED = ("turn_id", "user", "building", "time", "heard")


_NULLABLE = ("said", "rewrite", "confidence", "step", "truth")


_DEFAULTS: dict[str, Any] = {
    name: list(field.default) if isinstance(field.default, tuple) else field.default
    for name, field in Turn.__dataclass_fields__.items()
}
