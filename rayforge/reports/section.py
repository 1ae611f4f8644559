"""What a report is made of: sections of text, facts, tables and pictures, as data.

A system's report is a list of `Section`s. `rayforge.reports.page` renders them with autoescape, so
text from data is shown as text. Only `Picture.drawing` is taken as it is: the drawing functions
make it, and they escape what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias
from urllib.parse import quote

from markupsafe import Markup

from rayforge.evaluation.intervals import Interval


@dataclass(frozen=True)
class Code:
    """Words set in a fixed width: a command, a file name."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page, and to a place in it."""

    text: str
    file: str
    place: str = ""
    kind: ClassVar[str] = "link"

    @property
    def target(self) -> str:
        return quote(self.file) + (f"#{quote(self.place, safe='')}" if self.place else "")


Words: TypeAlias = "str | Code | Link | tuple[str | Code | Link, ...]"
"""A line of text, with code and links in it."""


@dataclass(frozen=True)
class Text:
    """A paragraph. `look`: "" plain, "lead", "muted", "note" (set apart), "gone" (something that is
    missing), "answer" (of the section's question)."""

    words: Words
    look: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Facts:
    """Names and what they are; an empty value is shown as not recorded."""

    rows: Sequence[tuple[str, Words]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Cards:
    """Figures that are read first: (title, figure, line below)."""

    cards: Sequence[tuple[str, str, str]]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Cell:
    """A field of a table, with a smaller line below it."""

    words: Words
    below: Words = ""


@dataclass(frozen=True)
class Row:
    head: Cell
    cells: Sequence[Cell]
    own: bool = False
    """Whether the row is marked: the run's own agent, the best trial."""


@dataclass(frozen=True)
class Table:
    """`head` names every column, the rows' heads included; `meanings` explain columns and rows by
    name."""

    head: Sequence[str]
    rows: Sequence[Row]
    below: str = ""
    meanings: Sequence[tuple[str, str]] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Key:
    """An entry of a picture's legend: the colour's class, its name, the last value."""

    colour: str
    name: str
    value: str = ""


@dataclass(frozen=True)
class Picture:
    """An SVG drawing `width` by `height` pixels with its title and legend. `says` is read to those
    who do not see it."""

    title: str
    drawing: Markup
    width: float
    height: float
    says: str
    keys: Sequence[Key] = ()
    hint: str = ""


@dataclass(frozen=True)
class Pictures:
    pictures: Sequence[Picture]
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Example:
    """One of a list of examples: facts, a drawing where there is one, a small line below."""

    facts: Sequence[tuple[str, Words]]
    below: Words = ""
    picture: Picture | None = None


@dataclass(frozen=True)
class Examples:
    items: Sequence[Example]
    kind: ClassVar[str] = "examples"


@dataclass(frozen=True)
class Lines:
    """Text kept line by line, in a fixed width."""

    text: str
    kind: ClassVar[str] = "lines"


@dataclass(frozen=True)
class Section:
    """A titled part of a report and the question it answers.

    Parts stand in their order; `folded` parts open on a click. A section in a section has a
    smaller title. A section without a title continues what stands above it.
    """

    title: str
    parts: Sequence[Part]
    question: str = ""
    folded: bool = False
    kind: ClassVar[str] = "section"


Part: TypeAlias = "Text | Facts | Cards | Table | Pictures | Examples | Lines | Section"


MINUS = "\u2212"


def cell(found: Interval, decimals: int = 3, signed: bool = False) -> Cell:
    """A mean with its interval below; a dash where there is none."""
    if not math.isfinite(found.mean):
        return Cell("—")
    sign = "+z" if signed else "z"  # z: no minus before a zero
    return Cell(f"{found.mean:{sign}.{decimals}f}", span(found, decimals, signed))


def span(found: Interval, decimals: int = 3, signed: bool = False) -> str:
    """`[low, high]`, or "" where the interval is unknown."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    sign = "+z" if signed else "z"  # z: no minus before a zero
    return f"[{found.low:{sign}.{decimals}f}, {found.high:{sign}.{decimals}f}]"


def spoken(split: str) -> str:
    """A split's name as it is said: "val_unseen" as "val unseen"."""
    return split.replace("_", " ")
