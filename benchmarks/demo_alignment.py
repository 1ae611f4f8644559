"""The demonstration's second half: SFT, DPO and SeRA on the route task, judged by execution.

    python -m benchmarks.demo_alignment --out runs/demo

A fifth of the labels is flipped. DPO takes as many steps as SeRA's three rounds together. The
supervised start is made on the first call and kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import run_all, training
from envs.houses.route_task import RouteTaskConfig
from rayforge.evaluation.intervals import Interval, bootstrap_interval
from rayforge.evaluation.win_rate import win_rate, win_rate_from_success
from trainers.alignment.config import AlignConfig
from trainers.alignment.reading import read_source

KINDS = ("greedy", "sampled")


@dataclass(frozen=True)
class DemoAlignment:
    """SFT, DPO and SeRA on the route task."""

    out: Path = Path("runs/demo")
    """Folder of the runs."""
    seed: int = 0
    """Seed of routes, start and both runs."""

    def __call__(self) -> None:
        runs = {self.out / name: config for name, config in configurations(self.seed).items()}
        print("reading routes; the supervised start takes some minutes the first time", flush=True)
        read_source(next(iter(runs.values()))).start()
        run_all(training("align", runs), parallel=2)
        print(table(*runs))
        print(f"report:     {self.out / 'sera' / 'report.html'}")


def configurations(seed: int) -> dict[str, AlignConfig]:
    """Both runs by name, with the same loss and as many steps.

    SeRA adds its own pairs, scored by the policy's own probability, and keeps every given pair: the
    smallest margins are flipped labels, but also what the model has still to learn
    (`benchmarks.alignment`).
    """
    dpo = AlignConfig(
        method="dpo",
        routes=RouteTaskConfig(flip_share=0.2, seed=seed),
        learning_rate=1.5e-4,
        prompts=256,
        max_new_tokens=80,
        evaluation_prompts=300,
        generation_batch=100,
        log_steps=16,
        seed=seed,
    )
    sera = replace(dpo, method="sera", score="probability", keep=1.0, keep_generated=1.0)
    return {"dpo": dpo, "sera": sera}


def table(dpo: Path, sera: Path) -> str:
    """Success and win rate against the start, with 95 % intervals over prompts; then how well
    SeRA's scores tell right from wrong, round by round."""
    models = {"SFT": dpo / "rounds" / "0", "DPO": _last(dpo), "SeRA": _last(sera)}
    answers = {name: pq.read_table(folder / "answers.parquet") for name, folder in models.items()}
    count = answers["SFT"].num_rows
    lines = [
        f"Route task, {count} test routes in unseen houses, 20 % of the training labels flipped.",
        "| model | greedy success | sampled success | greedy wins against SFT | sampled wins |",
        "|---|---|---|---|---|",
    ]
    for name, found in answers.items():
        success = {kind: found[f"{kind}_score"].to_numpy() for kind in KINDS}
        cells = [_shown(bootstrap_interval(success[kind])) for kind in KINDS]
        for kind in KINDS:
            start = answers["SFT"][f"{kind}_score"].to_numpy()
            won = win_rate(win_rate_from_success(success[kind], start))
            cells.append("" if name == "SFT" else _shown(won.rate))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("\n| SeRA | margin's AUC for flipped labels | accuracy on its own samples |")
    lines.append("|---|---|---|")
    for folder in sorted((sera / "rounds").glob("[1-9]*"), key=lambda f: int(f.name)):
        figures = json.loads((folder / "selection.json").read_text())["figures"]
        if "select/flip_auc" in figures:
            cells = [
                f"{figures.get(key, np.nan):.3f}"
                for key in ("select/flip_auc", "generate/accuracy")
            ]
            lines.append(f"| round {folder.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _last(run: Path) -> Path:
    return max((run / "rounds").glob("[0-9]*"), key=lambda folder: int(folder.name))


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    tyro.cli(DemoAlignment, description=__doc__)()
