"""What measuring the information in the weights costs, against the updates between two of them.

    python -m benchmarks.analysis_information --run runs/full [--updates 20]

One process loads a run, makes updates of cloning under its own settings, measures the trace on the
probe that `--information-every` takes, and prints the ratio: the share of training time that a
measurement every N updates takes. Ratios of one run: the machine does not matter much.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from rayforge.irl.agent import Agent
from rayforge.irl.pairs import Role, pair_batch
from rayforge.irl.update import Update
from trainers.irl.information import information_figures
from trainers.irl.loading import agent_sizes, load_weights
from trainers.irl.run_folder import data_folder, load_run
from trainers.irl.task import read_task


@dataclass(frozen=True)
class CostConfig:
    run: Path
    """A finished run of an agent."""
    updates: int = 20
    """Updates that are timed."""
    every: int = 100
    """Updates between two measurements."""
    out: Path | None = None


def measure_cost(config: CostConfig) -> dict[str, Any]:
    """Seconds of an update and of a measurement, and the share of a measurement every N."""
    torch.set_num_threads(1)
    run, vocabulary, objects = load_run(config.run)
    task = read_task(data_folder(run), run, ("train",), vocabulary, objects)
    agent = Agent(**agent_sizes(run, len(vocabulary), task.world.dimension))
    weights = load_weights(config.run, run)
    own = agent.state_dict()
    agent.load_state_dict({k: torch.from_numpy(weights[k]) if k in weights else v
                           for k, v in own.items()})  # fmt: skip
    agent.attach(task.world.observer())
    update, split = Update(agent), task.splits["train"]
    agent.train()

    def one(number: int) -> None:
        rows = task.world.batch(split, run.batch, run.seed, number)
        batch = pair_batch(split.paths[rows], np.full(len(rows), int(Role.CLONE)))
        update({name: torch.from_numpy(column) for name, column in batch.items()})

    one(0)
    began = time.perf_counter()
    for number in range(config.updates):
        one(1 + number)
    an_update = (time.perf_counter() - began) / config.updates
    information_figures(agent, split)
    began = time.perf_counter()
    figures = information_figures(agent, split)
    measurement = time.perf_counter() - began
    epoch = len(split) / run.batch
    return {
        "update_s": an_update, "measurement_s": measurement,
        "updates_worth": measurement / an_update, "every": config.every,
        "share": measurement / (an_update * config.every + measurement),
        "updates_of_an_epoch": epoch, "share_of_an_epoch": measurement / (an_update * epoch),
        "trace": figures["information/trace"],
    }  # fmt: skip


def main(config: CostConfig) -> dict[str, Any]:
    found = measure_cost(config)
    print(
        f"a measurement takes as long as {found['updates_worth']:.1f} updates of cloning: "
        f"{found['share']:.1%} of training where it is made every {config.every} updates; "
        f"{found['share_of_an_epoch']:.1%} of an epoch of {found['updates_of_an_epoch']:.0f}"
    )
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main(tyro.cli(CostConfig))
