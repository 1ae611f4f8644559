"""A command that the user names, run by the shell, and how long it may be silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO

SILENT_S = 1800.0
"""A command that writes nothing for so many seconds hangs."""
NOTICE_S = 60.0
"""After so many seconds it is said what is waited for."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int | None
    """None: it was ended because it hung."""
    output: str
    errors: str


def run_command(command: str, given: str) -> Done:
    """Run a command line of the user's by the shell, as he expects, with `given` as its input.

    It is ended with all its processes where it writes nothing for `SILENT_S` seconds, or where this
    process is stopped meanwhile.
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
            code = _wait(process, output)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Done(code, _text(output), _text(errors))


def _wait(process: subprocess.Popen[bytes], output: IO[bytes]) -> int | None:
    """The exit code; None where nothing was written for too long."""
    silent, written = 0.0, 0
    while True:
        try:
            return process.wait(NOTICE_S)
        except subprocess.TimeoutExpired:
            size = os.fstat(output.fileno()).st_size
            silent, written = (0.0, size) if size > written else (silent + NOTICE_S, written)
            if silent >= SILENT_S:
                return None
            print(
                f"waiting for the judge's command: {written} bytes so far; it is ended when it "
                f"writes nothing for {SILENT_S / 60:g} minutes",
                file=sys.stderr,
                flush=True,
            )


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
