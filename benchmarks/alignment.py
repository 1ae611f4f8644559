"""Review by acting, SeRA and their baselines on the route task, in the regime where flips hurt.

    python -m benchmarks.alignment --out runs/alignment --seeds 0 1 2
    python -m benchmarks.alignment --pairs 1536 --methods dpo sera iterative

Every run takes 96 optimiser steps of 16 pairs, of 256, 512 or 1,536 given ones: 6, 3 or 1 epochs.
DPO takes them in one go, the others in three rounds. Of the methods that begin with a round of DPO
on everything, that round is trained once for all of a cell and a seed. Success is by execution on
routes in unseen houses. A seed is one of houses, pairs and training; the model they start from is
one and the same, made in other houses. The followers that "acting" asks are trained first, in
houses of their own. Resumable: the same command goes on where it was broken off, and only prints
where all is done; every run is a row.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tyro

from benchmarks.sub_runs import finished, run_all, training
from envs.houses.route_houses import RouteHousesConfig, write_route_houses
from envs.houses.route_task import RouteTaskConfig
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference, seed_interval
from rayforge.evaluation.win_rate import length_controlled, win_rate_from_success
from trainers.alignment.config import AlignConfig
from trainers.alignment.reading import read_source
from trainers.configuration import to_yaml

FIRST, CONTROLLED = "first round", "sera, selection only, length-controlled"

ALL: dict[str, Any] = {"method": "sera", "keep": 1.0, "keep_generated": 1.0}
"""Every given pair is kept, and every own one that the share of the round has room for."""
NONE_OWN: dict[str, Any] = {"generated_share": (0.0,)}
ACTING: dict[str, Any] = {"method": "acting"}
STRONG, WALKS, WEAK = "planner", "walks", "weak"
"""Followers: an agent that plans, the same one that only walks, and one that learnt little."""

METHODS: dict[str, dict[str, Any]] = {
    FIRST: {"method": "iterative", "rounds": 1},
    "dpo": {"method": "dpo"},
    "sera": {"method": "sera"},
    "iterative": {"method": "iterative"},
    "sera, generation only": {**ALL, "score": "probability"},
    "sera, given winners": {**ALL, "score": "probability", "winner": "given"},
    CONTROLLED: {"method": "sera", **NONE_OWN, "length_control": True},
    "sera, selection only": {"method": "sera", **NONE_OWN},
    "sera, smallest margins only": {"method": "sera", **NONE_OWN, "rule": "bottom"},
    "random": {"method": "random"},
    "curriculum": {"method": "curriculum"},
    "rounds alone": {"method": "iterative", **NONE_OWN},
    "sera, judge as score": {**ALL, "score": "judge"},
    "robust": {"method": "dpo", "loss": "robust", "label_smoothing": 0.2},
    "acting": {**ACTING, "score": STRONG},
    "acting, labels alone": {**ACTING, "score": STRONG, **NONE_OWN},
    "acting, labels turned": {**ACTING, "score": STRONG, **NONE_OWN, "labels": "turn"},
    "acting, labels dropped": {**ACTING, "score": STRONG, **NONE_OWN, "labels": "drop"},
    "acting, own pairs alone": {**ACTING, "score": STRONG, "labels": "keep"},
    "acting, walks": {**ACTING, "score": WALKS},
    "acting, weak follower": {**ACTING, "score": WEAK},
    "balance alone": {**ACTING, **NONE_OWN, "labels": "keep"},
    "random, as many as balance": {"method": "random", **NONE_OWN, "keep": 0.4},
    "oracle": {**ACTING, **NONE_OWN, "labels": "oracle"},
    "judge's own pairs": {**ACTING, "labels": "keep", "score": "judge"},
    "oracle and judge": {**ACTING, "labels": "oracle", "score": "judge"},
}
""""rounds alone" neither selects nor generates: it is DPO whose step size begins anew twice.
"judge" and "oracle" are upper bounds: they see what no method may see."""
BEST = "dpo, best epoch"
"""The round of "rounds alone" with the best accuracy on held-out pairs: DPO stopped there."""

WHOLE = ("dpo", "sera", "acting", "acting, own pairs alone", "acting, labels alone", "oracle",
         "judge's own pairs", "rounds alone", "robust", "iterative", "random",
         "curriculum")  # fmt: skip
CUE = ("dpo", "balance alone", "random, as many as balance", "acting", "sera, selection only",
       CONTROLLED)  # fmt: skip


class Cell(NamedTuple):
    """Given pairs, share of them with the longer side chosen, share with the label flipped."""

    pairs: int
    cue: float
    flips: float


CELLS: dict[Cell, tuple[str, ...]] = {
    Cell(256, 0.5, 0.2): (*WHOLE, "acting, walks", "acting, weak follower"),
    Cell(512, 0.5, 0.2): WHOLE,
    Cell(256, 0.5, 0.4): ("dpo", "acting", "acting, labels alone", "oracle"),
    Cell(512, 0.8, 0.2): CUE,
    Cell(1536, 0.8, 0.2): (
        "dpo",
        "acting",
        "sera",
        "iterative",
        "sera, generation only",
        "sera, given winners",
        CONTROLLED,
        "sera, selection only",
        "sera, smallest margins only",
        "random",
        "curriculum",
        "rounds alone",
        "sera, judge as score",
    ),
    Cell(256, 0.5, 0.0): ("dpo", "acting"),
    **{
        Cell(1536, cue, flips): ("dpo", "sera", "acting")
        for cue, flips in ((0.5, 0.4), (0.8, 0.4), (0.5, 0.2), (0.8, 0.0), (0.5, 0.0))
    },
}
"""What is compared where, what matters most first."""


class Run(NamedTuple):
    """One run of the benchmark."""

    name: str
    cell: Cell
    seed: int

    @property
    def folder(self) -> str:
        plain = self.name.replace(", ", "-").replace(" ", "-").replace("'", "")
        cell = f"pairs{self.cell.pairs}_cue{self.cell.cue:g}_flips{self.cell.flips:g}"
        return f"{plain}_{cell}_seed{self.seed}"


@dataclass(frozen=True)
class Benchmark:
    """Review by acting, SeRA and baselines on the route task."""

    out: Path = Path("runs/alignment")
    """Folder of the runs."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    pairs: tuple[int, ...] = (256, 512)
    """Numbers of given pairs: cells with others are left out."""
    cue: tuple[float, ...] = (0.5, 0.8)
    flips: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Shares, likewise."""
    methods: tuple[str, ...] = ()
    """Which rows; empty: those of the cell."""
    parallel: int = 2
    """Runs at a time, one core each."""
    train: bool = True
    """Off: only print what is finished."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        groups = list(self._plan())
        runs = [run for group in groups for run in group]
        if self.train and not all(finished(self.out / run.folder) for run in runs):
            make_followers(self.out, {str(METHODS[run.name].get("score")) for run in runs})
            start = read_source(AlignConfig(routes=RouteTaskConfig(seed=START_SEED))).start()
            for group in groups:
                self._train(group, start)
        done = [run for run in runs if finished(self.out / run.folder)]
        print(rows(self.out, done))
        print(summary(self.out, done))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"\n{len(done)} of {len(runs)} runs; processor time of this call "
              f"{(used.ru_utime + used.ru_stime) / 60:.0f} minutes")  # fmt: skip

    def _plan(self) -> Iterator[list[Run]]:
        """What is run, cell by cell; in a cell method by method."""
        for cell, names in CELLS.items():
            asked = cell.pairs in self.pairs and cell.cue in self.cue and cell.flips in self.flips
            if asked:
                yield [Run(n, cell, s) for n in self.methods or names for s in self.seeds]

    def _train(self, group: Sequence[Run], start: Path) -> None:
        """All of a cell; those that begin with a round of DPO go on from the one they share."""
        firsts = {run.seed: run._replace(name=FIRST) for run in group if shares_first(run)}
        rest = [run for run in group if shares_first(run)]
        for part in ([run for run in group if run not in rest] + list(firsts.values()), rest):
            todo: dict[Path, AlignConfig] = {}
            for run in part:
                folder, config = self.out / run.folder, configuration(run, start, self.out)
                if run in rest:
                    share_first_round(self.out / firsts[run.seed].folder, folder, config)
                todo[folder] = config
            run_all(training("align", todo), self.parallel)


