"""SeRA against its baselines on the route task: cue, flipped labels, scores, halves of the method.

    python -m benchmarks.alignment --out runs/alignment --seeds 0 1 2

Every run takes 96 optimiser steps of 16 pairs, of 1,536 given ones; DPO takes them in one go, the
others in three rounds, of which the first, DPO on everything, is the same for all of a cell and a
seed and is trained once. Success is by execution on 200 routes in unseen houses. A seed is one of
houses, pairs and training; the model they start from is one and the same, made in other houses.
Resumable: the same command goes on where it was broken off, and only prints where all is done.
"""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import finished, run_all
from envs.houses.route_task import RouteTaskConfig
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference, seed_interval
from rayforge.evaluation.win_rate import length_controlled, win_rate_from_success
from trainers.alignment.config import AlignConfig
from trainers.alignment.reading import read_source
from trainers.configuration import to_yaml

FIRST, CONTROLLED = "first round", "sera, selection only, length-controlled"

ALL: dict[str, Any] = {"method": "sera", "keep": 1.0, "keep_generated": 1.0}
"""Every given pair is kept, and every own one that the share of the round has room for."""

METHODS: dict[str, dict[str, Any]] = {
    FIRST: {"method": "iterative", "rounds": 1},
    "dpo": {"method": "dpo"},
    "sera": {"method": "sera"},
    "iterative": {"method": "iterative"},
    "sera, generation only": {**ALL, "score": "probability"},
    "sera, given winners": {**ALL, "score": "probability", "winner": "given"},
    CONTROLLED: {"method": "sera", "generated_share": (0.0,), "length_control": True},
    "sera, selection only": {"method": "sera", "generated_share": (0.0,)},
    "sera, smallest margins only": {"method": "sera", "generated_share": (0.0,), "rule": "bottom"},
    "random": {"method": "random"},
    "curriculum": {"method": "curriculum"},
    "rounds alone": {"method": "iterative", "generated_share": (0.0,)},
    "sera, judge as score": {**ALL, "score": "judge"},
}
""""rounds alone" neither selects nor generates: it is DPO whose step size begins anew twice. "judge
as score" is an upper bound: it sees what no method may see."""

OTHERS = ((0.5, 0.4), (0.8, 0.4), (0.5, 0.2), (0.8, 0.0), (0.5, 0.0))
CELLS: dict[tuple[float, float], tuple[str, ...]] = {
    (0.8, 0.2): tuple(name for name in METHODS if name != FIRST),
    **{cell: ("dpo", "sera") for cell in OTHERS},
}
"""Cue share and flip share: what is compared there; in the first cell, everything, in the
others what fits into an hour of two cores."""


class Run(NamedTuple):
    """One run of the benchmark."""

    name: str
    cue: float
    flips: float
    seed: int

    @property
    def folder(self) -> str:
        plain = self.name.replace(", ", "-").replace(" ", "-")
        return f"{plain}_cue{self.cue:g}_flips{self.flips:g}_seed{self.seed}"


@dataclass(frozen=True)
class Benchmark:
    """SeRA and baselines on the route task."""

    out: Path = Path("runs/alignment")
    """Folder of the runs."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    parallel: int = 2
    """Runs at a time, one core each."""
    train: bool = True
    """Off: only print what is finished."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        groups = list(plan(self.seeds))
        runs = [run for group in groups for run in group]
        if self.train and not all(finished(self.out / run.folder) for run in runs):
            start = read_source(AlignConfig(routes=RouteTaskConfig(seed=START_SEED))).start()
            for group in groups:
                self._train(group, start)
        done = [run for run in runs if finished(self.out / run.folder)]
        print(rows(self.out, done))
        print(summary(self.out, done))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"\n{len(done)} of {len(runs)} runs; processor time of this call "
              f"{(used.ru_utime + used.ru_stime) / 60:.0f} minutes")  # fmt: skip

    def _train(self, group: Sequence[Run], start: Path) -> None:
        """All of a cell; those with several rounds go on from the first round they share."""
        firsts = {run.seed: run._replace(name=FIRST) for run in group}
        rest = [run for run in group if run.name != "dpo"]
        for part in ([run for run in group if run not in rest] + list(firsts.values()), rest):
            todo: dict[Path, list[str]] = {}
            for run in part:
                folder, config = self.out / run.folder, configuration(run, start)
                if run in rest:
                    share_first_round(self.out / firsts[run.seed].folder, folder, config)
                file = self.out / f"{run.folder}.yaml"
                file.write_text(to_yaml(config))
                todo[folder] = ["align", "train", "--config", str(file)]
            run_all(todo, self.parallel)


