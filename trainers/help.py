"""What `--help` prints: the settings of a command under headings, in a user's words.

Of a long list `--help` has the main ones (`rayforge.settings.MAIN`), and `--help-all` has all.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from rayforge.settings import MAIN, Heading, annotated

FLAGS = ("-h", "--help", "--help-all")
INDENT = 26
POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]
KINDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What values of a plain type are called: whole numbers N, other numbers X."""


class Entry(NamedTuple):
    """A setting as the command line has it."""

    name: str
    """Dotted, as in a configuration file."""
    kind: Any
    metadata: tuple[Any, ...]
    said: str
    default: Any
    heading: str

    @property
    def positional(self) -> bool:
        return POSITIONAL in self.metadata

    @property
    def written(self) -> str:
        """The flag, or the name of an argument without one, with what it takes."""
        if self.positional:
            return self.name.upper() + ("..." if typing.get_origin(self.kind) is tuple else "")
        # A word of Python's own has an underscore behind it as a field, and none as a flag.
        flag = f"--{self.name.rstrip('_').replace('_', '-')}"
        if self.kind is bool:
            head, dot, last = flag.removeprefix("--").rpartition(".")
            return f"--{head}{dot}[no-]{last}"
        return f"{flag} {value_name(self.kind)}"


NARROWEST = 24
"""Letters of a line of a setting's text at least, however narrow a terminal says it is."""


def wants_help(arguments: list[str]) -> str | None:
    """The flag among these words that asks for help."""
    return next((word for word in arguments if word in FLAGS), None)


def help_of(command: type, name: str, filled: Any, every: bool) -> str:
    """The help of a command, a dataclass whose docstring says what it does.

    `filled` is one of it whose values stand there as defaults, or None; `every`: all settings.
    """
    entries = list(_entries(command, filled, "", ""))
    main = [e for e in entries if MAIN in e.metadata]
    of_command = [e for e in entries if not e.heading]
    short = [*of_command, *main] if main and not every else entries
    width = max(INDENT + NARROWEST, min(100, shutil.get_terminal_size((100, 24)).columns))
    wanted = [e.written for e in entries if e.default is dataclasses.MISSING]
    lines = [
        " ".join(["usage: rayforge", name, *wanted, "[SETTINGS]"]),
        "",
        *_reflowed(command, width),
    ]
    heading = None
    for entry in short:
        if entry.heading != heading:
            heading = entry.heading
            lines += ["", heading or "Command"]
        lines += _shown(entry, width)
    if len(short) < len(entries):
        lines += ["", f"These are the main settings; --help-all has all {len(entries)}."]
    return "\n".join(lines)


def value_name(kind: Any) -> str:
    """What a setting of this type takes, in a user's words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "|".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(value_name(k) for k in inner if k is not type(None))
    if origin is tuple:
        return f"{value_name(inner[0])} ..."
    if origin is typing.Annotated:
        return value_name(inner[0])
    return KINDS.get(kind, getattr(kind, "__name__", str(kind)).upper())


def _entries(kind: Any, filled: Any, before: str, heading: str) -> Iterator[Entry]:
    """The settings of a dataclass and then, with dotted names, of those within it."""
    said = descriptions(kind)
    defaults = {f.name: _default(f) for f in dataclasses.fields(kind)}
    groups = []
    for name, inner, metadata in annotated(kind):
        heading = next((m.text for m in metadata if isinstance(m, Heading)), heading)
        value = defaults[name] if filled is None else getattr(filled, name)
        help_text = next((m.help for m in metadata if getattr(m, "help", None)), None)
        text = help_text or said.get(name, "")
        if dataclasses.is_dataclass(inner):
            flat = any(getattr(m, "name", None) == "" for m in metadata)
            group = value if dataclasses.is_dataclass(value) else None
            text = text or (inspect.getdoc(inner) or "").splitlines()[0]
            title = "Settings" if flat else f"{name.replace('_', ' ').capitalize()}: {text}"
            place = before if flat else f"{before}{name}."
            groups.append((inner, group, place, title.rstrip(".")))
        else:
            yield Entry(f"{before}{name}", inner, metadata, text, value, heading)
    for within in groups:
        yield from _entries(*within)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


@cache
def descriptions(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass and of those that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue  # made at run time, or of no file
        body = getattr(tree, "body", [])
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _reflowed(command: type, width: int) -> list[str]:
    """Its docstring, paragraphs filled; indented lines, such as examples, as they stand."""
    lines: list[str] = []
    for paragraph in (inspect.getdoc(command) or "").split("\n\n"):
        kept = any(line.startswith(" ") for line in paragraph.splitlines())
        lines += ["", *(paragraph.splitlines() if kept else _wrapped(paragraph, width))]
    return lines[1:]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a text; names such as HH-RLHF and flags stay whole."""
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _shown(entry: Entry, width: int) -> list[str]:
    text = entry.said
    if entry.default is dataclasses.MISSING:
        text += " [needed]"
    elif (value := _as_typed(entry.default)) != "":
        text += f" [{value}]"
    left, filled = f"  {entry.written}", _wrapped(text.strip(), width - INDENT) or [""]
    if len(left) > INDENT - 2:
        return [left, *(" " * INDENT + line for line in filled)]
    return [f"{left:{INDENT}}{filled[0]}", *(" " * INDENT + line for line in filled[1:])]


def _as_typed(value: Any) -> str:
    """A default as it would be typed; "" where there is none."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