def shares_first(run: Run) -> bool:
    """Whether its first round is DPO on everything."""
    return METHODS[run.name]["method"] not in ("dpo", "acting")


FOLLOWERS: dict[str, tuple[str, ...]] = {
    STRONG: ("--method", "langgoal", "--updates", "0", "--clone-updates", "1000",
             "--network.hidden", "128", "--generator.hidden", "128", "--generator.word", "64",
             "--generator.updates", "400"),
    WEAK: ("--method", "gcbc", "--updates", "0", "--clone-updates", "150", "--network.hidden",
           "64"),
}  # fmt: skip
"""How they are trained; the one that walks is the strong one without its planner."""
TELLING = ("--held-back", "0.05", "--network.word", "64", "--evaluate", "val_unseen")


def make_followers(out: Path, named: set[str]) -> None:
    """Houses with instructions, and those agents among `named` that are not there yet."""
    wanted = {STRONG if name == WALKS else name for name in named} & set(FOLLOWERS)
    data = out / "follower-houses"
    if wanted and not data.is_dir():
        write_route_houses(data, RouteHousesConfig())
    runs = {
        out / f"follower-{name}": ["irl", "train", "--data", str(data), *TELLING, *FOLLOWERS[name]]
        for name in sorted(wanted)
    }
    run_all(runs, 1)
    strong, walks = out / f"follower-{STRONG}", out / f"follower-{WALKS}"
    if WALKS in named and not walks.is_dir():
        ignored = shutil.ignore_patterns("planner*", "planned*")
        shutil.copytree(strong, walks, ignore=ignored)
    if STRONG in wanted and not (strong / "planner.json").is_file():
        command = [sys.executable, "-m", "trainers.cli", "irl", "plan", str(strong)]
        subprocess.run([*command, "--updates", "400"], check=True)


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


