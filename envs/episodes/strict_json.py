"""JSON without surprises: a duplicate key or a broken file is a `DataError` naming the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rayforge.errors import DataError


def parse_json(text: str | bytes, name: str | Path) -> Any:
    """Parse `text`; `name` is what the error calls it.

    Python's parser keeps the last of two equal keys without a word; here that is an error,
    because in a hand-merged file it hides half of the data.

    Raises:
        DataError: not JSON, not UTF-8, or an object has the same key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{name}: key {twice!r} stands twice in one object; remove one")
        return mapping

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}: not valid JSON ({error.msg} at line {error.lineno}, column {error.colno});"
            " is the file cut short or not unpacked?"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def read_json(file: Path) -> Any:
    """Read one JSON file.

    Raises:
        DataError: the file is missing, unreadable, or `parse_json` refuses it.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    return parse_json(content, file)
