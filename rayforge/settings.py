"""What a setting is, said beside its field: `threads: Annotated[int, MAY_CHANGE, AtLeast(0)] = 0`.

A configuration is a frozen dataclass. The metadata of an annotation says what a field is (its
natures) and which numbers it takes (its limits). Everything that treats settings differently asks
here, so that no list of names stands anywhere else.

A dataclass of settings inside another is a group: its fields have dotted names
(`generator.updates`), and a nature of the group is one of all its fields.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal

Sized = typing.TypeVar("Sized")


class Nature(Enum):
    """What a setting is. A field without one decides what is learnt, and stays as it is."""

    MAY_CHANGE = "may be changed when a run goes on (`--resume`)"
    MAY_GROW = "may be raised when a run goes on: it then trains longer"
    UNDER_WAY = "may be changed while a trial runs, as population-based training does"
    NOT_LEARNT = "says nothing about what is learnt: runs that differ in it are of one method"
    RESOURCE = "asks for processors, graphics cards or places in a cluster"
    FOLDER = "may name a file or folder on the disk"
    FILE = "may name a file on the disk, and a folder of that name is none"
    WRITES_FILE = "names a file that the command writes"
    WRITES_FOLDER = "names a folder that the command writes into"
    MAIN = "one that most users set: `--help` has it, and `--help-all` has the others too"


MAY_CHANGE = Nature.MAY_CHANGE
MAY_GROW = Nature.MAY_GROW
UNDER_WAY = Nature.UNDER_WAY
NOT_LEARNT = Nature.NOT_LEARNT
RESOURCE = Nature.RESOURCE
FOLDER = Nature.FOLDER
FILE = Nature.FILE
WRITES_FILE = Nature.WRITES_FILE
WRITES_FOLDER = Nature.WRITES_FOLDER
MAIN = Nature.MAIN


@dataclass(frozen=True)
class Heading:
    """What `--help` puts above a setting and those that follow it."""

    text: str


@dataclass(frozen=True)
class AtLeast:
    """A number of at least `least`."""

    least: float

    def holds(self, value: float) -> bool:
        return value >= self.least

    def __str__(self) -> str:
        return "must not be negative" if self.least == 0 else f"must be at least {self.least}"


@dataclass(frozen=True)
class Above:
    """A number above `bound`."""

    bound: float

    def holds(self, value: float) -> bool:
        return value > self.bound

    def __str__(self) -> str:
        return f"must be above {self.bound}"


@dataclass(frozen=True)
class Within:
    """A number between `least` and `most`; "(" and ")" in `ends` leave an end itself out."""

    least: float
    most: float
    ends: Literal["[]", "[)", "(]", "()"] = "[]"

    def holds(self, value: float) -> bool:
        return (self.least < value < self.most) or (
            (value == self.least and self.ends[0] == "[")
            or (value == self.most and self.ends[1] == "]")
        )

    def __str__(self) -> str:
        return f"must be in {self.ends[0]}{self.least}, {self.most}{self.ends[1]}"


@dataclass(frozen=True)
class Formerly:
    """What a setting was called in older files."""

    name: str


@dataclass(frozen=True)
class Before:
    """What a setting was before it had a name: the value that a file means which was written whole
    (it holds all the other settings of the group) and does not have this one."""

    value: Any


SHARE = Within(0, 1)
"""A share of a whole, or a probability."""


def settings_with(kind: Any, nature: Nature) -> tuple[str, ...]:
    """The dotted names of the settings of a configuration that have a nature, in their order."""
    names: list[str] = []
    for name, inner, said in annotated(kind):
        if dataclasses.is_dataclass(inner):
            within = everything(inner) if nature in said else settings_with(inner, nature)
            names += [f"{name}.{rest}" for rest in within]
        elif nature in said:
            names.append(name)
    return tuple(names)


def everything(kind: Any) -> tuple[str, ...]:
    """The dotted names of all settings of a configuration, in their order."""
    names: list[str] = []
    for name, inner, _ in annotated(kind):
        deep = everything(inner) if dataclasses.is_dataclass(inner) else ()
        names += [f"{name}.{rest}" for rest in deep] or [name]
    return tuple(names)


def value_of(config: Any, name: str) -> Any:
    """The value of the setting with a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def changed(config: Any, values: dict[str, Any]) -> Any:
    """A configuration with other values of some settings, by their dotted names."""
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = value
    flat |= {head: changed(getattr(config, head), inner) for head, inner in nested.items()}
    return dataclasses.replace(config, **flat)


def at_most(config: Sized, sizes: dict[str, int]) -> Sized:
    """A configuration with sizes of at most these, by name; what it asks less of stays, and what it
    leaves open is set."""
    asked = {name: getattr(config, name) for name in sizes}
    lowered = {
        name: size if asked[name] is None else min(asked[name], size)
        for name, size in sizes.items()
    }
    return dataclasses.replace(config, **lowered)  # type: ignore[type-var]


MOST = 2**31 - 1
"""The largest whole number that a setting takes, but for seeds: all are sizes, counts or ports."""
HUGE = 1e36
"""A number with a point is below; single precision ends at 3e38."""


def check_limits(config: Any, place: str = "") -> None:
    """Hold the numbers of a configuration against their limits; called by its `__post_init__`.

    Groups check themselves; `place` ("network.") is what their names begin with in the message.
    Raises ValueError with the setting, its limit and its value.
    """
    for name, _, said in annotated(config.__class__):
        value = getattr(config, name)
        for limit in said:
            if not isinstance(limit, AtLeast | Above | Within):
                continue
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and (math.isnan(number) or not limit.holds(number)):
                    raise ValueError(f"{place}{name} {limit}, got {value}")
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and abs(number) > MOST and name != "seed":
                raise ValueError(f"{place}{name} must be at most {MOST:,}, got {number}")
            if type(number) is float and not abs(number) < HUGE:
                raise ValueError(f"{place}{name} must be a number below {HUGE:g}, got {number}")


def before_named(kind: Any, named: typing.Collection[str]) -> dict[str, Any]:
    """What the settings of a group that a file leaves out were when it was written (`Before`);
    nothing where it leaves others out as well, as a file by hand does."""
    left = [(name, said) for name, _, said in annotated(kind) if name not in named]
    meant = {n: s.value for n, said in left for s in said if isinstance(s, Before)}
    return meant if len(meant) == len(left) else {}


@cache
def annotated(kind: Any) -> tuple[tuple[str, Any, tuple[Any, ...]], ...]:
    """Name, plain type and metadata of each field of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        hint, said = hints[field.name], ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *rest = typing.get_args(hint)
            said = tuple(rest)
        found.append((field.name, hint, said))
    return tuple(found)
