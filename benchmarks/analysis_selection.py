"""Which finished expert to start from: the nearest task's, against chance and the most data.

    python -m benchmarks.analysis_selection --data ../shared/data/r2r --out runs/selection

Experts are small clones, each trained in a few buildings of `train` from one common start (the
probe network). Tasks are buildings that no expert saw. An expert's error on a task is one minus its
share of the demonstrator's actions told; excess error is that over the best expert's. Chosen by the
asymmetric and the symmetric distance of task vectors, by the most training pairs, and at random.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.information.probe import measure
from rayforge.information.task_vectors import asymmetric_distance, rows_of, symmetric_distance
from rayforge.irl.decisions import batches_of, parameters_of, score_decisions
from trainers.analysis.cloning import Block, clone, new_agent, of_buildings, small_config
from trainers.analysis.results import plain
from trainers.analysis.tasks import AT_ONCE, HEAD, fit_head
from trainers.irl.task import read_task


@dataclass(frozen=True)
class SelectionConfig:
    data: Path
    out: Path
    experts: int = 8
    tasks: int = 20
    buildings: int = 3
    """Buildings of an expert."""
    start_updates: int = 200
    """Updates of the common start, in the experts' buildings together."""
    updates: int = 60
    """Further updates of each expert, in its own."""
    episodes: int = 100
    """Episodes of a task at most."""
    seed: int = 0


def study(config: SelectionConfig) -> dict[str, Any]:
    """The table of model selection."""
    torch.set_num_threads(1)
    settings = small_config({"data": str(config.data), "network": {"word": 48, "hidden": 96}})
    task = read_task(config.data, settings, ("train",))
    split = task.splits["train"]
    rng = np.random.default_rng(config.seed)
    scans = rng.permutation(sorted({e.scan for e in split.episodes})).tolist()
    wanted = config.experts * config.buildings
    groups = [scans[k : k + config.buildings] for k in range(0, wanted, config.buildings)]
    targets = scans[wanted : wanted + config.tasks]
    start = new_agent(settings, task, config.seed)
    together = of_buildings(split, scans[:wanted])
    start = clone(start, split, together, [Block(config.start_updates, 2e-3)], 64, config.seed)
    observer = task.world.observer()

    def vector(rows: np.ndarray) -> np.ndarray:
        policy = copy.deepcopy(start.policy)
        fit_head(policy, observer, split, rows, 40, config.seed)
        batches = batches_of(policy, observer, split.paths, rows, AT_ONCE)
        found = measure(dict(parameters_of(policy, HEAD)), batches, seed=config.seed, fixed=False,
                        diagonal=True)  # fmt: skip
        return rows_of(found.diagonal).numpy()

    def drawn(rows: np.ndarray) -> np.ndarray:
        return np.sort(rng.permutation(rows)[: config.episodes])

    experts, sizes, sources = [], [], []
    for number, group in enumerate(groups):
        rows = of_buildings(split, group)
        state = copy.deepcopy(start)
        state.attach(observer)
        experts.append(
            clone(state, split, rows, [Block(config.updates, 1e-3)], 64, config.seed).policy
        )
        sizes.append(len(rows))
        sources.append(vector(drawn(rows)))
        print(f"expert {number + 1}/{config.experts}", flush=True)
    errors, chosen = [], []
    for number, scan in enumerate(targets):
        rows = drawn(of_buildings(split, [scan]))
        own = vector(rows)
        errors.append([1 - float(score_decisions(p, observer, split.paths, rows).correct.mean())
                       for p in experts])  # fmt: skip
        chosen.append({
            "asymmetric": int(np.argmin([asymmetric_distance(s, own) for s in sources])),
            "symmetric": int(np.argmin([symmetric_distance(s, own) for s in sources])),
            "most data": int(np.argmax(sizes)),
        })  # fmt: skip
        print(f"task {number + 1}/{len(targets)}", flush=True)
    table = np.array(errors)
    best = table.min(1)
    excess = {
        name: (table[np.arange(len(table)), [c[name] for c in chosen]] - best) / best
        for name in ("asymmetric", "symmetric", "most data")
    }
    excess["chance"] = (table.mean(1) - best) / best
    excess["worst"] = (table.max(1) - best) / best
    return {
        "tasks": len(targets), "experts": len(experts), "error_of_the_best": float(best.mean()),
        "excess_error": {name: bootstrap_interval(v) for name, v in excess.items()},
        "less_than_chance": {name: bootstrap_interval(excess["chance"] - excess[name])
                             for name in ("asymmetric", "symmetric", "most data")},
    }  # fmt: skip


def main(config: SelectionConfig) -> None:
    found = study(config)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "selection.json").write_text(json.dumps(plain(found), indent=1) + "\n")
    print(f"{found['tasks']} tasks, {found['experts']} experts; excess error over the best:")
    for name, i in found["excess_error"].items():
        print(f"  {name:12} {i.mean:+.1%} [{i.low:+.1%}, {i.high:+.1%}]")


if __name__ == "__main__":
    main(tyro.cli(SelectionConfig))
