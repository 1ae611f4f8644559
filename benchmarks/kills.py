"""Runs killed at random moments and resumed, against a run that nobody disturbed.

    python -m benchmarks.kills --kills 50

For agents and for alignment, at a small size: a run goes to its end; then runs of the same settings
are started and killed (SIGKILL) after a random time, up to five times each, and resumed to their
end. What they leave must be the same, bit for bit: of agents, networks, optimisers, replay, the
figures of every iteration and evaluations; of alignment, the model, pairs, responses and figures
of every round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from envs.houses.dataset import write_houses
from trainers.alignment.config import AlignConfig
from trainers.alignment.debugging import small_language_model
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent
from trainers.runs.checkpoint import latest

CHAIN = 5
"""Kills of one run at most."""
TIMED = ("time", "time_s")
Train = Callable[[Any, Path, bool, str], object]


def started(train: Train, config: Any, run: Path, log: Path) -> Any:
    """A process that begins the run or goes on with it, as its folder says."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_work, args=(train, config, run, log))
    process.start()
    return process


def _work(train: Train, config: Any, run: Path, log: Path) -> None:
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    train(config, run, (run / "config.yaml").is_file(), "benchmarks.kills")


def agents_left(run: Path) -> dict[str, Any]:
    """What a run of agents leaves, without times."""
    checkpoint = latest(run / "checkpoints")
    assert checkpoint is not None
    names = ("module.safetensors", "optimizers.safetensors", "replay.npz")
    found: dict[str, Any] = {name: (checkpoint / name).read_bytes() for name in names}
    for file in run.glob("evaluation_*.json"):
        found[file.name] = json.loads(file.read_text())["agents"]
    found |= {file.name: file.read_bytes() for file in run.glob("episodes_*.jsonl")}
    return {**found, "metrics": _metrics(run)}


def alignment_left(run: Path) -> dict[str, Any]:
    """What a run of alignment leaves, without times."""
    found: dict[str, Any] = {}
    for pattern in ("*.parquet", "review.json", "selection.json", "model/*.safetensors"):
        for file in run.glob(f"rounds/*/{pattern}"):
            found[str(file.relative_to(run))] = file.read_bytes()
    return {**found, "metrics": _metrics(run)}


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMED and "per_s" not in k}
        for line in lines
    ]


def tried(
    train: Train, left: Callable[[Path], dict[str, Any]], config: Any, out: Path, kills: int,
    rng: random.Random,
) -> tuple[int, int, int]:  # fmt: skip
    """Kills made, runs they were made in, and runs that did not end the same."""
    whole, log = out / "whole", out / "run.log"
    seconds = 0.0
    for _ in range(2):  # the first one also fills caches
        shutil.rmtree(whole, ignore_errors=True)
        began = time.perf_counter()
        process = started(train, config, whole, log)
        process.join()
        seconds = time.perf_counter() - began
        if process.exitcode:
            raise SystemExit(f"the run nobody disturbs ends with {process.exitcode}: see {log}")
    expected = left(whole)
    made = runs = other = 0
    while made < kills:
        run, own = out / f"run-{runs}", 0
        shutil.rmtree(run, ignore_errors=True)
        while True:
            process = started(train, config, run, log)
            if own < CHAIN and made < kills:
                process.join(rng.uniform(0, seconds))
            else:
                process.join()
            if process.exitcode is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            said = log.read_text().splitlines()
            own, made = own + 1, made + 1
            print(f"  kill {made} in {run.name}: {said[-1][:90] if said else '-'}", flush=True)
        runs += 1
        if process.exitcode:
            print(log.read_text(), file=sys.stderr)
        found = left(run) if process.exitcode == 0 else {}
        differs = sorted(
            k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)
        )
        other += bool(differs)
        print(f"  {run.name}: {own} kills, {differs or 'equal'}", flush=True)
        if not differs:
            shutil.rmtree(run)
    return made, runs, other


def main() -> None:
    """Print a table; exit code 1 where a run did not end as the undisturbed one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="of each kind")
    parser.add_argument("--kinds", nargs="*", default=["agents", "alignment"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    asked = parser.parse_args()
    out = asked.out.resolve()
    houses = out / "houses"
    if not houses.is_dir():
        write_houses(houses, train_houses=2, unseen_houses=1, paths_per_house=6, seed=0)
    multiprocessing.set_forkserver_preload(["trainers.alignment.run", "trainers.irl.run"])
    agents = replace(small_agent(IRLConfig(data=str(houses))), checkpoint_minutes=0.0)
    alignment = replace(small_language_model(AlignConfig(method="sera")), checkpoint_steps=1)
    from trainers.alignment.run import train as train_alignment
    from trainers.irl.run import train as train_agents

    kinds = {
        "agents": partial(tried, train_agents, agents_left, agents),
        "alignment": partial(tried, train_alignment, alignment_left, alignment),
    }
    print("| runs of | killed | runs | ended otherwise | wall |\n|---|---|---|---|---|")
    wrong = 0
    for kind in asked.kinds:
        began = time.perf_counter()
        place = out / kind
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        made, runs, other = kinds[kind](place, asked.kills, random.Random(asked.seed))
        wrong += other
        minutes = (time.perf_counter() - began) / 60
        print(f"| {kind} | {made} | {runs} | {other} | {minutes:.1f} min |", flush=True)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
