"""SIGTERM and Ctrl-C at every moment of four kinds of run, at a small size.

    python -m benchmarks.signals --moments 20

Each kind (irl train, align train with a worker, tune, irl adapt) is run once to its end. Then it is
started anew for each moment, spread evenly from 0.3 s to a little before that end, gets SIGTERM or
SIGINT in turn, and every fourth time a second one half a second later. A stop is right where the
exit code is 130 and the command said exactly one line of its own on how to go on, and no traceback.
A run that was over before its moment is counted apart: on a busy machine the times differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from trainers.configuration import to_dict
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent

FIRST_S = 0.3
"""The first moment: Python itself takes some of it to begin."""
SECOND_S = 0.5
NEW = "house00002"
REMEDIES = ("go on with: ", "the same command goes on: ", "give the same command again")
ALIGN = (
    "--rounds", "2", "--steps", "4", "--batch", "8", "--prompts", "8", "--responses", "2",
    "--evaluation-prompts", "4", "--max-new-tokens", "32", "--threads", "1", "--workers", "1",
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
        "tune": lambda run: command("tune", str(file), "--storage", str(run)),
        "irl adapt": lambda run: command(
            "irl", "adapt", str(trained), "--scans", NEW, "--out", str(run), *ADAPT
        ),
    }


def start(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def stop_at(kind: str, words: Sequence[str], after_s: float, number: int) -> Stop:
    """Start a run, send it a signal after so many seconds, and see how it ends."""
    process = start(words)
    sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
    twice = number % 4 == 3
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)
    began = time.perf_counter()
    if twice:
        try:
            process.wait(SECOND_S)
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
    _, errors = process.communicate()
    said = [line for line in errors.splitlines() if line.startswith("rayforge: ")]
    one = len(said) == 1 and said[0].startswith(f"rayforge: stopped by {sent.name}; ")
    right = (
        process.returncode == 130 and one and any(remedy in said[0] for remedy in REMEDIES)
        and "Traceback" not in errors
    )  # fmt: skip
    over = process.returncode == 0
    if not right and not over:
        print(errors, file=sys.stderr)
    return Stop(
        kind, after_s, sent.name + (" twice" if twice else ""), process.returncode,
        said[0] if said else "", time.perf_counter() - began, right, over,
    )  # fmt: skip


def main() -> None:
    """Print the table; exit code 1 where a stop was not right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", help="some of the four")
    parser.add_argument("--out", type=Path, default=Path("runs/signals"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    made, stops = kinds(asked.out.resolve()), []
    for kind in asked.kinds or made:
        run = asked.out.resolve() / "run"
        shutil.rmtree(run, ignore_errors=True)
        began = time.perf_counter()
        process = start(made[kind](run))
        _, errors = process.communicate()
        whole = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{kind} ends with {process.returncode}: {errors}")
        print(f"{kind}: {whole:.1f} s to its end", flush=True)
        for number in range(asked.moments):
            shutil.rmtree(run, ignore_errors=True)
            after = FIRST_S + (0.97 * whole - FIRST_S) * number / max(1, asked.moments - 1)
            stop = stop_at(kind, made[kind](run), after, number)
            stops.append(stop)
            mark = "over" if stop.over else "right" if stop.right else "WRONG"
            print(
                f"  {after:6.1f} s  {stop.sent:14} {mark:6} code {stop.code}  ended after "
                f"{stop.took_s:4.1f} s  {stop.said.replace(str(asked.out.resolve()), '')[:120]}",
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
