"""Writing files and folders whole or not at all.

What is under way has a temporary name beside its own, `.NAME.PID.part`. When its bytes are on the
disk it gets its own name, and the folder that holds the name is flushed too: a rename that only
memory knows of is lost with the power.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rayforge.errors import ConfigurationError

_DAY_S = 86_400.0


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name, flush it to the disk, then give it its name.

    Whatever happens on the way (a full disk, a kill), `path` holds its old content or the new one.
    """
    with whole_file(path) as part, part.open("wb") as stream:
        write(stream)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name with the same ending, for what writes a file by its name; when the block is
    left without an error, the file gets the name `path`.

    Raises ConfigurationError where a device or a pipe has that name: the file would take its place.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ConfigurationError(f"{path} is a device or a pipe: name a file")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        _flush(part)
        part.replace(path)
        _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder under a temporary name; when the block is left without an error, it gets the
    name `folder`.

    With `replace` it takes the place of what stands there, and that is removed only after it. Else
    a folder that stands there by then (another process made the same one meanwhile) stays, and
    this one is dropped. Raises OSError where the disk does not take it.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for place, _, names in os.walk(part):
            for name in names:
                _flush(Path(place) / name)
            _flush(Path(place))
        if replace and folder.exists():
            folder.rename(old)
            try:
                part.rename(folder)
            except OSError:
                old.rename(folder)
                raise
        else:
            try:
                part.rename(folder)
            except OSError:
                if replace or not folder.is_dir():
                    raise
        _flush(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_replaceable(folder: Path, mark: str) -> None:
    """Raises ConfigurationError for a folder that is there and is not one of those that may be
    replaced: they are empty, or hold the file `mark`."""
    if folder.is_dir() and not (folder / mark).is_file() and any(folder.iterdir()):
        raise ConfigurationError(
            f"{folder} holds something else (it has no {mark}), which would be lost: name a new "
            "folder"
        )


def clear_parts(folder: Path, *, below: bool = False, older_than_s: float = _DAY_S) -> None:
    """Remove what kills left half-written in a folder, with `below` in those that it holds as well:
    temporary names of that age and more.

    Whoever holds a folder alone (the lock of a run) clears with 0 seconds.
    """
    if not folder.is_dir():
        return
    for pattern in (".*.part", ".*.part.*"):
        for part in list(folder.rglob(pattern) if below else folder.glob(pattern)):
            try:
                if time.time() - part.lstat().st_mtime < older_than_s:
                    continue
            except OSError:
                continue  # its own process removed it meanwhile
            remove(part)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        # Some network file systems flush no folders; they keep names by themselves.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)


def write_bytes(path: Path, data: bytes) -> None:
    write_whole(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> None:
    """A text in UTF-8. What stands for bytes that are no text, as in the name of a folder, is
    written as JSON escapes it."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def lies_in(file: Path, folder: Path) -> bool:
    """Whether `file`, links followed, is in `folder` or below, there or not. A name that no file
    can have (with a zero byte, or of links that lead to each other) is not; names come from files
    of others."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
