"""SIGTERM and Ctrl-C at every moment of four kinds of run, at a small size.

    python -m benchmarks.signals --moments 20

Each kind (irl train, align train, tune, irl adapt) is run once to its end, then started anew for
each moment. A quarter of the moments lie in the first seconds of the command itself, when it
imports; the others are spread evenly over the run, in a process that has imported everything
already. SIGTERM and SIGINT come in turn, every fourth time a second one half a second later. A stop
is right where the exit code is 130 and the command said exactly one line of its own on how to go
on, and no traceback. A run that was over before its moment is counted apart: on a busy machine the
times differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainers.configuration import to_dict
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent

FIRST_S = (0.3, 0.7, 1.5, 3.0, 5.0)
"""Moments of a command that imports; Python itself takes some of the first to begin."""
SECOND_S = 0.5
NEW = "house00002"
REMEDIES = ("go on with: ", "the same command goes on: ", "give the same command again")
ALIGN = (
    "--method", "sera", "--rounds", "2", "--steps", "4", "--batch", "8", "--prompts", "8",
    "--responses", "2", "--evaluation-prompts", "4", "--max-new-tokens", "32", "--threads", "1",
    "--routes.pairs", "64", "--routes.start-routes", "64", "--routes.test-routes", "8",
    "--start.steps", "8", "--start.clean-steps", "8", "--start.batch", "8",
)  # fmt: skip
ADAPT = (
    "--paths", "6", "--candidates", "2", "--agreement", "0", "--agnostic-updates", "4",
    "--clone-updates", "4", "--updates", "4",
)  # fmt: skip


@dataclass(frozen=True)
class Stop:
    """One moment of one kind of run."""

    kind: str
    after_s: float
    sent: str
    code: int
    said: str
    took_s: float
    right: bool
    over: bool


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "trainers", *words]


def kinds(place: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Each kind's command, given a folder for the run; makes what all of them read."""
    houses, trained, file = place / "houses", place / "trained", place / "small.yaml"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    sizes = ("--train-houses", "2", "--unseen-houses", "1", "--paths-per-house", "6")
    if not houses.is_dir():
        subprocess.run(command("houses", str(houses), *sizes), check=True, env=environment)
    debug = ("irl", "train", "--debug", "--data", str(houses))
    if not (trained / "report.html").is_file():
        shutil.rmtree(trained, ignore_errors=True)
        subprocess.run(command(*debug, "--run", str(trained)), check=True, env=environment)
    small = to_dict(small_agent(IRLConfig(data=str(houses), evaluate=("val_unseen",))))
    search = {
        "system": "irl", "base": json.loads(json.dumps(small)), "trials": 2, "reports": 2,
        "space": {"learning_rate": {"loguniform": [1e-3, 1e-2]}}, "cpus": 2, "concurrent": 1,
        "metrics": {"val_unseen/success": "max"},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(search))
    return {
        "irl train": lambda run: command(*debug, "--run", str(run)),
        "align train": lambda run: command("align", "train", *ALIGN, "--run", str(run)),
        "align train, a worker": lambda run: command(
            "align", "train", *ALIGN, "--workers", "1", "--run", str(run)
        ),
        "tune": lambda run: command("tune", str(file), "--storage", str(run)),
        "irl adapt": lambda run: command(
            "irl", "adapt", str(trained), "--scans", NEW, "--out", str(run), *ADAPT
        ),
    }


class Started:
    """A command that runs: by itself, or in a process that has imported everything."""

    def __init__(self, words: Sequence[str], out: Path, imported: bool) -> None:
        self.said, self.began = out / "stderr", time.perf_counter()
        self.process: Any = None
        if imported:
            context = multiprocessing.get_context("forkserver")
            self.process = context.Process(target=_work, args=(list(words[3:]), self.said))
            self.process.start()
            return
        with self.said.open("w") as stream:
            self.command = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, or None where it still runs after so many seconds."""
        if self.process is not None:
            self.process.join(seconds)
            code: int | None = self.process.exitcode
            return code
        try:
            return self.command.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        pid = self.command.pid if self.process is None else self.process.pid
        assert pid is not None
        os.kill(pid, number)


def _work(arguments: list[str], said: Path) -> None:
    os.setsid()
    with said.open("w") as errors, Path(os.devnull).open("w") as nothing:
        os.dup2(errors.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    sys.argv = ["rayforge", *arguments]
    from trainers.__main__ import main as run

    run()


def stop_at(
    kind: str, words: Sequence[str], out: Path, after_s: float, number: int, imported: bool
) -> Stop:
    """Start a run, send it a signal after so many seconds, and see how it ends."""
    started = Started(words, out, imported)
    sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
    twice = number % 4 == 3
    code = started.wait(after_s)
    began = time.perf_counter()
    if code is None:
        started.send(sent)
        if twice and started.wait(SECOND_S) is None:
            started.send(sent)
        code = started.wait()
    assert code is not None
    errors = started.said.read_text(errors="replace")
    said = [line for line in errors.splitlines() if line.startswith("rayforge: ")]
    one = len(said) == 1 and said[0].startswith(f"rayforge: stopped by {sent.name}; ")
    right = (
        code == 130 and one and any(remedy in said[0] for remedy in REMEDIES)
        and "Traceback" not in errors
    )  # fmt: skip
    over = code == 0
    if not right and not over:
        print(errors, file=sys.stderr)
    return Stop(
        kind, after_s, sent.name + (" twice" if twice else ""), code, said[0] if said else "",
        time.perf_counter() - began, right, over,
    )  # fmt: skip


def main() -> None:
    """Print the table; exit code 1 where a stop was not right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", help="some of the four")
    parser.add_argument("--seconds", type=float, default=0.0, help="a run's, where it is known")
    parser.add_argument("--out", type=Path, default=Path("runs/signals"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    multiprocessing.set_forkserver_preload(["trainers.irl.run", "trainers.alignment.run"])
    out = asked.out.resolve()
    made, stops = kinds(out), []
    for kind in asked.kinds or [kind for kind in made if "," not in kind]:
        run = out / "run"
        whole = asked.seconds
        while not whole:
            shutil.rmtree(run, ignore_errors=True)
            first = Started(made[kind](run), out, True)
            if code := first.wait():
                raise SystemExit(f"{kind} ends with {code}: {first.said.read_text()}")
            whole = time.perf_counter() - first.began
        print(f"{kind}: {whole:.1f} s to its end", flush=True)
        early = FIRST_S[: asked.moments // 4]
        rest = asked.moments - len(early)
        moments = [*early, *(0.97 * whole * (k + 0.5) / rest for k in range(rest))]
        for number, after in enumerate(moments):
            shutil.rmtree(run, ignore_errors=True)
            imported = number >= len(early)
            stop = stop_at(kind, made[kind](run), out, after, number, imported)
            stops.append(stop)
            mark = "over" if stop.over else "right" if stop.right else "WRONG"
            print(
                f"  {after:6.1f} s  {stop.sent:14} {mark:6} code {stop.code}  ended after "
                f"{stop.took_s:4.1f} s  {stop.said.replace(str(out), '')[:120]}",
                flush=True,
            )
    print("\n| run | stops | right | over before it | longest end |\n|---|---|---|---|---|")
    for kind in dict.fromkeys(stop.kind for stop in stops):
        own = [stop for stop in stops if stop.kind == kind]
        print(
            f"| {kind} | {len(own)} | {sum(s.right for s in own)} | {sum(s.over for s in own)} | "
            f"{max(s.took_s for s in own):.1f} s |"
        )
    raise SystemExit(any(not stop.right and not stop.over for stop in stops))


if __name__ == "__main__":
    main()
