"""SIGTERM and Ctrl-C: at every moment one line that says how to go on, and exit code 130.

Everything that RayForge keeps is written whole or not at all, so a process may end anywhere. Where
nothing has begun, a signal ends it at once: imports and readers turn an exception that comes out of
nowhere into tracebacks of their own. Inside `stoppable` a signal raises KeyboardInterrupt, for Ray,
trackers and files to be closed; a second one, or `PATIENCE_S` seconds, ends the process there too.
Imports nothing but Python's own, for the very first moment of a command.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE = 130
PATIENCE_S = 30.0
"""Seconds that what a signal interrupts has to close what is open."""
BEFORE = "nothing to go on with yet: give the same command again"

Line = Callable[[], str]


@dataclass
class _Now:
    """What is under way in this process."""

    command: bool = False
    """Whether a command listens; else the process is somebody's Python."""
    lines: list[Line] = field(default_factory=list)
    """How to go on with it, the outermost first: that began the others."""
    asked: str = ""
    """The signal that came."""
    timer: threading.Timer | None = None


_now = _Now()


def how_to_go_on() -> str:
    """What was stopped, and how to go on with it."""
    by = f"stopped by {_now.asked}" if _now.asked else "stopped"
    return f"{by}; {_now.lines[0]() if _now.lines else BEFORE}"


def resume_with(command: str, run: Path) -> Line:
    """How to go on with a run: `command --resume RUN`, or where it has not begun, how to begin."""

    def line() -> str:
        begun = (run / "config.yaml").is_file()
        return f"go on with: {command} --resume {shlex.quote(str(run))}" if begun else BEFORE

    return line


def asked() -> bool:
    """Whether a signal has asked what is under way to end."""
    return bool(_now.asked)


@contextmanager
def listening() -> Iterator[None]:
    """Take SIGTERM and SIGINT over for a command, where that is not so already."""
    if _now.command:
        yield
        return
    hook, sys.unraisablehook = sys.unraisablehook, _take_unraisable
    _now.command, _now.asked = True, ""
    try:
        with _handled(_take):
            yield
    finally:
        _now.command = False
        sys.unraisablehook = hook


@contextmanager
def stoppable(line: Line) -> Iterator[None]:
    """A block that a signal interrupts. The KeyboardInterrupt that leaves it says how to go on with
    what was under way: by the `line` of the outermost such block."""
    if not _now.lines and not _now.command:
        _now.asked = ""
    _now.lines.append(line)
    try:
        with _handled(_take):
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how_to_go_on()) from None
    finally:
        _now.lines.pop()
        if _now.timer is not None and not _now.command:  # a caller of Python's goes on as it likes
            _now.timer.cancel()


@contextmanager
def asking(notice: Callable[[str], None]) -> Iterator[None]:
    """A block that ends by itself soon after the first signal, whose name `notice` is given; the
    second one ends the process at once. The KeyboardInterrupt is raised when the block is left."""

    def take(number: int, frame: FrameType | None) -> None:
        if _now.asked:
            end_now()
        _now.asked = signal.Signals(number).name
        notice(_now.asked)

    with _handled(take):
        yield
    if _now.asked:
        limit()
        raise KeyboardInterrupt


def limit(seconds: float = PATIENCE_S) -> None:
    """From now on the process has so many seconds to end by itself."""
    _now.timer = threading.Timer(seconds, end_now)
    _now.timer.daemon = True
    _now.timer.start()


def end_now() -> None:
    """End the process here, with its line: no block is left, nothing is closed."""
    os.write(2, f"rayforge: {how_to_go_on()}\n".encode())
    os._exit(EXIT_CODE)


def _take(number: int, frame: FrameType | None) -> None:
    if _now.asked or not _now.lines:
        _now.asked = _now.asked or signal.Signals(number).name
        end_now()
    _now.asked = signal.Signals(number).name
    limit()
    raise KeyboardInterrupt


def _take_unraisable(about: sys.UnraisableHookArgs) -> None:
    """A KeyboardInterrupt in a finaliser or a callback is lost: nothing would end the process."""
    if about.exc_type is KeyboardInterrupt:
        end_now()
    sys.__unraisablehook__(about)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Both signals go to `handler`; only Python's main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
