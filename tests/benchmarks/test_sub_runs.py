"""Sub-runs in order: what waits for what, what fails, a deadline. Real processes, small ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import sub_runs
from benchmarks.sub_runs import finished, run_all, same_settings
from rayforge.errors import RunError

PROCESS = """
import signal, sys, time
from pathlib import Path
run, seconds, code = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
def stop(number, frame):
    (run / "checkpoint").write_text("")
    raise SystemExit(130)
signal.signal(signal.SIGTERM, stop)
(run.parent / "order").open("a").write(run.name + " ")
print("begun", flush=True)
time.sleep(seconds)
if not code:
    (run / "report.html").write_text("")
raise SystemExit(code)
"""


@pytest.fixture(autouse=True)
def small_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a training run: something that takes its command's seconds."""

    def start(run: Path, command: list[str]) -> subprocess.Popen[str]:
        run.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(run), *command], stdout=subprocess.PIPE, text=True
        )

    monkeypatch.setattr(sub_runs, "_start", start)


def test_a_run_waits_for_the_one_it_begins_from_and_others_go_first(tmp_path: Path) -> None:
    first, second, free = (tmp_path / name for name in ("first", "second", "free"))
    runs = {first: ["0.6", "0"], second: ["0", "0"], free: ["0", "0"]}
    assert run_all(runs, 2, after={second: first}) == []
    assert (tmp_path / "order").read_text().split().index("second") == 2
    assert (first / "train.log").read_text() == "begun\n"


def test_what_waits_for_a_run_that_failed_is_left_out(tmp_path: Path) -> None:
    bad, waits, free = (tmp_path / name for name in ("bad", "waits", "free"))
    runs = {bad: ["0", "1"], waits: ["0", "0"], free: ["0.5", "0"]}
    with pytest.raises(RuntimeError, match=r"1 runs failed; their output: .*bad/train.log"):
        run_all(runs, 2, after={waits: bad})
    assert finished(free) and not finished(waits)
    assert "waits" not in (tmp_path / "order").read_text()


def test_at_the_deadline_runs_are_stopped_with_a_checkpoint(tmp_path: Path) -> None:
    quick, slow, never = (tmp_path / name for name in ("quick", "slow", "never"))
    runs = {quick: ["0", "0"], slow: ["60", "0"], never: ["0", "0"]}
    left = run_all(runs, 1, deadline=time.monotonic() + 6)
    assert left == [slow, never]
    assert finished(quick) and (slow / "checkpoint").exists()
    assert not finished(never)
    runs[slow] = ["0", "0"]
    assert run_all(runs, 1) == [], "the same call goes on"


def test_a_benchmark_that_is_told_to_end_ends_its_runs(tmp_path: Path) -> None:
    run = tmp_path / "slow"

    def tell() -> None:
        while not (run / "train.log").exists() or not (run / "train.log").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=tell, daemon=True).start()
    with pytest.raises(SystemExit):
        run_all({run: ["60", "0"]}, 1)
    assert (run / "checkpoint").exists() and not finished(run)
    assert signal.getsignal(signal.SIGTERM) is before


def test_parts_of_other_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    asked = {"updates": 800, "episodes": 300, "data": tmp_path}
    same_settings(tmp_path, asked)
    same_settings(tmp_path, asked)
    with pytest.raises(RunError, match="parts made with episodes 300: ask for that"):
        same_settings(tmp_path, {**asked, "episodes": 150})
