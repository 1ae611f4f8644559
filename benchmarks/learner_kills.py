"""A learner, or an aggregator, killed under the real command; what it comes to in the end.

    python -m benchmarks.learner_kills --out runs/learner_kills

Small agents on two processors: two learners, and one learner in the driver with a runner behind an
aggregator. A run goes to its end; another one's process of that kind is ended by SIGKILL in the
middle. A run that lost a learner has to end with a line that says how to go on, and is resumed; one
that lost an aggregator has to go on by itself. Weights, optimisers, replay, evaluations and the
figures of every iteration must be the undisturbed run's, bit by bit; where not, exit code 1.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
import tyro

from benchmarks.kills import agents_left
from envs.houses.dataset import write_houses
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent
from trainers.runs.checkpoint import latest

Kind = Literal["learner", "aggregator"]
TITLES = {"learner": "ray::_WrappedExecutable", "aggregator": "ray::Aggregator"}
"""How the titles of those processes begin."""


@dataclass(frozen=True)
class LearnerKills:
    """Kill one process of each kind."""

    out: Path
    """Folder of the runs; undisturbed ones that are whole already are taken as they are."""
    kinds: tuple[Kind, ...] = ("learner", "aggregator")

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        out = self.out.resolve()
        if not (out / "houses").is_dir():
            write_houses(out / "houses", train_houses=2, unseen_houses=1, paths_per_house=6, seed=0)
        small = small_agent(IRLConfig(data=str(out / "houses"), updates=12))
        small = replace(small, updates=12, checkpoint_minutes=0.0)
        settings = {
            "learner": replace(small, learners=2),
            "aggregator": replace(small, runners=1, aggregate_from=1),
        }
        wrong = 0
        for kind in self.kinds:
            file, whole, struck = (out / f"{kind}{end}" for end in (".yaml", "-whole", "-struck"))
            file.write_text(to_yaml(settings[kind]))
            if not (whole / "report.html").exists():
                _end(_started("--config", str(file), "--run", str(whole)))
            shutil.rmtree(struck, ignore_errors=True)
            middle = small.generator.updates + small.clone_updates + 4
            process = _started("--config", str(file), "--run", str(struck))
            _kill_at(process, struck, middle, TITLES[kind])
            said = process.communicate()[0].splitlines()[-1]
            print(f"a killed {kind}: exit code {process.returncode}, {said}", flush=True)
            if kind == "learner":
                assert process.returncode == 4 and "--resume" in said, said
                _end(_started("--resume", str(struck)))
            ours, theirs = agents_left(struck), agents_left(whole)
            differs = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
            print(f"  against the undisturbed run: {differs or 'equal, bit by bit'}", flush=True)
            wrong += bool(differs)
        raise SystemExit(bool(wrong))


def _started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainers.cli", "irl", "train", *words], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
    )  # fmt: skip


def _end(process: subprocess.Popen[str]) -> None:
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}:\n{said}")


def _kill_at(process: subprocess.Popen[str], run: Path, updates: int, title: str) -> None:
    """SIGKILL for a process of that title once the run has a checkpoint of so many updates."""
    while (kept := latest(run / "checkpoints")) is None or int(kept.name) < updates:
        if process.poll() is not None:
            raise SystemExit(f"the run ended too soon:\n{process.communicate()[0]}")
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children(recursive=True):
        if " ".join(child.cmdline()).startswith(title):
            os.kill(child.pid, signal.SIGKILL)
            return
    raise SystemExit(f"no process of the run is titled {title}")


if __name__ == "__main__":
    tyro.cli(LearnerKills)()
