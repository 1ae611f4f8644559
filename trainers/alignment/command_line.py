"""A command that the user names, run by the shell, and how long it may be silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO

from rayforge.readers.limits import MIB

SILENT_S = 1800.0
"""A command that writes nothing for so many seconds hangs."""
NOTICE_S = 60.0
"""After so many seconds it is said what is waited for."""
LOOK_S = 0.2
"""Seconds between looks at how much it has written."""
OUTPUT_MOST = 64 * MIB
"""Bytes that a command writes at most: a million answers are a fifth of it."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int | None
    """None: it was ended because it hung, or wrote too much."""
    output: str
    errors: str
    cut: bool
    """Whether it wrote more than `OUTPUT_MOST`."""


def run_command(command: str, given: str) -> Done:
    """Run a command line of the user's by the shell, as he expects, with `given` as its input.

    It is ended with all its processes where it writes nothing for `SILENT_S` seconds or more than
    `OUTPUT_MOST`, or where this process is stopped meanwhile.
    """
    with (
        tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):  # fmt: skip
        asked.write(given.encode())
        asked.seek(0)
        process = subprocess.Popen(
            command, shell=True, stdin=asked, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            code = _wait(process, output, errors)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        cut = max(_size(output), _size(errors)) > OUTPUT_MOST
        return Done(code, _text(output), _text(errors), cut)


def _wait(process: subprocess.Popen[bytes], output: IO[bytes], errors: IO[bytes]) -> int | None:
    """The exit code; None where nothing was written for too long, or too much."""
    begun = told = time.monotonic()
    written = 0
    while True:
        try:
            return process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if max(_size(output), _size(errors)) > OUTPUT_MOST:
                return None
            if _size(output) > written:
                begun, written = now, _size(output)
            if now - begun >= SILENT_S:
                return None
            if now - told < NOTICE_S:
                continue
            told = now
            print(
                f"waiting for the judge's command: {written} bytes so far; it is ended when it "
                f"writes nothing for {SILENT_S / 60:g} minutes",
                file=sys.stderr,
                flush=True,
            )


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(OUTPUT_MOST).decode(errors="replace")
