"""The demonstration's second half: SFT, DPO and review by acting on the route task, judged by
execution.

    python -m benchmarks.demo_alignment --out runs/demo

There are 512 pairs, a fifth of whose labels is flipped, and both methods take as many steps. An
agent learns to obey instructions in houses of its own and reviews the pairs. The supervised start
and the agent are made on the first call, side by side, and kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import run_all, training
from envs.houses.route_houses import RouteHousesConfig, write_route_houses
from envs.houses.route_task import RouteTaskConfig
from rayforge.evaluation.intervals import Interval, bootstrap_interval, paired_difference
from rayforge.evaluation.win_rate import win_rate, win_rate_from_success
from rayforge.irl.config import NetworkConfig
from trainers.alignment.config import AlignConfig
from trainers.alignment.reading import read_source
from trainers.irl.config import IRLConfig

KINDS = ("greedy", "sampled")


@dataclass(frozen=True)
class DemoAlignment:
    """SFT, DPO and review by acting on the route task."""

    out: Path = Path("runs/demo")
    """Folder of the runs."""
    seed: int = 0
    """Seed of routes, start and both runs."""

    def __call__(self) -> None:
        follower = self.out / "follower"
        made = configurations(self.seed, follower)
        runs = {self.out / name: config for name, config in made.items()}
        print("reading routes; start and agent take some minutes the first time", flush=True)
        with ThreadPoolExecutor(1) as other:
            start = other.submit(read_source(made["dpo"]).start)
            make_follower(follower, self.seed)
            start.result()
        run_all(training("align", runs), parallel=2)
        print(table(*runs))
        print(f"report:     {self.out / 'acting' / 'report.html'}")


def make_follower(run: Path, seed: int) -> None:
    """An agent that obeys route instructions: cloned in houses of its own, planning on a map."""
    data = run.with_name("follower-houses")
    if not data.is_dir():
        write_route_houses(data, RouteHousesConfig(routes=1536, validation_routes=20, seed=seed))
    agent = replace(FOLLOWER, data=str(data.absolute()), seed=seed)
    run_all(training("irl", {run: agent}), parallel=1)
    if not (run / "planner.json").is_file():
        planning = [sys.executable, "-m", "trainers.cli", "irl", "plan", str(run)]
        planning += ["--reward", "none"]
        subprocess.run(planning, check=True, stdout=subprocess.DEVNULL)


FOLLOWER = IRLConfig(
    method="gcbc", clone_updates=800, updates=0, held_back=0.05,
    network=NetworkConfig(word=64, hidden=128), evaluate=("val_unseen",),
)  # fmt: skip


def configurations(seed: int, follower: Path) -> dict[str, AlignConfig]:
    """Both runs by name, with the same loss and as many steps."""
    dpo = AlignConfig(
        method="dpo",
        routes=RouteTaskConfig(pairs=512, flip_share=0.2, seed=seed),
        batch=16,
        learning_rate=1.5e-4,
        prompts=256,
        max_new_tokens=80,
        evaluation_prompts=300,
        generation_batch=100,
        log_steps=16,
        seed=seed,
    )
    return {"dpo": dpo, "acting": replace(dpo, method="acting", score=f"follower:{follower}")}


def table(dpo: Path, acting: Path) -> str:
    """Success and win rate against the start, with 95 % intervals over prompts; what acting has
    over DPO; then how well the agent finds flipped labels and ranks own samples, by round."""
    models = {"SFT": dpo / "rounds" / "0", "DPO": _last(dpo), "acting": _last(acting)}
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
    ours, theirs = (answers[name]["greedy_score"].to_numpy() for name in ("acting", "DPO"))
    gap = paired_difference(ours, theirs)
    lines.append(f"| acting minus DPO | {_shown(gap)} |  |  |  |")
    lines.append("\n| acting | AUC for flipped labels | accuracy on its own samples |")
    lines.append("|---|---|---|")
    for folder in sorted((acting / "rounds").glob("[1-9]*"), key=lambda f: int(f.name)):
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
