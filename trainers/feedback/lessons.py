"""Lessons on the disk: one JSON file, a record a lesson."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rayforge.errors import DataError
from rayforge.feedback.teaching import Lesson, Memory
from rayforge.files import write_json
from rayforge.readers.faults import shown
from rayforge.readers.json_text import read_json


def write_lessons(file: Path, memory: Memory) -> None:
    write_json(file, [asdict(lesson) for lesson in memory.every()])


def read_lessons(file: Path) -> Memory:
    """The lessons of a file; none where there is no file yet.

    Raises DataError, naming the record, for anything that `write_lessons` does not write.
    """
    memory = Memory()
    if not file.exists():
        return memory
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{file}: expected a list of lessons")
    for number, record in enumerate(records):
        place = f"{file}: record {number}"
        if not isinstance(record, dict) or set(record) - set(Lesson.__dataclass_fields__):
            raise DataError(f"{place}: not a lesson: {shown(record)}")
        texts = [record.get(name) for name in ("user", "phrase", "meaning")]
        path = record.get("path", [])
        if not all(isinstance(text, str) for text in texts) or not isinstance(path, list):
            raise DataError(f"{place}: user, phrase and meaning must be texts, path a list")
        if record.get("kind", "words") not in ("words", "place", "preference"):
            raise DataError(f"{place}: kind is words, place or preference")
        try:
            memory.teach(Lesson(**record | {"path": tuple(path)}))
        except ValueError as error:
            raise DataError(f"{place}: {error}") from None
    return memory
