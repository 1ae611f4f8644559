"""Trials over two nodes on this machine, one of which is killed on the way.

    python -m benchmarks.analysis_fanout --out runs/fanout [--trials 200]

Two Ray nodes with a core each run trials of a fixed amount of arithmetic. When a quarter of the
rows are there, the second node's processes are killed. Every row must be there once. Efficiency is
the time of the same trials in plain processes, one a core, over that of the fan-out without a kill.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import trainers  # noqa: F401  (before Ray, which then listens on loopback alone)
from trainers.analysis.trials import ROWS, run_trials


@dataclass(frozen=True)
class FanoutConfig:
    out: Path
    trials: int = 200
    size: int = 300
    """Side of the matrices that a trial multiplies."""
    rounds: int = 60
    """Products of a trial."""


def arithmetic(trial: tuple[int, int, int]) -> dict[str, Any]:
    """A trial: products of matrices that its seed makes."""
    seed, size, rounds = trial
    values = np.random.default_rng(seed).normal(size=(size, size))
    for _ in range(rounds):
        values = values @ values
        values /= np.abs(values).max()
    return {"seed": seed, "sum": float(values.sum())}


def _trials(config: FanoutConfig) -> dict[str, tuple[int, int, int]]:
    return {f"seed {k}": (k, config.size, config.rounds) for k in range(config.trials)}


def _plain_worker(jobs: list[tuple[int, int, int]]) -> None:
    for job in jobs:
        arithmetic(job)


def plain_seconds(config: FanoutConfig) -> float:
    """Two plain processes, half of the trials each."""
    jobs = list(_trials(config).values())
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_plain_worker, args=(jobs[k::2],)) for k in range(2)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def fanned_out(config: FanoutConfig, folder: Path, kill: bool) -> tuple[float, dict[str, Any]]:
    """Seconds of the trials on two nodes, and their rows; `kill` the second node on the way."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    cluster.wait_for_nodes()
    # Both nodes have a process before the clock runs.
    warm = {f"warm {k}": (k, 8, 1) for k in range(4)}
    run_trials(arithmetic, warm, folder / "warm", 2)
    gone = threading.Event()

    def killer() -> None:
        file = folder / ROWS
        while not gone.wait(0.1):
            if file.is_file() and file.read_text().count("\n") >= config.trials // 4:
                cluster.remove_node(other, allow_graceful=False)
                gone.set()

    if kill:
        threading.Thread(target=killer, daemon=True).start()
    began = time.perf_counter()
    rows = run_trials(arithmetic, _trials(config), folder, 2)
    took = time.perf_counter() - began
    killed = gone.is_set()
    gone.set()
    ray.shutdown()
    cluster.shutdown()
    return took, {"rows": rows, "killed": killed}


def main(config: FanoutConfig) -> dict[str, Any]:
    config.out.mkdir(parents=True, exist_ok=True)
    plain = plain_seconds(config)
    took, _ = fanned_out(config, config.out / "whole", kill=False)
    with_kill, found = fanned_out(config, config.out / "killed", kill=True)
    lines = (config.out / "killed" / ROWS).read_text().splitlines()
    seeds = [json.loads(line)["seed"] for line in lines]
    document = {
        "trials": config.trials, "plain_s": plain, "fan_out_s": took, "efficiency": plain / took,
        "with_a_kill_s": with_kill, "node_killed": found["killed"],
        "rows": len(lines), "every_row_once": sorted(seeds) == list(range(config.trials)),
    }  # fmt: skip
    (config.out / "fanout.json").write_text(json.dumps(document, indent=1) + "\n")
    print(
        f"{config.trials} trials: {plain:.1f} s in two plain processes, {took:.1f} s fanned out "
        f"(efficiency {plain / took:.2f}), {with_kill:.1f} s with one node killed "
        f"({'killed' if found['killed'] else 'NOT killed'}); {len(lines)} rows, each once: "
        f"{document['every_row_once']}"
    )
    return document


if __name__ == "__main__":
    main(tyro.cli(FanoutConfig))
