"""The session log: what was said to an agent, what it did, and how the person took it.

A log is a list of turns, one a line of a JSON lines file (`.jsonl`, `.jsonl.gz`) or one a row of a
Parquet file (`.parquet`), with the field names of `Turn`. A service appends a line a turn
(`append_turns`). Everything else reads logs by `read_log`, which leaves bad records out, counts
them and names them. `sessions_of` cuts the turns of each user into sessions by the time between
them.

    log = read_log(Path("log.jsonl"), users=None, buildings=graphs)
    print(log.summary())
    for session in sessions_of(log.turns):
        for turn in session.turns:
            turn.heard, turn.rewrite, turn.signal, turn.ended_well

The raw request, `heard`, is always there, beside the rewrite that was followed instead. Thus what
is learnt from a log is about what people say, not about what earlier rewrites made of it.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rayforge.errors import DataError
from rayforge.files import whole_file, write_text
from rayforge.readers.content import read_lines
from rayforge.readers.faults import kind_of, one_line, shown
from rayforge.readers.json_text import parse_json
from rayforge.readers.parquet import read_batches

VERSION = 1
"""The version of the format that this module writes, and the only one it reads."""
GAP_S = 45.0
"""Seconds of silence that end a session."""
MOST_TURNS = 5
"""Turns of a session at most."""
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


class Fault(NamedTuple):
    """A record that was left out."""

    place: str
    """File and line, or row."""
    kind: str
    """One of `KINDS`."""
    said: str
    """The fault in one line."""


KINDS = (
    "not a record", "other version", "missing field", "missing outcome", "wrong value",
    "unknown user", "unknown building", "id twice", "clock backwards",
)  # fmt: skip


@dataclass(frozen=True)
class Log:
    """The good turns of a log, by time within each user, and the faults of the others."""

    turns: tuple[Turn, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Faults by kind, those that there are."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def summary(self, examples: int = 1) -> str:
        """What was used and what was left out, with the first records of each kind."""
        lines = [f"{len(self.turns)} turns used, {len(self.faults)} records left out"]
        for kind, count in self.counts.items():
            lines.append(f"  {count} x {kind}")
            of_kind = [fault for fault in self.faults if fault.kind == kind]
            lines += [f"    {fault.place}: {fault.said}" for fault in of_kind[:examples]]
        return "\n".join(lines)


@dataclass(frozen=True)
class Session:
    """Turns of one user in one building, with little time between them."""

    user: str
    building: str
    turns: tuple[Turn, ...]

    @property
    def ended_well(self) -> bool:
        return self.turns[-1].ended_well


def sessions_of(
    turns: Iterable[Turn], gap_s: float = GAP_S, most: int = MOST_TURNS
) -> tuple[Session, ...]:
    """The sessions of turns, in the order of their first ones.

    A turn begins a new session where the user is in another building, or was silent for more than
    `gap_s` seconds after the turn before, or that session has `most` turns.
    """
    under_way: dict[str, list[Turn]] = {}
    found: list[list[Turn]] = []
    for turn in turns:
        session = under_way.get(turn.user)
        if session is not None:
            last = session[-1]
            silence = turn.time - (last.time + last.duration)
            same = turn.building == last.building and silence <= gap_s and len(session) < most
        if session is None or not same:
            session = under_way[turn.user] = []
            found.append(session)
        session.append(turn)
    return tuple(Session(s[0].user, s[0].building, tuple(s)) for s in found)


def read_log(
    file: Path, *, users: Collection[str] | None = None, buildings: Collection[str] | None = None
) -> Log:
    """Read a log; bad records are left out, counted and named (`Log.faults`).

    Of a user's turns whose times run backwards, the fewest are left out that make the rest run
    forwards: one wrong clock does not cost the turns after it.

    Args:
        users: the known users; None takes any.
        buildings: the known buildings; None takes any.

    Raises:
        DataError: the file is missing, of another ending, or unreadable as a whole.
    """
    faults: list[Fault] = []
    turns: list[Turn] = []
    places: dict[str, str] = {}
    for place, record in _records(file, faults):
        try:
            turn = turn_of(record)
            if users is not None and turn.user not in users:
                raise _BadTurn("unknown user", f"user {shown(turn.user)} is not known")
            if buildings is not None and turn.building not in buildings:
                raise _BadTurn(
                    "unknown building", f"building {shown(turn.building)} is not in the data"
                )
            if turn.turn_id in places:
                raise _BadTurn(
                    "id twice", f"turn_id {shown(turn.turn_id)} is {places[turn.turn_id]}'s too"
                )
        except _BadTurn as bad:
            faults.append(Fault(place, bad.kind, str(bad)))
            continue
        places[turn.turn_id] = place.rpartition(": ")[2]
        turns.append(turn)
    kept = _forwards(turns)
    for number, turn in enumerate(turns):
        if number not in kept:
            place = f"{file}: {places[turn.turn_id]}"
            said = (
                f"time {turn.time:.3f} of user {shown(turn.user)} is before that of earlier turns"
            )
            faults.append(Fault(place, "clock backwards", said))
    return Log(tuple(turn for number, turn in enumerate(turns) if number in kept), tuple(faults))


def write_log(file: Path, turns: Iterable[Turn]) -> None:
    """Write a whole log, `.jsonl` or `.parquet` by its ending; the same turns give the same file.

    Raises DataError for another ending, before anything is written.
    """
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [_record_of(turn) for turn in turns]
        with whole_file(file) as part:
            pq.write_table(pa.Table.from_pylist(rows, _schema()), part)
    elif file.suffix == ".jsonl":
        write_text(file, "".join(line_of(turn) for turn in turns))
    else:
        raise DataError(f"{file}: a session log ends in .jsonl or .parquet")


def append_turns(file: Path, turns: Iterable[Turn]) -> None:
    """Append turns to a JSON lines file in one write, as a service does.

    Where a kill left half a line, the turns begin on a new one.
    """
    data = "".join(line_of(turn) for turn in turns).encode()
    number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(number).st_size
        if size and os.pread(number, 1, size - 1) != b"\n":
            data = b"\n" + data
        while data:
            data = data[os.write(number, data) :]
    finally:
        os.close(number)


def line_of(turn: Turn) -> str:
    """A turn as a line of a JSON lines file; fields at their defaults are left out."""
    record = {
        name: value
        for name, value in _record_of(turn).items()
        if name == "version" or value != _DEFAULTS.get(name, ...)
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


class _BadTurn(ValueError):
    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def turn_of(record: Any) -> Turn:
    """A turn of the fields of a record.

    Raises ValueError, with a `kind` of `KINDS`, in one line.
    """
    if not isinstance(record, Mapping):
        raise _BadTurn("not a record", f"expected an object, found {kind_of(record)}")
    if record.get("version") != VERSION or isinstance(record["version"], bool):
        raise _BadTurn(
            "other version",
            f"version {shown(record.get('version'))}; this reads version {VERSION}",
        )
    if record.get("signal") is None:
        raise _BadTurn("missing outcome", f"signal is missing; it is one of {', '.join(SIGNALS)}")
    given = {
        name: value for name, value in record.items() if value is not None or name in _NULLABLE
    }
    for name in _REQUIRED:
        if name not in given:
            raise _BadTurn("missing field", f"missing field {name}")
    if unknown := sorted(set(given) - set(_FIELDS)):
        raise _BadTurn("wrong value", f"unknown field {shown(unknown[0])}")
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
        raise _BadTurn("wrong value", "step belongs to the signal barge_in, and is needed there")
    if step is None:
        return
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < len(given["path"]):
        raise _BadTurn("wrong value", f"step must be a place in path, found {shown(step)}")


def _truth(value: Any) -> Truth:
    if not isinstance(value, Mapping):
        raise _BadTurn("wrong value", f"truth must be an object, found {kind_of(value)}")
    given = {name: v for name, v in value.items() if v is not None}
    missing = {"session", "goal", "place", "achieved", "clean"} - set(given)
    unknown = set(given) - set(Truth.__dataclass_fields__)
    if missing or unknown:
        name = sorted(missing or unknown)[0]
        kind = "missing field" if missing else "wrong value"
        raise _BadTurn(kind, f"truth: {'missing' if missing else 'unknown'} field {shown(name)}")
    for name in ("session", "place", "clean"):
        _text(f"truth.{name}", given[name], empty=True)
    goal, achieved = given["goal"], given["achieved"]
    if isinstance(goal, bool) or not isinstance(goal, int) or goal < 0:
        raise _BadTurn("wrong value", f"truth.goal must be a number from 0, found {shown(goal)}")
    if not isinstance(achieved, bool):
        raise _BadTurn("wrong value", f"truth.achieved must be true or false: {shown(achieved)}")
    _one_of("truth.intent", given.get("intent", "go"), INTENTS)
    return Truth(**given | {"noise": _texts("truth.noise", given.get("noise", ()))})


def _text(name: str, value: Any, *, empty: bool) -> None:
    if not isinstance(value, str) or (not empty and not value.strip()):
        raise _BadTurn("wrong value", f"{name} must be a text, found {shown(value)}")
    if len(value) > TEXT:
        raise _BadTurn("wrong value", f"{name} has {len(value)} characters; {TEXT} at most")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise _BadTurn("wrong value", f"{name} must be a list of texts, found {shown(value)}")
    return tuple(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadTurn("wrong value", f"{name} must be a number, found {shown(value)}")
    if not math.isfinite(value) or not low <= value <= high:
        raise _BadTurn("wrong value", f"{name} must be in [{low:g}, {high:g}], found {value}")
    return float(value)


def _one_of(name: str, value: Any, values: Sequence[str]) -> None:
    if value not in values:
        raise _BadTurn("wrong value", f"{name} is one of {', '.join(values)}, found {shown(value)}")


def _records(file: Path, faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    """(place, record) of each record that is JSON at all, or a row."""
    if file.suffix == ".parquet":
        number = 0
        for batch in read_batches(file):
            for record in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", record
        return
    if not file.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"{file}: a session log ends in .jsonl, .jsonl.gz or .parquet")
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            place = f"{file}: line {number}"
            try:
                record = parse_json(line, place)
            except DataError as error:
                said = one_line(str(error).removeprefix(f"{place}: "), 160)
                faults.append(Fault(place, "not a record", said))
                continue
            yield place, record


def _forwards(turns: Sequence[Turn]) -> set[int]:
    """Numbers of the turns that stay: of each user the longest run of turns whose times do not
    decrease (patience sorting, O(n log n))."""
    of_user: dict[str, list[int]] = {}
    for number, turn in enumerate(turns):
        of_user.setdefault(turn.user, []).append(number)
    kept: set[int] = set()
    for numbers in of_user.values():
        times: list[float] = []  # least last time of a run of each length
        ends: list[int] = []  # and the turn it belongs to
        before: dict[int, int | None] = {}
        last: int | None = None
        for number in numbers:
            time = turns[number].time
            place = bisect_right(times, time)
            before[number] = ends[place - 1] if place else None
            if place == len(times):
                last = number  # the first end of a run so long: of equal runs the earlier counts
            times[place : place + 1], ends[place : place + 1] = [time], [number]
        while last is not None:
            kept.add(last)
            last = before[last]
    return kept


def _record_of(turn: Turn) -> dict[str, Any]:
    record = asdict(turn)
    for name in ("understood", "path"):
        record[name] = list(record[name])
    if record["truth"] is not None:
        record["truth"]["noise"] = list(record["truth"]["noise"])
    return record


def _schema() -> Any:
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    truth = pa.struct(
        [("session", text), ("goal", whole), ("place", text), ("achieved", pa.bool_()),
         ("clean", text), ("noise", pa.list_(text)), ("intent", text)]
    )  # fmt: skip
    kinds = {
        "time": number, "confidence": number, "heading": number, "duration": number,
        "step": whole, "version": whole, "understood": pa.list_(text), "path": pa.list_(text),
        "truth": truth,
    }  # fmt: skip
    return pa.schema([(name, kinds.get(name, text)) for name in _FIELDS])


_FIELDS = tuple(Turn.__dataclass_fields__)
_REQUIRED = ("turn_id", "user", "building", "time", "heard")
_NULLABLE = ("said", "rewrite", "confidence", "step", "truth")
_DEFAULTS: dict[str, Any] = {
    name: list(field.default) if isinstance(field.default, tuple) else field.default
    for name, field in Turn.__dataclass_fields__.items()
}
