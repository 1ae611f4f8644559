"""The session log: turns in a file, and the sessions they make.

A log is a list of turns (`envs.sessions.turns`), one a line of a JSON lines file (`.jsonl`,
`.jsonl.gz`) or one a row of a Parquet file (`.parquet`), with the field names of `Turn`. A service
appends a line a turn (`append_turns`). Everything else reads logs by `read_log`, which leaves bad
records out, counts them and names them. `sessions_of` cuts the turns of each user into sessions by
the time between them.

    log = read_log(Path("log.jsonl"), users=None, buildings=graphs)
    print(log.summary())
    for session in sessions_of(log.turns):
        for turn in session.turns:
            turn.heard, turn.rewrite, turn.signal, turn.ended_well
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from envs.sessions.turns import FIELDS, BadTurn, Turn, line_of, record_of, turn_of
from rayforge.errors import DataError
from rayforge.files import whole_file, write_text
from rayforge.readers.content import read_lines
from rayforge.readers.faults import one_line, shown
from rayforge.readers.json_text import parse_json
from rayforge.readers.parquet import read_rows

GAP_S = 45.0
"""Seconds of silence that end a session."""


MOST_TURNS = 5
"""Turns of a session at most."""


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
                raise BadTurn("unknown user", f"user {shown(turn.user)} is not known")
            if buildings is not None and turn.building not in buildings:
                raise BadTurn(
                    "unknown building", f"building {shown(turn.building)} is not in the data"
                )
            if turn.turn_id in places:
                raise BadTurn(
                    "id twice", f"turn_id {shown(turn.turn_id)} is {places[turn.turn_id]}'s too"
                )
        except BadTurn as bad:
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

        rows = [record_of(turn) for turn in turns]
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


def _records(file: Path, faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    """(place, record) of each record that is JSON at all, or a row."""
    if file.suffix == ".parquet":
        for row, record in read_rows(file):
            place = f"{file}: {row}"
            if isinstance(record, Exception):
                said = f"cannot be read ({one_line(record, 120) or type(record).__name__})"
                faults.append(Fault(place, "not a record", said))
            else:
                yield place, record
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
    return pa.schema([(name, kinds.get(name, text)) for name in FIELDS])
