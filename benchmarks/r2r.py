"""LangGoalIRL and cloning on real Room-to-Room data, eight buildings held out.

    python -m benchmarks.r2r ../shared/data/r2r --out runs/r2r --seeds 0 1 2

Both methods take the same number of updates of the same policy from the same seeds, with the
defaults of `rayforge irl train`; "GCBC" is cloning continued for as many updates as LangGoalIRL
spends on its adversarial part. The controls take the first seed alone: cloning that reads nothing,
and cloning that sees the room labels of neighbours. Resumable: the same command goes on where it
was broken off, and only prints where all is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.sub_runs import print_comparison, run_all
from rayforge.reports.comparison import write_comparison
from rayforge.settings import NOT_LEARNT, settings_with
from trainers.irl.config import IRLConfig

HELD_OUT = (
    "B6ByNegPMKs", "E9uDoFAP3SH", "EDJbREhghzL", "JmbYfDe2QKZ",
    "mJXqzFtmKg4", "pRbA3pwrgk9", "r1Q1Z4BcV1o", "sKLMLpTHeUy",
)  # fmt: skip
"""The unseen buildings of every reported figure; never trained on, never tuned on.

Of two hundred random draws of eight (out of those with 200 instructions, without the ones below) it
is the nearest to all of training in path length, neighbours a viewpoint and the success of walking
straight ahead, all of which can be had without any learning. Eight buildings differ much: another
draw had paths of 11.5 m where all of training has 9.9 m, and cloning reached 0.29 there.
"""

TUNING = (
    "5q7pvUzZiYa", "7y3sRwLe3Va", "D7N2EKCX4Sj", "aayBHfsNo7d",
    "rPc6DW4iMge", "sT4fr6TAbpF", "ur6pFq6Qu1A", "vyrNrziPKCB",
)  # fmt: skip
"""The buildings held out while settings were chosen."""


@dataclass(frozen=True)
class Benchmark:
    """LangGoalIRL (full) against continued cloning on an R2R folder."""

    data: tyro.conf.Positional[Path]
    """Folder of R2R data."""
    out: Path = Path("runs/r2r")
    """Folder of the runs and of the comparison."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each method."""
    parallel: int = 2
    """Runs at a time, one core each."""

    def __call__(self) -> None:
        common = ["irl", "train", "--data", str(self.data), "--held-out", *HELD_OUT]
        methods: dict[str, tuple[str, tuple[int, ...], list[str]]] = {
            "LangGoalIRL full": ("langgoal", self.seeds, ["--method", "langgoal"]),
            "GCBC, neighbours' rooms visible": (
                "rooms", self.seeds[:1], ["--method", "gcbc", "--neighbour-rooms"]
            ),
            "GCBC without text": ("no-text", self.seeds[:1], ["--method", "gcbc", "--no-text"]),
            "GCBC": ("gcbc", self.seeds, ["--method", "gcbc"]),
        }  # fmt: skip
        groups = {
            method: [self.out / f"{name}-{seed}" for seed in seeds]
            for method, (name, seeds, _) in methods.items()
        }
        runs = {
            self.out / f"{name}-{seed}": [*common, *settings, "--seed", str(seed)]
            for seed in self.seeds
            for name, seeds, settings in methods.values()
            if seed in seeds
        }
        run_all(runs, self.parallel)
        print(print_comparison(groups, ("val_seen", "held_out")))
        page = write_comparison(
            list(runs), self.out / "comparison.html", settings_with(IRLConfig, NOT_LEARNT)
        )
        print(page)


if __name__ == "__main__":
    tyro.cli(Benchmark, description=__doc__)()
