"""The one place that turns whatever can go wrong with a file into one line."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rayforge.errors import DataError, UserError

SHOWN = 80
"""Characters of a value in a message."""
REASON = 200
"""Characters of what a library says in a message."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxlong, _short.maxother = 3, SHOWN, SHOWN
_short.maxstring = SHOWN - 2


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, cut to 80 characters, however deep it is."""
    try:
        plain = type(value) is str and len(value) <= SHOWN - 2
        text = repr(value) if plain else _short.repr(value)
    except Exception:  # a whole number of more digits than Python prints
        text = f"a value of type {type(value).__name__}"
    return one_line(text)


def one_line(text: object, limit: int = SHOWN) -> str:
    """The words of a text on one line, cut to `limit` characters."""
    text = str(text)
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text  # as nearly always: messages' places are made for every record
    line = " ".join(text.split())
    # An encoder met later (a terminal, a log) must not fail on half a character.
    line = line.encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def looked_in(place: str | Path) -> str:
    """Where a relative path was looked for, to stand behind "does not exist": files that name it
    are used from other directories as well. "" for an absolute one."""
    return "" if Path(place).is_absolute() else f" in {one_line(Path.cwd(), 2 * SHOWN)}"


def kind_of(value: Any) -> str:
    """What a JSON or YAML value is, for a message."""
    names = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


@contextmanager
def reading(
    place: str | Path, kind: type[UserError] = DataError, remedy: str = "copy it again"
) -> Iterator[None]:
    """Everything that goes wrong inside becomes one line about `place`, raised as `kind`.

    The libraries inside raise what they like (h5py alone: OSError, RuntimeError, KeyError,
    ValueError, TypeError), so that every `Exception` counts; a `UserError` passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        where = looked_in(place) if isinstance(place, Path) else ""
        raise kind(f"{place}: no such file{where}") from error
    except Exception as error:
        raise kind(f"{place}: cannot be read ({_reason(error)}); {remedy}") from error


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return "it is nested too deep"
        case MemoryError():
            return "it asks for more memory than there is"
        case OSError(strerror=str(reason)):
            return one_line(reason)
        case UnicodeDecodeError():
            return f"not UTF-8 text: {error.reason} at byte {error.start}"
    return one_line(error, REASON) or type(error).__name__
