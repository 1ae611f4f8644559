"""The names of shifts, and `NAME:SEVERITY` as a user writes it."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from rayforge.errors import ConfigurationError

SEVERITIES = range(1, 6)

IMAGES = ("blur", "noise", "dark", "mirrored", "hidden")
"""Of pixels: `envs.shifts.images`."""
FEATURES = ("blur", "noise", "dark", "hidden")
"""Of the tables of navigation graphs: `envs.shifts.features`."""
WORDS = ("dropped", "misheard", "shuffled")
"""Of instructions: `envs.shifts.words`."""
CAMERA = ("higher", "narrower")
"""Of the camera, where views are rendered: `envs.shifts.images.camera`."""


@dataclass(frozen=True)
class Shift:
    """A transform and how strong it is."""

    name: str
    severity: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}"


def read_shift(text: str, known: Collection[str], place: str = "shift") -> Shift:
    """`NAME:SEVERITY`, or a NAME alone for severity 3.

    Raises ConfigurationError for a name that is not among `known` (with the nearest), or a severity
    that is no whole number from 1 to 5; `place` says where it stands.
    """
    name, colon, level = str(text).partition(":")
    if name not in known:
        near = difflib.get_close_matches(name, list(known), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigurationError(f"{place}: unknown shift {name[:80]!r}; {hint}")
    if not colon:
        return Shift(name, 3)
    if not (level.isascii() and level.isdigit()) or int(level) not in SEVERITIES:
        raise ConfigurationError(
            f"{place}: severity of {name} must be a whole number from 1 to 5, got {level[:80]!r}"
        )
    return Shift(name, int(level))
