"""SIGTERM and Ctrl-C: one line, exit code 130, whatever the process is doing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainers.runs.stopping import BEFORE, resume_with, stoppable

BEGIN = """
import sys, time
from trainers.runs import stopping
from trainers.runs.stopping import asked, asking, limit, listening, stoppable
def ready():
    print("ready", flush=True)
def wait():
    ready()
    time.sleep(60)
"""
COMMAND = """
def command():
    {body}
try:
    with listening():
        command()
except KeyboardInterrupt as stop:
    print(f"rayforge: {{stop}}", file=sys.stderr)
    raise SystemExit(130)
"""
PLACES = {
    "before anything": ("wait()", BEFORE),
    "under way": ('with stoppable(lambda: "go on with: X"): wait()', "go on with: X"),
    "inside another's": (
        'with stoppable(lambda: "outer"), stoppable(lambda: "inner"): wait()', "outer",
    ),
    "where it is swallowed": (
        """with stoppable(lambda: "go on with: X"):
        try:
            limit.__defaults__ = (0.2,)
            wait()
        except BaseException:
            time.sleep(60)""",
        "go on with: X",
    ),
    "in a finaliser": (
        """with stoppable(lambda: "go on with: X"):
        class Slow:
            def __del__(self):
                wait()
        Slow()
        time.sleep(60)""",
        "go on with: X",
    ),
    "to the end of a step": (
        """with stoppable(lambda: "go on with: X"), asking(lambda name: None):
        ready()
        while not asked():
            time.sleep(0.01)""",
        "go on with: X",
    ),
}  # fmt: skip


def ended(code: str, number: signal.Signals, times: int = 1) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + COMMAND.format(body=code)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", list(PLACES))
def test_one_line_says_how_to_go_on(place: str, number: signal.Signals) -> None:
    code, line = PLACES[place]
    assert ended(code, number) == (130, f"rayforge: stopped by {number.name}; {line}\n")


@pytest.mark.parametrize("first", ["asking(lambda name: None)", 'stoppable(lambda: "inner")'])
def test_a_second_signal_ends_it_there(first: str) -> None:
    busy = f"""with stoppable(lambda: "go on with: X"), {first}:
        try:
            wait()
        finally:
            time.sleep(60)"""
    assert ended(busy, signal.SIGTERM, 2) == (
        130, "rayforge: stopped by SIGTERM; go on with: X\n",
    )  # fmt: skip


def test_a_command_is_stopped_while_it_imports() -> None:
    """As `timeout 0.5 rayforge ...`, before anything heavy is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers", "irl", "train", "--debug", "--run", "never"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    status, caught = Path(f"/proc/{process.pid}/status"), 1 << (signal.SIGTERM - 1)
    while not int(re.findall(r"SigCgt:\t(\w+)", status.read_text())[0], 16) & caught:
        time.sleep(0.01)  # Python itself takes a moment
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, f"rayforge: stopped by SIGINT; {BEFORE}\n")
    assert not Path("never").exists()


def test_the_line_names_what_is_there_to_go_on_with(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    line = resume_with("rayforge irl train", run)
    assert line() == BEFORE
    run.mkdir()
    (run / "config.yaml").touch()
    assert line() == f"go on with: rayforge irl train --resume '{run}'"


def test_a_callers_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(ZeroDivisionError), stoppable(lambda: "X"):
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in before} == before
