"""LangGoalIRL and cloning in 3-D scenes: generated houses, low-level actions, unseen houses.

    python -m benchmarks.continuous --out runs/continuous

Half an hour of two cores for one seed (a core each for LangGoalIRL and for cloning with as many
updates); each further seed takes another half. Beside both stand the expert, a random agent and
one that walks straight on. The walks and images of the demonstrations are made first and kept in
the user's cache.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.sub_runs import print_comparison, run_all
from envs.houses.dataset import HousesConfig, write_houses
from rayforge.files import write_text
from rayforge.reports.comparison import write_comparison
from rayforge.settings import NOT_LEARNT, settings_with
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.task import read_task

SPLITS = ("val_unseen",)
CONTROLS = ("expert", "random", "straight")
SIZES: dict[str, HousesConfig] = {
    "full": HousesConfig(train_houses=40, unseen_houses=4, paths_per_house=40),
    "small": HousesConfig(train_houses=3, unseen_houses=2, paths_per_house=6),
}


def settings(size: str, houses: Path) -> IRLConfig:
    """What both methods share; chosen on houses of another seed than the benchmark's.

    In half an hour of one core nothing is learnt by heart, so little is hidden, and many small
    updates learn more than few large ones: with 24 pairs (eight walks) an update, cloning got as
    far in 70 seconds of processor time as with 48 in two minutes.
    """
    full = IRLConfig(env="continuous", data=str(houses), evaluate=SPLITS, max_walk=150, threads=1)
    full = replace(
        full,
        network=replace(full.network, word=64, hidden=128, dropout=0.2, feature_dropout=0.2),
        generator=replace(
            full.generator, word=64, hidden=128, updates=400, batch=24, learning_rate=2e-3
        ),
        max_words=60, batch=24, learning_rate=2e-3, inflection_weight=3.0, gamma=0.99,
        clone_updates=3600, updates=112, warm_up=16, updates_per_iteration=16,
        positives=24, negatives=24, episodes_per_iteration=64, replay_window=768,
    )  # fmt: skip
    if size == "full":
        return full
    return replace(
        full,
        generator=replace(full.generator, updates=8), clone_updates=16, updates=8, warm_up=2,
        updates_per_iteration=8, episodes_per_iteration=16,
    )  # fmt: skip


@dataclass(frozen=True)
class Continuous:
    """Compare LangGoalIRL with cloning in 3-D scenes."""

    out: Path = Path("runs/continuous")
    """Folder of houses, runs and comparison; a broken-off benchmark goes on there."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the runs; the houses are the same for all."""
    size: Literal["full", "small"] = "full"
    """"small" is a proof that everything runs, in a few minutes; its figures mean nothing."""

    def __call__(self) -> None:
        folder = self.out / "houses"
        if not (folder / "houses.json").is_file():
            print(f"generating houses into {folder}", flush=True)
            write_houses(folder, **asdict(SIZES[self.size]))
        common = settings(self.size, folder)
        read_task(folder, common, ("train", *SPLITS))  # once, before two runs want it
        write_text(self.out / "settings.yaml", to_yaml(common))
        runs: dict[Path, list[str]] = {}
        groups: dict[str, list[Path]] = {"LangGoalIRL full": [], "GCBC": []}
        for seed in self.seeds:
            for name, method in (("LangGoalIRL full", "langgoal"), ("GCBC", "gcbc")):
                run = self.out / f"{method}-{seed}"
                runs[run] = [
                    "irl", "train", "--config", str(self.out / "settings.yaml"),
                    "--method", method, "--seed", str(seed),
                ]  # fmt: skip
                groups[name].append(run)
        run_all(runs, parallel=2)
        print(print_comparison(groups, SPLITS))
        print(controls(groups["GCBC"][0]))
        page = write_comparison(
            list(runs), self.out / "comparison.html", settings_with(IRLConfig, NOT_LEARNT)
        )
        print(f"comparison: {page}")


def controls(run: Path) -> str:
    """The agents that learn nothing, as further rows; intervals are over episodes."""
    lines = []
    for agent in CONTROLS:
        for split in SPLITS:
            document = json.loads((run / f"evaluation_{split}.json").read_text())
            cells = [
                f"{m['mean']:.3f} [{m['low']:.3f}, {m['high']:.3f}]"
                for m in (document["agents"][agent][name] for name in ("success", "spl"))
            ]
            lines.append(f"| {agent} | {split} | | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Continuous, description=__doc__)()
