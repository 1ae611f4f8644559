"""Whether a run that goes on is the run that it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar, cast

from rayforge.errors import ConfigurationError, RunError
from rayforge.settings import (
    FILE,
    FOLDER,
    MAY_CHANGE,
    MAY_GROW,
    changed,
    everything,
    settings_with,
    value_of,
)
from trainers.configuration import RUN_FILE, placed, read_configuration

T = TypeVar("T")


def going_on(run: Path, asked: T) -> T:
    """The settings that a run goes on under: a file or folder that is named otherwise than in the
    run's own has an absolute path, as all that a run keeps.

    Raises RunError where the run names a file or folder that is not there any more, and nobody says
    where it lies now.
    """
    if not (run / RUN_FILE).is_file():
        return asked  # told by whoever opens the run
    saved, here = read_configuration(type(asked), run / RUN_FILE), placed(asked, say=False)
    named = {}
    for name in _places(type(asked)):
        was, now = value_of(saved, name), value_of(here, name)
        if value_of(asked, name) != was:
            named[name] = was if os.path.realpath(now) == os.path.realpath(was) else now
        elif _gone(was):
            raise RunError(
                f"{run} was made with {name} {was}, which is not there any more: put it back, or "
                f"name where it lies now, --{name.replace('_', '-')} PLACE"
            )
    return cast(T, changed(asked, named))


def _places(kind: type[Any]) -> tuple[str, ...]:
    """Settings that name a file or folder."""
    return (*settings_with(kind, FOLDER), *settings_with(kind, FILE))


def _gone(value: str) -> bool:
    """Whether a setting is the absolute path (of data, with their split) of nothing on the disk."""
    there = Path(value).exists() or Path(value.rpartition(":")[0] or value).exists()
    return Path(value).is_absolute() and not there


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
    # What lies elsewhere now may be named so; what a run read is known by a hash of it besides.
    different = [
        name
        for name in different
        if name not in _places(type(asked))
        or not _gone(value_of(saved, name))
        or not Path(value_of(asked, name).partition(":")[0]).is_absolute()
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
