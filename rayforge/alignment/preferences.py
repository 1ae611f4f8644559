"""Preference pairs and where they come from: files, folders, the hub.

What cannot be used is left out, counted by reason and named by record; where nothing sound is left,
reading is refused.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rayforge.alignment.preference_formats import Preference, parse_record
from rayforge.alignment.preference_sides import Content, UnsoundRecord
from rayforge.errors import DataError, PreferenceError
from rayforge.readers.content import read_lines
from rayforge.readers.faults import looked_in, one_line, reading
from rayforge.readers.hub import hub_fault, without_hub
from rayforge.readers.json_text import parse_json
from rayforge.readers.parquet import read_rows

__all__ = ["Preference", "Preferences", "check_source", "preference_key", "read_preferences"]

_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_NAMED = 5
NOT_JSON = "not JSON"


@dataclass(frozen=True)
class Preferences:
    """What reading found, in the order of the data, and what it left out."""

    name: str
    pairs: list[Preference]
    dropped: dict[str, list[str]]
    """Records left out, by reason."""
    noted: dict[str, list[str]] = field(default_factory=dict)
    """Sound records, by what was noticed in them or done to them."""

    @property
    def total(self) -> int:
        """Records read, sound or not."""
        return len(self.pairs) + sum(map(len, self.dropped.values()))

    def report(self) -> str:
        """How many pairs there are, which records were left out why, and what was noticed in the
        others, in one line."""
        line = f"{self.name}: {len(self.pairs)} of {self.total} records are sound pairs"
        for name, found in (("left out", self.dropped), ("noted", self.noted)):
            if found:
                line += f"; {name}: " + "; ".join(
                    f"{len(records)} {what} ({_some(records)})" for what, records in found.items()
                )
        return line


def preference_key(prompt: Content, chosen: Content, rejected: Content, *template: Any) -> str:
    """32 hexadecimal digits that tell pairs apart; `template` is what the chat template gets beside
    the messages, where there is any."""
    text = json.dumps([prompt, chosen, rejected, *filter(None, template)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_preferences(source: str | Path) -> Preferences:
    """Pairs from a file, a folder or the hub, in any format of `preference_formats`.

    `source`: a JSON-lines file (`.jsonl`, `.json`, gzipped too; a JSON list as well), a Parquet
    file, a folder that `datasets` saved or can load, or a data set's name on the hub. Folders and
    names may end in `:SPLIT` (default: train, or the only split); a name may go on with a folder
    inside the data set, as in `Anthropic/hh-rlhf/helpful-base:test`.

    Records that no pair can be made of are left out and listed, repeated pairs too. A gzip file
    that breaks off keeps the records before the break.

    Raises PreferenceError where the source cannot be read or nothing sound is left.
    """
    check_source(str(source))
    path = Path(source)
    if path.is_file():
        return _collect(str(source), _file_records(path))
    return _collect(str(source), _data_set_records(str(source)))


def check_source(source: str) -> None:
    """Raises PreferenceError where a source that can only be a file or a folder is not there."""
    if not source.strip():
        raise PreferenceError("no preference data is named: name a file, a folder or a data set")
    path = Path(source.partition(":")[0])
    if Path(source).is_file() or path.is_dir():
        return
    if any(source.endswith(suffix) for suffix in (*_LINES, ".parquet")):
        raise PreferenceError(f"preference file {source} does not exist{looked_in(source)}")
    # What begins with a folder that is here is a path, and no name on the hub.
    here = len(path.parts) > 1 and os.path.lexists(path.parts[0])
    if here or source.startswith(("/", ".", "~")):
        raise PreferenceError(f"preference folder {source} does not exist{looked_in(source)}")


_Item = tuple[str, Any]
"""A record's name and the record, or an UnsoundRecord that says why there is none."""


def _collect(name: str, records: Iterable[_Item]) -> Preferences:
    pairs: dict[str, Preference] = {}
    dropped: dict[str, list[str]] = {}
    noted: dict[str, list[str]] = {}
    for place, record in records:
        try:
            if isinstance(record, UnsoundRecord):
                raise record
            pair = parse_record(record)
            contents = (pair.prompt, pair.chosen, pair.rejected)
            key = preference_key(*contents, pair.tools, pair.template)
            if key in pairs:
                raise UnsoundRecord("repeated pair")
        except UnsoundRecord as reason:
            dropped.setdefault(str(reason), []).append(place)
            continue
        for note in pair.notes:
            noted.setdefault(note, []).append(place)
        pairs[key] = replace(pair, key=key, source=f"{name}, {place}")
    found = Preferences(name, list(pairs.values()), dropped, noted)
    if not pairs:
        why = "it is empty" if not dropped else found.report()
        if list(dropped) == [NOT_JSON]:
            why += ". One record stands on one line, or all in one JSON list"
        raise PreferenceError(
            f"no preference pair can be read from {name}: {why}. A record needs prompt, chosen and "
            "rejected (texts in UTF-8 or lists of messages), or another format of the documentation"
        )
    return found


