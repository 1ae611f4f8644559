"""Words of a command line as a command; what is wrong with them is one line, as any other error."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import tyro

from rayforge.errors import ConfigurationError

_RULE = re.compile(r"[\s─━-]*")


def read_arguments(command: Any, words: list[str], prog: str, **given: Any) -> Any:
    """What tyro makes of `words` for a command.

    Raises ConfigurationError, in one line, for words that it does not take, and for settings out of
    their range.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(command, args=words, prog=prog, **given)
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigurationError(f"{one_line_of(said.getvalue())}; see {prog} --help") from None
    except ValueError as error:  # a setting out of its range, said by the configuration itself
        raise ConfigurationError(str(error)) from None


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
