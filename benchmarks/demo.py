"""The demonstration: from nothing to trained agents and aligned models on generated houses.

    python -m benchmarks.demo --out runs/demo

LangGoalIRL and cloning train side by side, one core each, and are compared on houses that neither
has seen; then a language model that describes routes is aligned (`benchmarks.demo_alignment`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

from benchmarks.demo_alignment import DemoAlignment
from benchmarks.sub_runs import print_comparison, run_all, training
from envs.houses.dataset import HousesConfig, write_houses
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from rayforge.reports.comparison import write_comparison
from rayforge.settings import NOT_LEARNT, settings_with
from trainers.irl.config import IRLConfig

SMALL = IRLConfig(
    network=NetworkConfig(word=64, hidden=128, dropout=0.3),
    generator=GeneratorConfig(word=64, hidden=128, updates=300),
    learning_rate=0.002, clone_updates=500, updates=160, max_words=60,
    evaluate=("val_seen", "val_unseen"),
)  # fmt: skip
"""Small networks and few updates: the defaults are made for R2R and an hour."""


@dataclass(frozen=True)
class Demo:
    """LangGoalIRL and cloning on generated houses, then SeRA and DPO on their routes."""

    out: Path = Path("runs/demo")
    """Folder of houses, runs and comparison."""
    seed: int = 0
    """Seed of the houses and of both runs."""

    def __call__(self) -> None:
        houses = self.out / "houses"
        if not (houses / "houses.json").is_file():
            print(f"generating houses into {houses}", flush=True)
            sizes = HousesConfig(train_houses=60, unseen_houses=12, paths_per_house=40)
            write_houses(houses, **{**asdict(sizes), "seed": self.seed})
        common = replace(SMALL, data=str(houses.absolute()), seed=self.seed)
        runs = {
            self.out / "langgoal": replace(common, method="langgoal"),
            self.out / "gcbc": replace(common, method="gcbc"),
        }
        run_all(training("irl", runs), parallel=2)
        groups = {"LangGoalIRL full": [self.out / "langgoal"], "GCBC": [self.out / "gcbc"]}
        print(print_comparison(groups, ("val_seen", "val_unseen")))
        page = write_comparison(
            list(runs), self.out / "comparison.html", settings_with(IRLConfig, NOT_LEARNT)
        )
        print(f"comparison: {page}")
        print(f"report:     {self.out / 'langgoal' / 'report.html'}")
        DemoAlignment(self.out / "alignment", self.seed)()


if __name__ == "__main__":
    tyro.cli(Demo, description=__doc__)()