def _file_records(path: Path) -> Iterator[_Item]:
    if path.suffix == ".parquet":
        return _parquet_records(path)
    if not any(path.name.endswith(suffix) for suffix in _LINES):
        raise PreferenceError(
            f"preference file {path} has an ending that is not read; there are "
            f"{', '.join((*_LINES, '.parquet'))}"
        )
    return _json_records(path)


def _json_records(path: Path) -> Iterator[_Item]:
    lines = _lines(path)
    begun = False
    for place, line in lines:
        if isinstance(line, UnsoundRecord):
            yield place, line
        elif not begun and line.lstrip().startswith(b"["):
            rest = b"".join(part for _, part in lines if isinstance(part, bytes))
            yield from _json_list(path, line + rest)
        elif line.strip():
            begun = True
            yield place, _json(line)


def _json_list(path: Path, text: bytes) -> Iterator[_Item]:
    found = _json(text)
    if isinstance(found, UnsoundRecord):
        raise PreferenceError(
            f"preference file {path} begins a JSON list but is unsound ({found}): mend it, or "
            "write one record a line"
        )
    for number, record in enumerate(found, 1):
        yield f"record {number}", record


def _json(text: bytes) -> Any:
    try:
        return parse_json(text, "record")
    except DataError as error:
        match error.__cause__:
            case UnicodeError():
                return UnsoundRecord("wrong encoding")
            case json.JSONDecodeError() | RecursionError():
                return UnsoundRecord(NOT_JSON)
        return UnsoundRecord("a key twice, or a number beyond 64 bits")


def _lines(path: Path) -> Iterator[tuple[str, bytes | UnsoundRecord]]:
    """Lines with their names; where a gzip file breaks off, the line that breaks."""
    number = 0
    try:
        for number, line in enumerate(read_lines(path, PreferenceError), 1):
            yield f"line {number}", line if number > 1 else line.removeprefix(codecs.BOM_UTF8)
    except PreferenceError as error:
        if not isinstance(error.__cause__, EOFError | gzip.BadGzipFile | zlib.error):
            raise
        yield f"line {number + 1} and all after it", UnsoundRecord("broken gzip")


def _parquet_records(path: Path) -> Iterator[_Item]:
    for place, row in read_rows(path, PreferenceError):
        match row:
            case UnicodeDecodeError():
                yield place, UnsoundRecord("wrong encoding")
            case Exception():
                yield place, UnsoundRecord("a value that cannot be read (a date out of range?)")
            case _:
                yield place, row


def _data_set_records(source: str) -> Iterator[_Item]:
    name, _, split = source.partition(":")
    rows = iter(_load(name, split))
    number = 0
    while True:
        number += 1
        # A row may hold what is decoded only now: an image, or a file that is cut short.
        with reading(f"{source}: row {number}", PreferenceError, "mend the row or leave it out"):
            record = next(rows, None)
        if record is None:
            return
        yield f"row {number}", record


def _load(name: str, split: str) -> Any:
    """The one split of a data set on disk or on the hub that is asked for."""
    import datasets
    from huggingface_hub.utils import logging

    datasets.disable_progress_bars()
    # Its tries to reach the hub; what came of them is said below.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    folder, fault = Path(name), None
    parts = name.split("/")
    try:
        if folder.is_dir() and _saved(folder):
            found = datasets.load_from_disk(name)
        elif folder.is_dir():
            found = datasets.load_dataset(name)
        else:
            inside = "/".join(parts[2:]) or None
            named = "/".join(parts[:2])
            fault = hub_fault(named, "dataset")
            with nullcontext() if fault is None else without_hub():
                found = datasets.load_dataset(named, data_dir=inside)
    except Exception as error:  # `datasets` raises whatever its many back ends raise
        place = "folder" if folder.is_dir() else "name (there is no such file or folder here)"
        remedy = "copy the folder again" if folder.is_dir() else "name a file, or check the network"
        why: BaseException = fault or error
        while why.__cause__ is not None:  # the first is "An error occurred"
            why = why.__cause__
        raise PreferenceError(
            f"datasets cannot load the {place} {name}: {type(why).__name__}: "
            f"{one_line(why, 200) or 'no reason given'}; {remedy}"
        ) from error
    if isinstance(found, datasets.Dataset):
        if split:
            raise PreferenceError(f"{name} was saved without splits: leave :{split} away")
        return found
    wanted = split or ("train" if "train" in found or len(found) != 1 else next(iter(found)))
    if wanted not in found:
        raise PreferenceError(
            f"{name} has no split {wanted}; there are {', '.join(map(str, found))}: "
            f"write {name}:SPLIT"
        )
    return found[wanted]


def _saved(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("dataset_dict.json", "state.json"))


def _some(records: list[str]) -> str:
    more = f" and {len(records) - _NAMED} more" if len(records) > _NAMED else ""
    return ", ".join(records[:_NAMED]) + more
