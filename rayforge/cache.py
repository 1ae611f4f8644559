"""The user's cache: what is made once and kept, `rayforge/` in $XDG_CACHE_HOME or in ~/.cache."""

from __future__ import annotations

import os
from pathlib import Path

from rayforge.errors import MachineError
from rayforge.files import clear_parts

_REMEDY = "set XDG_CACHE_HOME to a folder that can be written"


def cache_folder(*names: str) -> Path:
    """The folder of this name in the cache, which need not be there yet.

    Raises MachineError where neither XDG_CACHE_HOME nor a home folder says where the cache is.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache").joinpath("rayforge", *names)
    except RuntimeError:  # a user without HOME and without an entry in /etc/passwd
        raise MachineError(f"there is no home folder for the cache: {_REMEDY}") from None


def make_cache_folder(*names: str) -> Path:
    """The same folder, there and writable, without what kills left in it.

    Raises MachineError where it cannot be written: for what a run cannot do without.
    """
    folder = cache_folder(*names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"no right to write there: {folder}")
    except OSError as error:
        reason = error.strerror or error
        raise MachineError(f"the cache {folder} cannot be written ({reason}): {_REMEDY}") from None
    clear_parts(folder)
    return folder
