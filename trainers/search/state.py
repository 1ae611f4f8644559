"""What a search knows of its trials, as plain JSON: all that a resumed one goes by.

`state.json` in the search's folder is written whole after each event. Nothing in a search's folder
is ever unpickled: what Tune writes for itself is not read, and is removed.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from rayforge.errors import RunError
from trainers.search.storage import Folder

STATE = "state.json"
FORMAT = 1
STATUSES = ("unfinished", "finished", "stopped", "failed")
SNAPSHOT = re.compile(r"(trial-\d{4,9}|tune-\d{1,9}/trial-\d{4,9}/checkpoint_\d{1,9})?")
"""Where a trial's run folder lies in the search's: at rest, or as Tune keeps it for the moment."""

Labels = dict[str, Any]
"""Settings of a trial by their dotted names, as plain numbers and text."""


@dataclass
class Report:
    """One report of a trial."""

    number: int
    seconds: float
    """Of training and evaluation up to it, over all attempts."""
    figures: dict[str, float]


@dataclass
class Takeover:
    """Another trial's state and changed settings, which a trial goes on with; population-based
    training decided so."""

    key: str
    """Tells one takeover from the next."""
    settings: Labels
    snapshot: str
    donor: int


@dataclass
class Record:
    """One trial."""

    number: int
    settings: Labels
    """What its last report was made with; without one, what it started with."""
    status: str = "unfinished"
    """"finished", "stopped" (early, by the scheduler), "failed", or "unfinished"."""
    reports: list[Report] = field(default_factory=list)
    snapshot: str = ""
    """Its run folder after its last report, within the search's folder; empty before the first."""
    takeover: Takeover | None = None
    """What it goes on with instead, where it has not reported since."""
    takeovers: int = 0
    error: str = ""
    """The last line of what went wrong."""

    @property
    def settled(self) -> bool:
        return self.status in ("finished", "stopped")

    @property
    def now(self) -> Labels:
        """The settings that it goes on with."""
        return self.settings if self.takeover is None else self.takeover.settings

    @property
    def seconds(self) -> float:
        return self.reports[-1].seconds if self.reports else 0.0

    def report(self, made: Report) -> None:
        """Take a report; one made again, after a fault or a takeover, replaces what came before."""
        self.reports = [r for r in self.reports if r.number < made.number] + [made]


@dataclass
class State:
    """All trials of a search that have begun."""

    identity: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Tells this search from others of its name, in tracking services."""
    attempt: int = 0
    """How often the search was started; Tune works in a folder of this number."""
    trials: dict[int, Record] = field(default_factory=dict)

    def missing(self, trials: int) -> list[int]:
        """Of so many trials in all, the numbers of those that have not come to their end."""
        settled = {number for number, record in self.trials.items() if record.settled}
        return [number for number in range(1, trials + 1) if number not in settled]

    def save(self, folder: Folder) -> None:
        document = {
            "format": FORMAT, "identity": self.identity, "attempt": self.attempt,
            "trials": [asdict(self.trials[number]) for number in sorted(self.trials)],
        }  # fmt: skip
        folder.write(STATE, json.dumps(document, indent=1) + "\n")


def read_state(folder: Folder) -> State | None:
    """The state of a search, checked value by value; None where there is none.

    Raises RunError for a file that RayForge did not write.
    """
    text = folder.read(STATE)
    if text is None:
        return None
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r} is not {FORMAT}")
        trials = [_record(entry) for entry in document["trials"]]
        identity = _of(str, document["identity"])
        return State(identity, _of(int, document["attempt"]), {t.number: t for t in trials})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"[:120]
        raise RunError(
            f"{folder}/{STATE} cannot be read ({why}): put back a copy of it, or start another "
            "search"
        ) from None


def _record(entry: dict[str, Any]) -> Record:
    takeover = entry["takeover"]
    if entry["status"] not in STATUSES:
        raise ValueError(f"status {entry['status']!r}")
    number = _of(int, entry["number"])
    if not 0 < number < 10**9:
        raise ValueError(f"trial {number}")
    return Record(
        number, _labels(entry["settings"]), entry["status"],
        [
            Report(
                _of(int, r["number"]), _number(r["seconds"]),
                {_of(str, key): _number(value) for key, value in r["figures"].items()},
            )
            for r in entry["reports"]
        ],
        _snapshot(entry["snapshot"]),
        None
        if takeover is None
        else Takeover(
            _of(str, takeover["key"]), _labels(takeover["settings"]),
            _snapshot(takeover["snapshot"]), _of(int, takeover["donor"]),
        ),
        _of(int, entry["takeovers"]), _of(str, entry["error"]),
    )  # fmt: skip


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{str(value)[:80]!r} is no {kind.__name__}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{str(value)[:80]!r} is no number")
    return float(value)


def _labels(value: Any) -> Labels:
    for key, label in _of(dict, value).items():
        _of(str, key)
        if not isinstance(label, str | int | float | bool):
            raise ValueError(f"setting {key[:80]} is {str(label)[:80]!r}")
        if isinstance(label, float) and not math.isfinite(label):
            raise ValueError(f"setting {key[:80]} is {label}")
    return dict(value)


def _snapshot(value: Any) -> str:
    if SNAPSHOT.fullmatch(_of(str, value)) is None:
        raise ValueError(f"{value[:80]!r} is no folder of a trial")
    return str(value)
