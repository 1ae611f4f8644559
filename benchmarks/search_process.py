"""`rayforge tune` as a process: what it said and when, what it took, and how to kill all of it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

Said = Sequence[tuple[float, str]]
"""Lines of output, each with its time in seconds of the epoch."""

_TRIAL = re.compile(r"trial +(\d+)  (starts|report|is finished|was stopped early)")


def started(said: Said) -> set[int]:
    """The numbers of the trials that began, or went on."""
    return {number for _, number, what in _events(said) if what == "starts"}


def reported(said: Said) -> set[int]:
    """The numbers of the trials that made a report."""
    return {number for _, number, what in _events(said) if what == "report"}


def ended(said: Said, until: float = float("inf")) -> set[int]:
    """The numbers of the trials that were finished or stopped early until then."""
    ends = ("is finished", "was stopped early")
    return {number for at, number, what in _events(said) if what in ends and at <= until}


def _events(said: Said) -> list[tuple[float, int, str]]:
    found = [(at, _TRIAL.match(line)) for at, line in said]
    return [(at, int(match[1]), match[2]) for at, match in found if match]


class Command:
    """A running `rayforge` command; its output goes to a file and, line by line, to ours."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.said: list[tuple[float, str]] = []
        self.seconds = 0.0
        self._start = time.monotonic()
        self._taken: dict[tuple[int, float], float] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainers.cli", *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=dict(environment),
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._relay, self._measure)
        ]
        for thread in self._threads:
            thread.start()

    def runs(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> Command:
        """Wait for its end. Raises RuntimeError with its last line where it failed."""
        code = self._process.wait()
        self._finish()
        if code:
            last = self.said[-1][1] if self.said else "no output"
            raise RuntimeError(f"a search ended with {code}: {last} (all of it: {self.log})")
        return self

    def kill(self) -> None:
        """SIGKILL to the process and to every one below it: Ray's daemons, workers, actors."""
        driver = psutil.Process(self._process.pid)
        below = driver.children(recursive=True)
        for process in (driver, *below):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it went with those above it
        self._process.wait()
        psutil.wait_procs(below, timeout=30)
        self._finish()

    @property
    def processor_seconds(self) -> float:
        """Processor time of all processes of this command, and of a Ray that this process started,
        while it ran; sampled, so the last second of a process is missing."""
        return sum(self._taken.values())

    def _finish(self) -> None:
        self.seconds = time.monotonic() - self._start
        for thread in self._threads:
            thread.join(30)  # longer only where a daemon that outlived the command holds its output

    def _relay(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("a") as log:
            for line in self._process.stdout:
                self.said.append((time.time(), line.rstrip("\n")))
                log.write(line)
                log.flush()
                print(f"[{self.log.stem}] {line}", end="", flush=True)

    def _measure(self) -> None:
        before = _processor_times()
        while self.runs():
            for key, seconds in _processor_times().items():
                self._taken[key] = seconds - before.get(key, 0.0)
            time.sleep(1)


def _processor_times() -> dict[tuple[int, float], float]:
    """Processor seconds so far of every process below this one, by its id and its start."""
    times = {}
    for process in psutil.Process().children(recursive=True):
        try:
            spent = process.cpu_times()
            times[process.pid, process.create_time()] = spent.user + spent.system
        except psutil.NoSuchProcess:
            continue
    return times