START_SEED = 0
"""Of the supervised start, which all runs share: the demo's."""


def settings(pairs: int, seed: int) -> AlignConfig:
    """What all runs of a seed share."""
    return AlignConfig(
        routes=RouteTaskConfig(pairs=pairs, test_routes=300, seed=seed), seed=seed, rounds=3,
        steps=32, batch=16, learning_rate=1.5e-4, prompts=128, temperature=0.7,
        max_new_tokens=80, evaluation_prompts=300, generation_batch=100, threads=1,
        checkpoint_steps=32, log_steps=4,
    )  # fmt: skip


def configuration(run: Run, start: Path, out: Path) -> AlignConfig:
    """Of one run. A follower is named by its folder."""
    shared = settings(run.cell.pairs, run.seed)
    # The start is made already, so its examples need not be written again for every run.
    routes = replace(
        shared.routes, cue_share=run.cell.cue, flip_share=run.cell.flips, start_routes=0
    )
    own = dict(METHODS[run.name])
    if own.get("score") in (STRONG, WALKS, WEAK):
        own["score"] = f"follower:{out / 'follower-'}{own['score']}"
    return replace(shared, model=str(start), routes=routes, **own)


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
    own: list[float]
    """Own pairs, by round."""
    on_policy: list[float]
    """Accuracy of the score on the own pairs that the executor decides, by round."""
    start: float
    """Success of the start's greedy answers."""


def read(run: Path, best: bool = False) -> Found:
    """Of the last round, or of the one with the best accuracy on held-out pairs."""
    folders = sorted((run / "rounds").glob("[0-9]*"), key=lambda folder: int(folder.name))
    accuracy = {f: json.loads((f / "review.json").read_text())["review/accuracy"]
                for f in folders[1:]}  # fmt: skip
    last = max(accuracy, key=lambda f: accuracy[f]) if best else folders[-1]
    answers = pq.read_table(last / "answers.parquet")
    before = pq.read_table(folders[0] / "answers.parquet")
    chosen = [json.loads((f / "selection.json").read_text())["figures"] for f in folders[1:]]

    def each(name: str) -> list[float]:
        return [f[name] for f in chosen if name in f]

    return Found(
        {kind: answers[f"{kind}_score"].to_numpy() for kind in ("greedy", "sampled")},
        answers["greedy_tokens"].to_numpy(), accuracy[last], each("select/flip_auc"),
        each("select/kept_flipped"), each("select/kept_longer_chosen"), each("select/generated"),
        each("generate/accuracy"), float(before["greedy_score"].to_numpy().mean()),
    )  # fmt: skip