def share_first_round(done: Path, run: Path, config: AlignConfig) -> None:
    """Give a run the first round of one that ended there: the same seeds make the same bits. What
    sort of run it is shows only later, so it goes on from there."""
    if (run / "rounds").is_dir():
        return
    part = run.with_name(f".{run.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in ("rounds", "scores"):
        shutil.copytree(done / name, part / name)
    for name in ("run.json", "metrics.jsonl"):
        shutil.copy(done / name, part)
    (part / "config.yaml").write_text(to_yaml(config))
    shutil.rmtree(run, ignore_errors=True)
    part.rename(run)


def plan(seeds: Sequence[int]) -> Iterator[list[Run]]:
    """What is run, cell by cell, what matters most first; in a cell method by method."""
    for cell, names in CELLS.items():
        yield [Run(name, *cell, seed) for name in names for seed in seeds]


START_SEED = 0
"""Of the supervised start, which all runs share: the demo's."""


def settings(seed: int) -> AlignConfig:
    """What all runs of a seed share."""
    return AlignConfig(
        routes=RouteTaskConfig(pairs=1536, test_routes=200, seed=seed), seed=seed, rounds=3,
        steps=32, batch=16, learning_rate=1.5e-4, prompts=192, responses=4, temperature=0.7,
        max_new_tokens=80, evaluation_prompts=200, generation_batch=100, threads=1,
        checkpoint_steps=32, log_steps=4,
    )  # fmt: skip


def configuration(run: Run, start: Path) -> AlignConfig:
    shared = settings(run.seed)
    # The start is made already, so its examples need not be written again for every run.
    routes = replace(shared.routes, cue_share=run.cue, flip_share=run.flips, start_routes=0)
    return replace(shared, model=str(start), routes=routes, **METHODS[run.name])


class Found(NamedTuple):
    """What a run's last model answers, and what its rounds recorded."""

    score: dict[str, np.ndarray]
    """Success of each test prompt, float [n], of greedy and of sampled answers."""
    tokens: np.ndarray
    """Of the greedy answers, [n]."""
    accuracy: float
    auc: list[float]
    kept_flipped: list[float]
    kept_longer: list[float]
    """Shares of the kept given pairs, by round."""
    on_policy: list[float]
    start: float
    """Success of the start's greedy answers."""


def read(run: Path) -> Found:
    folders = sorted((run / "rounds").glob("[0-9]*"), key=lambda folder: int(folder.name))
    answers = pq.read_table(folders[-1] / "answers.parquet")
    before = pq.read_table(folders[0] / "answers.parquet")
    review = json.loads((folders[-1] / "review.json").read_text())
    chosen = [json.loads((f / "selection.json").read_text())["figures"] for f in folders[1:]]
    return Found(
        {kind: answers[f"{kind}_score"].to_numpy() for kind in ("greedy", "sampled")},
        answers["greedy_tokens"].to_numpy(),
        review["review/accuracy"],
        [f["select/flip_auc"] for f in chosen if "select/flip_auc" in f],
        [f["select/kept_flipped"] for f in chosen],
        [f["select/kept_longer_chosen"] for f in chosen],
        [f["generate/accuracy"] for f in chosen if "generate/accuracy" in f],
        float(before["greedy_score"].to_numpy().mean()),
    )


def rows(out: Path, runs: Sequence[Run]) -> str:
    """A Markdown row a run."""
    lines = [
        "| run | cue | flips | seed | start | greedy | sampled | against DPO | length-controlled | "
        "held-out accuracy | tokens | AUC for flips by round | flips kept | longer kept | "
        "on-policy accuracy by round |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        found, dpo = read(out / run.folder), read(out / run._replace(name="dpo").folder)
        won = win_rate_from_success(found.score["greedy"], dpo.score["greedy"])[:, 0]
        even = length_controlled(won, found.tokens, dpo.tokens)
        lines.append(
            f"| {run.name} | {run.cue:g} | {run.flips:g} | {run.seed} | {found.start:.3f} | "
            f"{found.score['greedy'].mean():.3f} | {found.score['sampled'].mean():.3f} | "
            f"{won.mean():.3f} | {even.mean:.3f} | {found.accuracy:.3f} | "
            f"{found.tokens.mean():.1f} | {_list(found.auc)} | {_list(found.kept_flipped)} | "
            f"{_list(found.kept_longer)} | {_list(found.on_policy)} |"
        )
    return "\n".join(lines)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values) or "-"


def summary(out: Path, runs: Sequence[Run]) -> str:
    """Means over seeds with t intervals; the difference from DPO paired by prompt within seeds.

    Of a single seed the interval is over prompts. The interval of the difference is bootstrapped
    over the prompts of all seeds, so it says how sure the figure is for these data; with three
    seeds the t interval says how data and training differ.
    """
    lines = [
        "",
        "| method | cue | flips | seeds | greedy success | sampled success | greedy minus DPO | "
        "sampled minus DPO |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cue, flips in dict.fromkeys((run.name, run.cue, run.flips) for run in runs):
        same = [run for run in runs if (run.name, run.cue, run.flips) == (name, cue, flips)]
        found = [read(out / run.folder) for run in same]
        dpo = [read(out / run._replace(name="dpo").folder) for run in same]
        cells = []
        for kind in ("greedy", "sampled"):
            means = [float(f.score[kind].mean()) for f in found]
            over = (
                seed_interval(means) if len(means) > 1 else bootstrap_interval(found[0].score[kind])
            )
            cells.append(f"{over.mean:.3f} [{over.low:.3f}, {over.high:.3f}]")
        for kind in ("greedy", "sampled"):
            ours, theirs = (np.concatenate([f.score[kind] for f in part]) for part in (found, dpo))
            gap = paired_difference(ours, theirs)
            cells.append(
                "" if name == "dpo" else f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
            )
        lines.append(f"| {name} | {cue:g} | {flips:g} | {len(same)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Benchmark, description=__doc__)()
