"""Roll-outs beside updates against roll-outs in turn with them: speed, and what is learnt.

    python -m benchmarks.beside --out runs/beside

Of each seed an agent is trained on generated houses twice, with one runner and the learner on a
processor each: in turn (`--staleness 0`), and beside (a round ahead). Both roll as many episodes
out and make as many updates. Steps a second are those of the adversarial phase, by the clock.
Runs that are whole already are taken as they are. Writes beside.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from envs.houses.dataset import write_houses
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.runs.folder import hardware

ALONE = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
"""A processor each: Ray's choice is that workers yield to whatever else runs, the learner, too."""


@dataclass(frozen=True)
class Trained:
    """A run and its figures."""

    seed: int
    staleness: int
    env_steps: int
    steps_a_second: float
    updates_a_second: float
    success: dict[str, float]
    importance: dict[str, float]
    """Means over the rounds; of a run in turn there are none."""


@dataclass(frozen=True)
class Beside:
    """Train every seed both ways."""

    out: Path
    """Folder for runs and beside.json."""
    seeds: tuple[int, ...] = (0, 1, 2)
    updates: int = 64
    hidden: int = 48

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        houses = self.out / "houses"
        if not houses.exists():
            write_houses(houses, train_houses=6, unseen_houses=2, paths_per_house=40, seed=0)
        base = IRLConfig(
            data=str(houses), network=NetworkConfig(word=64, hidden=self.hidden),
            generator=GeneratorConfig(word=64, hidden=self.hidden, updates=80),
            clone_updates=200, updates=self.updates, warm_up=8, runners=1, threads=1,
            batch=64, episodes_per_iteration=192, evaluate=("val_seen", "val_unseen"),
        )  # fmt: skip
        runs = []
        for seed in self.seeds:
            for staleness in (0, base.updates_per_iteration):
                config = replace(base, seed=seed, staleness=staleness)
                runs.append(train(config, self.out))
                print(runs[-1], flush=True)
        document = {"hardware": hardware(), "runs": [asdict(run) for run in runs]}
        (self.out / "beside.json").write_text(json.dumps(document, indent=1) + "\n")
        print(report(runs))


def train(config: IRLConfig, out: Path) -> Trained:
    """A run of the real command."""
    run = out / f"seed{config.seed}-staleness{config.staleness}"
    settings = run.with_suffix(".yaml")
    settings.write_text(to_yaml(config))
    if not (run / "report.html").exists():
        shutil.rmtree(run, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "trainers.cli", "irl", "train", "--config", str(settings),
             "--run", str(run)],
            check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ALONE},
        )  # fmt: skip
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records = [r for r in map(json.loads, lines) if r["phase"] == "irl"]
    return figures_of(config, records, {name: _success(run, name) for name in config.evaluate})


def _success(run: Path, split: str) -> float:
    document = json.loads((run / f"evaluation_{split}.json").read_text())
    return float(document["agents"]["agent"]["success"]["mean"])


def figures_of(
    config: IRLConfig, records: list[dict[str, Any]], success: dict[str, float]
) -> Trained:
    """Speed from the second round on: the first one starts processes and is waited for."""
    first, last = records[0], records[-1]
    seconds = last["time_s"] - first["time_s"]
    names = [name for name in last if name.startswith("rollout/importance_")]
    return Trained(
        config.seed, config.staleness, last["env_steps"],
        (last["env_steps"] - first["env_steps"]) / seconds,
        (last["updates"] - first["updates"]) / seconds, success,
        {n.removeprefix("rollout/importance_"): float(np.mean([r[n] for r in records]))
         for n in names},
    )  # fmt: skip


def report(runs: list[Trained]) -> str:
    """A row for each run and the means of both ways, as Markdown."""
    splits = list(runs[0].success)
    lines = [
        "| seed | staleness | env steps | steps/s | updates/s | "
        + " | ".join(f"success, {split}" for split in splits)
        + " | importance: mean, max, effective share |",
        "|---" * (6 + len(splits)) + "|",
    ]
    for run in runs:
        shown = ", ".join(f"{run.importance[n]:.2f}" for n in run.importance)
        lines.append(
            f"| {run.seed} | {run.staleness} | {run.env_steps:,} | {run.steps_a_second:.0f} "
            f"| {run.updates_a_second:.2f} | "
            + " | ".join(f"{run.success[split]:.3f}" for split in splits)
            + f" | {shown} |"
        )
    for staleness in sorted({run.staleness for run in runs}):
        own = [run for run in runs if run.staleness == staleness]
        lines.append(
            f"| mean | {staleness} | {np.mean([r.env_steps for r in own]):,.0f} "
            f"| {np.mean([r.steps_a_second for r in own]):.0f} "
            f"| {np.mean([r.updates_a_second for r in own]):.2f} | "
            + " | ".join(f"{np.mean([r.success[s] for r in own]):.3f}" for s in splits)
            + " | |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Beside)()
