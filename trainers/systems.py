"""The systems of RayForge by name, and those of others by `module:NAME`."""

from __future__ import annotations

import importlib
import re

from rayforge.errors import ConfigurationError
from trainers.runs.system import System

OWN = {
    "irl": "trainers.irl.system:IRL",
    "align": "trainers.alignment.system:ALIGN",
    "amodal": "trainers.amodal.system:AMODAL",
    "both": "trainers.both.system:BOTH",
    "feedback": "trainers.feedback.system:FEEDBACK",
    "plan": "trainers.irl.plan_trial:PLAN",
}
"""Where the record of each of RayForge's own systems stands."""
PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_place(name: str) -> bool:
    """Whether a name has the form `module:NAME`: a system from outside RayForge."""
    return PLACE.fullmatch(name) is not None


def find_system(name: str) -> System:
    """The system of that name: one of RayForge's own, or `module:NAME` of any importable module.

    Importing a module runs its code: call this with a `module:NAME` from the command line or from
    Python alone, never with one from a file.

    Raises ConfigurationError where there is none.
    """
    place = OWN.get(name, name)
    if not is_place(place):
        raise ConfigurationError(
            f"system must be one of {', '.join(OWN)}, or module:NAME of your own, got {name[:80]!r}"
        )
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"system {place} cannot be imported ({error}): put its folder on PYTHONPATH"
        ) from None
    if not isinstance(found, System):
        raise ConfigurationError(
            f"{place} is a {type(found).__name__}: make it a System of trainers.runs.system"
        )
    return found
