"""Words of a command line as a command; what is wrong with them is one line, as any other error."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import tyro

from rayforge.errors import ConfigurationError
from rayforge.settings import WRITES_FILE, WRITES_FOLDER, annotated, check_limits, settings_with

_RULE = re.compile(r"[\s─━-]*")


def read_arguments(command: Any, words: list[str], prog: str, **given: Any) -> Any:
    """What tyro makes of `words` for a command.

    Raises ConfigurationError, in one line, for words that it does not take, for settings out of
    their range, and for places that nothing can be written to.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            asked = tyro.cli(command, args=words, prog=prog, **given)
        check_limits(asked)
        check_places(asked)
        return asked
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigurationError(f"{one_line_of(said.getvalue())}; see {prog} --help") from None
    except ValueError as error:  # a setting out of its range, said by the configuration itself
        raise ConfigurationError(str(error)) from None


def check_places(asked: Any) -> None:
    """Look at the files and folders that a command will write, before it begins.

    Raises ConfigurationError for a folder in the place of a file, a file in that of a folder, a
    file that the command reads, a file in a folder that is not there, and a folder that cannot be
    written.
    """
    for nature, file in ((WRITES_FILE, True), (WRITES_FOLDER, False)):
        for name in settings_with(type(asked), nature):
            place: Path | None = getattr(asked, name)
            if place is None:
                continue
            said = f"{name.replace('_', '-')} {str(place)[:200]!r}"
            if place.exists() and place.is_dir() == file:
                found, wanted = ("folder", "file") if file else ("file", "folder")
                raise ConfigurationError(f"{said} is a {found}: name a {wanted}")
            if file and (read := _read_from(asked, name, place)):
                raise ConfigurationError(
                    f"{said} is what {read} reads, and would be lost: name another file"
                )
            if file and not place.parent.exists():
                raise ConfigurationError(f"{said}: there is no folder {place.parent}: make it")
            there = next(p for p in (place, *place.absolute().parents) if p.exists())
            if not there.is_dir() and there != place:
                raise ConfigurationError(f"{said}: {there} is a file, and no folder")
            if not os.access(there, os.W_OK):
                raise ConfigurationError(f"{said}: {there} cannot be written: name another place")


def _read_from(asked: Any, written: str, place: Path) -> str:
    """The other argument of a command that names the file `place` as well; "" where none does."""
    for name, _, _ in annotated(asked.__class__):
        value = getattr(asked, name)
        if name != written and isinstance(value, Path) and value.resolve() == place.resolve():
            return name.rstrip("_")
    return ""


def one_line_of(box: str) -> str:
    """The message in a frame as tyro draws it, in one line and without its frame.

    Below a rule inside the frame there are the flag's own words, which --help has as well; of these
    the names of flags that may have been meant are taken.
    """
    parts: list[list[str]] = [[]]
    for line in box.splitlines():
        inner = line.strip().removeprefix("│").removesuffix("│").strip()
        if line.strip().startswith(("╭", "╰")):  # top, with the title, and bottom
            continue
        if _RULE.fullmatch(inner):
            parts.append([])
        else:
            parts[-1].append(inner)
    parts = [part for part in parts if part and any(part)]
    if len(parts) > 1 and len(parts[0]) == 1 and len(parts[0][0].split()) <= 3:
        parts = parts[1:]  # the title, where the frame has no letters to draw it with
    words = " ".join(" ".join(parts[0]).split()) if parts else "wrong arguments"
    words = words[:1].lower() + words[1:].removesuffix(".")
    meant = next((part for part in parts if part[0].startswith("Perhaps you meant")), None)
    near = re.search(r"--[\w.-]+", " ".join(meant)) if meant else None
    return f"{words[:300]}{f'; did you mean {near.group()}?' if near else ''}"
