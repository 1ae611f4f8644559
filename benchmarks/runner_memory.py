"""Memory of a process that rolls out, round by round.

    python -m benchmarks.runner_memory --minutes 20

One runner rolls out without a pause for updates: many times the rounds that training makes in the
same time. New weights come with each round, as in training. What a process has of its own is told
from what it shares with Ray's object store: the store's pages count for every process that has read
them, whoever they belong to, until each page has been read once.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from envs.houses.dataset import write_houses
from trainers.irl.algorithm import LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.run import start_ray
from trainers.irl.task import read_task

PARTS = ("VmRSS", "RssAnon", "RssShmem")


def memory(pid: int) -> dict[str, float]:
    """MiB of a process by kind (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {part: int(re.findall(rf"{part}:\s+(\d+)", text)[0]) / 1024 for part in PARTS}


def pid_of(runner: Any) -> int:
    """Of the process that an RLlib runner lives in."""
    import os

    return os.getpid()


def main() -> None:
    """Print a row each minute, and the slope over the second half."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/runner_memory"))
    asked = parser.parse_args()
    houses = asked.out.resolve() / "houses"
    if not houses.is_dir():
        write_houses(houses, train_houses=12, unseen_houses=1, paths_per_house=20, seed=0)
    config = replace(IRLConfig(data=str(houses), threads=1), runners=1)
    task = read_task(houses, config, ("train",))
    start_ray(1)
    algorithm = LangGoalIRLConfig().for_task(config, task).build_algo()
    algorithm.start(task, fresh=True)
    group = algorithm.env_runner_group
    (pid,) = group.foreach_env_runner(pid_of, local_env_runner=False)
    print(f"runner {pid}\n| minute | rounds | own MiB | shared MiB | both |\n|---|---|---|---|---|")
    began, rounds, minute = time.monotonic(), 0, 0
    found: list[tuple[float, float]] = []
    try:
        while (now := (time.monotonic() - began) / 60) < asked.minutes:
            if now >= minute:
                kinds = memory(pid)
                found.append((now, kinds["RssAnon"]))
                print(
                    f"| {now:.1f} | {rounds} | {kinds['RssAnon']:.0f} | {kinds['RssShmem']:.0f} | "
                    f"{kinds['VmRSS']:.0f} |",
                    flush=True,
                )
                minute += 1
            algorithm.counts["irl"] = rounds  # another draw of goals, and another number of weights
            rows = algorithm._expert_rows(config.episodes_per_iteration)
            algorithm.roll_out(algorithm.train_split, rows, sample=True, label=config.labels)
            rounds += 1
    finally:
        algorithm.stop()
        ray.shutdown()
    late = np.array(found[len(found) // 2 :])
    if len(late) > 2:
        slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
        print(f"own memory over the second half: {slope:+.2f} MiB a minute, {rounds} rounds in all")


if __name__ == "__main__":
    main()
