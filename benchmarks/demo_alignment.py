"""The demonstration's second half: SFT, DPO and review by acting, judged by execution.

    python -m benchmarks.demo_alignment runs/demo/langgoal --out runs/demo/alignment

A model describes routes; a description is good where an agent that obeys it arrives. Two fifths of
the 256 given labels are wrong. DPO takes as many steps as the three rounds of review by acting
together, in which an agent that plans (`rayforge irl plan`) reads both sides of each given pair and
what the model writes itself. The agent learnt in houses of its own. The supervised start is made on
the first call and kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.planning_tables import span
from benchmarks.sub_runs import run_all, training
from envs.houses.route_task import RouteTaskConfig
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.evaluation.win_rate import win_rate, win_rate_from_success
from trainers.alignment.config import AlignConfig
from trainers.alignment.reading import read_source

KINDS = ("greedy", "sampled")


@dataclass(frozen=True)
class DemoAlignment:
    """SFT, DPO and review by acting on the route task."""

    follower: tyro.conf.Positional[Path]
    """Folder of the agent that obeys."""
    out: Path = Path("runs/demo/alignment")
    """Folder of the runs."""
    seed: int = 0
    """Seed of routes, start and both runs."""

    def __call__(self) -> None:
        print("reading routes; the supervised start takes some minutes the first time", flush=True)
        # The start of `benchmarks.alignment`: its examples are of houses of their own.
        start = read_source(AlignConfig(routes=RouteTaskConfig(seed=self.seed))).start()
        found = configurations(self.follower, start, self.seed)
        runs = {self.out / name: config for name, config in found.items()}
        run_all(training("align", runs), parallel=2)
        print(table(*runs))
        print(f"report:     {self.out / 'acting' / 'report.html'}")


def configurations(follower: Path, start: Path, seed: int) -> dict[str, AlignConfig]:
    """Both runs by name, from the same start, with the same pairs and as many steps: 96 of 16
    pairs, 6 epochs of the given ones, the regime in which a model learns wrong labels by heart."""
    dpo = AlignConfig(
        method="dpo",
        model=str(start),
        routes=RouteTaskConfig(
            pairs=256, flip_share=0.4, start_routes=0, test_routes=300, seed=seed
        ),
        learning_rate=1.5e-4,
        rounds=3,
        steps=32,
        batch=16,
        prompts=128,
        max_new_tokens=80,
        evaluation_prompts=300,
        generation_batch=100,
        log_steps=16,
        seed=seed,
    )
    acting = replace(dpo, method="acting", score=f"follower:{follower.absolute()}")
    return {"dpo": dpo, "acting": acting}


def table(dpo: Path, acting: Path) -> str:
    """Success and win rate against the start, with 95 % intervals over prompts, and acting minus
    DPO prompt by prompt; then how well the agent tells right from wrong, round by round."""
    models = {"SFT": dpo / "rounds" / "0", "DPO": _last(dpo), "review by acting": _last(acting)}
    answers = {name: pq.read_table(folder / "answers.parquet") for name, folder in models.items()}
    count = answers["SFT"].num_rows
    lines = [
        f"Route task, {count} test routes in unseen houses, 40 % of the training labels flipped.",
        "| model | greedy success | sampled success | greedy wins against SFT | sampled wins |",
        "|---|---|---|---|---|",
    ]
    success = {
        name: {kind: found[f"{kind}_score"].to_numpy() for kind in KINDS}
        for name, found in answers.items()
    }
    for name, own in success.items():
        cells = [span(bootstrap_interval(own[kind])) for kind in KINDS]
        for kind in KINDS:
            won = win_rate(win_rate_from_success(own[kind], success["SFT"][kind]))
            cells.append("" if name == "SFT" else span(won.rate))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    cells = [
        span(paired_difference(success["review by acting"][kind], success["DPO"][kind]), "+")
        for kind in KINDS
    ]
    lines.append(f"| acting minus DPO, paired | {' | '.join(cells)} | | |")
    lines.append("\n| review by acting | AUC for flipped labels | accuracy on its own pairs |")
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


if __name__ == "__main__":
    tyro.cli(DemoAlignment, description=__doc__)()
