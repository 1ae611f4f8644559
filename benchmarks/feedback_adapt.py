"""What mined pairs gain: the same further training with and without them.

    python -m benchmarks.feedback_adapt --assistant runs/follower --out runs/feedback_adapt

Half of the ways of the held-out buildings are what simulated users want; success is measured on the
instructions of the other half. "corrections": walks that people corrected until they ended well,
with every request that meant them. "unlabelled": beside these, requests that nothing answered, with
the way that the planner chooses for them. "without": as many updates of the same training from the
original demonstrations alone. Resumable: the same command goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.r2r import HELD_OUT
from envs.episodes.r2r import write_r2r
from envs.sessions.people import Route
from rayforge.errors import DataError
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import write_json
from trainers.feedback.config import FeedbackConfig
from trainers.feedback.follower import Follower, Request
from trainers.feedback.loop import simulated
from trainers.feedback.mined import demonstrations, unlabelled
from trainers.irl.adapt import adapt
from trainers.irl.adapt_config import AdaptConfig
from trainers.runs.folder import command_line, hardware

KINDS = ("without", "corrections", "unlabelled")


@dataclass(frozen=True)
class Benchmark:
    """`irl adapt` with mined pairs against the same training without them."""

    assistant: Path = Path("runs/follower")
    """A run on R2R data with the eight buildings held out, with a planner."""
    out: Path = Path("runs/feedback_adapt")
    users: int = 100
    days: int = 10
    updates: int = 120
    """Updates of cloning from old and new demonstrations."""
    confidence: float = 0.5
    """The planner's least probability of a way that it gives an unanswered request."""
    seeds: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = KINDS
    walks: Path | None = None
    """A file of walks of the same agent, as `benchmarks.feedback` keeps one."""

    def __call__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        asked, others = self.mine()
        found: dict[str, Any] = {"settings": {"updates": self.updates, "seeds": self.seeds}}
        scores: dict[tuple[str, int], np.ndarray] = {}
        before = success(self.assistant, others)
        found["before"] = bootstrap_interval(before).as_dict()
        for seed in self.seeds:
            for kind in self.kinds:
                run = self.out / f"{kind}-{seed}"
                if not (run / "report.html").is_file():
                    pairs = "" if kind == "without" else str(self.out / f"{kind}.json")
                    settings = AdaptConfig(
                        walks="none", pairs=pairs, clone_updates=self.updates, updates=0, seed=seed
                    )
                    adapt(self.assistant, HELD_OUT, run, None, settings, command_line())
                scores[kind, seed] = success(run, others)
        for kind in self.kinds:
            own = np.mean([scores[kind, seed] for seed in self.seeds], 0)
            found[kind] = {"success": bootstrap_interval(own).as_dict()}
            if kind != "without" and "without" in self.kinds:
                control = np.mean([scores["without", seed] for seed in self.seeds], 0)
                found[kind]["gain"] = paired_difference(own, control).as_dict()
        found |= {"asked": asked, "instructions": len(others), "hardware": hardware()}
        write_json(self.out / "feedback_adapt.json", found)
        for kind in ("before", *self.kinds):
            row = found[kind] if kind == "before" else found[kind]["success"]
            line = f"{kind:<14}{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            if kind != "before" and "gain" in found[kind]:
                gain = found[kind]["gain"]
                line += f"   {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            print(line)
        print(f"{len(others)} instructions; {asked}; {found['hardware']}")

    def mine(self) -> tuple[dict[str, int], list[tuple[Route, str]]]:
        """Write the pairs that users of half of the ways give; the other half's instructions."""
        follower = Follower.open(self.assistant, "map", "", "held_out")
        if self.walks is not None:
            follower.remember(self.walks)
        wanted: dict[str, tuple[Route, ...]] = {}
        others: list[tuple[Route, str]] = []
        rng = np.random.default_rng(0)
        for building in HELD_OUT:
            own = follower.routes[building]
            order = rng.permutation(len(own))
            half = len(own) // 2
            wanted[building] = tuple(own[k] for k in order[:half])
            ways = {route.path for route in wanted[building]}
            rest = [own[k] for k in order[half:] if own[k].path not in ways]
            others += [(route, text) for route in rest for text in route.wordings]
        config = FeedbackConfig(days=self.days)
        config = replace(config, people=replace(config.people, users=self.users))
        turns = simulated(config, follower, wanted)
        most = follower.agent.config.max_steps
        shown, left = demonstrations(turns, most), unlabelled(turns)
        if not shown:
            raise DataError("no request was corrected: take more users or days")
        write_r2r(self.out / "corrections.json", shown)
        labelled = list(shown)
        for record in left:
            for text in record["instructions"]:
                ask = Request(record["scan"], record["path"][0], record["heading"], text)
                walk = follower.walks([ask])[0]
                if walk.confidence >= self.confidence and 1 < len(walk.path) < most:
                    labelled.append(
                        record | {"path": list(walk.path), "instructions": [text],
                                  "path_id": shown[0]["path_id"] + 500_000 + len(labelled)}
                    )  # fmt: skip
        write_r2r(self.out / "unlabelled.json", labelled)
        right = [
            follower.metres(r["scan"], r["path"][-1], route.goal) < 3.0
            for r in shown
            for route in wanted[r["scan"]]
            if route.start == r["path"][0] and route.wordings[0] in r["instructions"]
        ]
        return (
            {
                "turns": len(turns), "corrections": len(shown),
                "planner_labels": len(labelled) - len(shown),
                "unanswered": sum(len(record["instructions"]) for record in left),
                "checked": len(right), "right": int(sum(right)),
            },
            others,
        )  # fmt: skip


def success(run: Path, instructions: list[tuple[Route, str]]) -> np.ndarray:
    """Whether a run's policy, at first sight, reaches the goals, float64 [n]."""
    follower = Follower.open(run, "none", "", "held_out")
    walks = follower.walks([Request(r.building, r.start, r.heading, t) for r, t in instructions])
    return np.array(
        [
            follower.metres(route.building, walk.path[-1], route.goal) < 3.0
            for (route, _), walk in zip(instructions, walks, strict=True)
        ],
        np.float64,
    )


if __name__ == "__main__":
    tyro.cli(Benchmark)()