def rows(out: Path, runs: Sequence[Run]) -> str:
    """A Markdown row a run."""
    lines = [
        "| run | pairs | cue | flips | seed | start | greedy | sampled | against DPO | "
        "length-controlled | held-out accuracy | tokens | AUC for flips by round | flips kept | "
        "longer kept | own pairs | on-policy accuracy by round |",
        "|---" * 17 + "|",
    ]
    for run in runs:
        found, dpo = read(out / run.folder), read(out / run._replace(name="dpo").folder)
        won = win_rate_from_success(found.score["greedy"], dpo.score["greedy"])[:, 0]
        even = length_controlled(won, found.tokens, dpo.tokens)
        lines.append(
            f"| {run.name} | {run.cell.pairs} | {run.cell.cue:g} | {run.cell.flips:g} | "
            f"{run.seed} | {found.start:.3f} | "
            f"{found.score['greedy'].mean():.3f} | {found.score['sampled'].mean():.3f} | "
            f"{won.mean():.3f} | {even.mean:.3f} | {found.accuracy:.3f} | "
            f"{found.tokens.mean():.1f} | {_list(found.auc)} | {_list(found.kept_flipped)} | "
            f"{_list(found.kept_longer)} | {_list(found.own, 0)} | {_list(found.on_policy)} |"
        )
    return "\n".join(lines)


def _list(values: Sequence[float], digits: int = 2) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values) or "-"


def summary(out: Path, runs: Sequence[Run]) -> str:
    """Means over seeds with t intervals; the difference from DPO paired by prompt within seeds.

    Of a single seed the interval is over prompts. The interval of the difference is bootstrapped
    over the prompts of all seeds, so it says how sure the figure is for these data; with three
    seeds the t interval says how data and training differ.
    """
    lines = [
        "",
        "| method | pairs | cue | flips | seeds | greedy success | sampled success | "
        "greedy minus DPO | by seed | sampled minus DPO | ratio |",
        "|---" * 11 + "|",
    ]
    kinds = ("greedy", "sampled")
    for name, cell in dict.fromkeys((run.name, run.cell) for run in runs):
        same = [run for run in runs if (run.name, run.cell) == (name, cell)]
        dpo = [read(out / run._replace(name="dpo").folder) for run in same]
        for shown in (name, BEST) if name == "rounds alone" else (name,):
            found = [read(out / run.folder, shown == BEST) for run in same]
            cells, ratio = [], 0.0
            for kind in kinds:
                means = [float(f.score[kind].mean()) for f in found]
                over = (
                    seed_interval(means)
                    if len(means) > 1
                    else bootstrap_interval(found[0].score[kind])
                )
                cells.append(f"{over.mean:.3f} [{over.low:.3f}, {over.high:.3f}]")
            for kind in kinds:
                ours, theirs = (
                    np.concatenate([f.score[kind] for f in part]) for part in (found, dpo)
                )
                gap = paired_difference(ours, theirs)
                cells.append(f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
                if kind == "greedy":
                    ratio = ours.mean() / theirs.mean()
                    each = [
                        float(f.score[kind].mean() - d.score[kind].mean())
                        for f, d in zip(found, dpo, strict=True)
                    ]
                    cells.append(", ".join(f"{value:+.3f}" for value in each))
            if name == "dpo":
                cells[2:] = ["", "", ""]
            lines.append(
                f"| {shown} | {cell.pairs} | {cell.cue:g} | {cell.flips:g} | {len(same)} | "
                f"{' | '.join(cells)} | {ratio:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Benchmark, description=__doc__)()
