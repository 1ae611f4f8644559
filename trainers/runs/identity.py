"""Whether a run that goes on is the run that it was."""

from __future__ import annotations

from typing import Any

from rayforge.errors import ConfigurationError
from rayforge.settings import MAY_CHANGE, MAY_GROW, everything, settings_with, value_of


def check_settings(saved: Any, asked: Any, where: str) -> None:
    """Raises ConfigurationError where two configurations of one class differ in a setting that
    stays as it is while a run goes on, or ask for less of one that may only grow; `where` names
    what holds the saved one."""
    free = settings_with(type(asked), MAY_CHANGE)
    growing = settings_with(type(asked), MAY_GROW)
    for name in growing:
        was, now = value_of(saved, name), value_of(asked, name)
        if now < was:
            raise ConfigurationError(
                f"{where} was made with {name} {was}, and a run that goes on can only train "
                f"longer, got {now}: give at least {was}"
            )
    different = [
        name
        for name in everything(type(asked))
        if name not in (*free, *growing) and value_of(saved, name) != value_of(asked, name)
    ]
    if not different:
        return
    first, others = different[0], different[1:4]
    also = f" (also {', '.join(others)})" if others else ""
    raise ConfigurationError(
        f"{where} was made with another configuration: {first} was {value_of(saved, first)!r} and "
        f"is now {value_of(asked, first)!r}{also}; go on under its own settings, or start another "
        "run"
    )
