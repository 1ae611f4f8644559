"""The demonstration: agents that follow instructions, then language models that write them.

    python -m benchmarks.demo --out runs/demo

LangGoalIRL and cloning train side by side, one core each, on routes of generated houses. They are
compared in houses that neither has seen: at first sight, with roll-outs imagined, and on a map.
Then a language model that describes routes is aligned with labels of which two fifths are wrong:
by DPO, and with review by acting, where the agent of the first half obeys what the model writes
(`benchmarks.demo_alignment`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from benchmarks.demo_alignment import DemoAlignment
from benchmarks.demo_planning import make_planners, three_settings
from benchmarks.sub_runs import print_comparison, run_all, training
from envs.houses.route_houses import RouteHousesConfig, write_route_houses
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from rayforge.reports.comparison import write_comparison
from rayforge.settings import NOT_LEARNT, settings_with
from trainers.irl.config import IRLConfig

SMALL = IRLConfig(
    network=NetworkConfig(word=64, hidden=128, dropout=0.3),
    generator=GeneratorConfig(word=64, hidden=128, updates=300),
    learning_rate=0.002, clone_updates=700, updates=80, max_words=60, held_back=0.05,
    evaluate=("val_seen", "val_unseen"),
)  # fmt: skip
"""Small networks and few updates: the defaults are made for R2R and an hour."""
REWARD_UPDATES = 300
"""Updates of the reward that plans."""


@dataclass(frozen=True)
class Demo:
    """LangGoalIRL and cloning on generated houses, then review by acting and DPO."""

    out: Path = Path("runs/demo")
    """Folder of houses, runs and comparison."""
    seed: int = 0
    """Seed of the houses and of both runs."""

    def __call__(self) -> None:
        houses = self.out / "houses"
        if not (houses / "houses.json").is_file():
            print(f"generating houses into {houses}", flush=True)
            write_route_houses(houses, RouteHousesConfig(seed=self.seed))
        common = replace(SMALL, data=str(houses.absolute()), seed=self.seed)
        langgoal, gcbc = self.out / "langgoal", self.out / "gcbc"
        runs = {
            langgoal: replace(common, method="langgoal"),
            gcbc: replace(common, method="gcbc"),
        }
        run_all(training("irl", runs), parallel=2)
        make_planners({langgoal: "maxent", gcbc: "none"}, REWARD_UPDATES)
        groups = {"LangGoalIRL full": [langgoal], "GCBC": [gcbc]}
        print(print_comparison(groups, ("val_seen", "val_unseen")))
        print(three_settings({"LangGoalIRL": langgoal, "GCBC": gcbc}, "val_unseen"), flush=True)
        page = write_comparison(
            list(runs), self.out / "comparison.html", settings_with(IRLConfig, NOT_LEARNT)
        )
        print(f"comparison: {page}")
        print(f"report:     {langgoal / 'report.html'}")
        DemoAlignment(langgoal, self.out / "alignment", self.seed)()


if __name__ == "__main__":
    tyro.cli(Demo, description=__doc__)()
