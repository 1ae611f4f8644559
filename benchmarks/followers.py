"""How well agents judge route instructions: right ones against wrong ones, in unseen houses.

    python -m benchmarks.followers runs/alignment/follower-planner runs/alignment/follower-weak

Each test pair of the route task has an instruction that arrives and one that does not. An agent is
right where it gives the first one more; its clearest pairs are those whose scores are farthest
apart. The area under the curve is over all instructions by themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from envs.houses.route_folder import kept_route_task
from envs.houses.route_houses import ROUTES, kept_route_maps
from envs.houses.route_task import RouteTaskConfig
from rayforge.cache import make_cache_folder
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.win_rate import area_under_curve
from trainers.irl.follower import FollowerJob, check_follower


@dataclass(frozen=True)
class Followers:
    """Agents that read the test pairs of a route task."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs; one that `rayforge irl plan` was called on plans."""
    test_routes: int = 300
    """Pairs."""
    seed: int = 0
    """Of the routes."""

    def __call__(self) -> None:
        routes = RouteTaskConfig(
            pairs=1, start_routes=0, test_routes=self.test_routes, seed=self.seed
        )
        cache = make_cache_folder("routes")
        task = kept_route_task(cache, routes)
        maps = kept_route_maps(cache, task)
        first = len(task.train)
        asked = [
            (first + row, text.strip())
            for side in ("chosen", "rejected")
            for row, text in enumerate(getattr(pair, side) for pair in task.test)
        ]
        print("| follower | right | clearest half | clearest quarter | AUC | seconds |")
        print("|---|---|---|---|---|---|")
        scores = []
        for run in self.runs:
            check_follower(run, maps, sorted({pair.route.house for pair in task.test}))
            began = time.process_time()
            scores.append(FollowerJob(run, maps, ROUTES).load()(asked))
            print(row_of(run.name, scores[-1], time.process_time() - began), flush=True)
        if len(scores) > 1:
            print(row_of("all, the mean", np.mean(scores, 0), 0.0))


def row_of(name: str, scores: np.ndarray, seconds: float) -> str:
    """A Markdown row from scores of right instructions, then of wrong ones, float64 [2 n]."""
    half = len(scores) // 2
    difference = scores[:half] - scores[half:]
    right = np.where(difference == 0, 0.5, difference > 0)
    order = np.argsort(-np.abs(difference), kind="stable")
    cells = []
    for count in (half, half // 2, half // 4):
        over = bootstrap_interval(right[order[:count]])
        cells.append(f"{over.mean:.3f} [{over.low:.3f}, {over.high:.3f}]")
    area = area_under_curve(scores, np.arange(2 * half) < half)
    return f"| {name} | {' | '.join(cells)} | {area:.3f} | {seconds:.0f} |"


if __name__ == "__main__":
    tyro.cli(Followers, description=__doc__)()
