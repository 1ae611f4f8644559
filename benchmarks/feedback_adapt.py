"""What mined pairs gain: the same further training with and without them.

    python -m benchmarks.feedback_adapt --log runs/feedback/seed-0/log_personal.jsonl

Of a log of `benchmarks.feedback` the requests for half of the ways count; success is measured on
the instructions of the other half. "corrections": walks that people corrected until they ended
well, with every request that meant them. "unlabelled": beside these, requests that nothing
answered, with the way that the planner chooses for them. "without": as many updates of the same
training from the original demonstrations alone. Resumable: the same command goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.r2r import HELD_OUT
from envs.episodes.r2r import write_r2r
from envs.sessions.log import read_log
from envs.sessions.people import Route
from rayforge.errors import DataError
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from rayforge.files import write_json
from trainers.feedback.follower import Follower, Request
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
    log: Path = Path("runs/feedback/seed-0/log_personal.jsonl")
    """A log with truth, which says what way was meant; mining itself reads none."""
    updates: int = 120
    """Updates of cloning from old and new demonstrations."""
    confidence: float = 0.5
    """The planner's least probability of a way that it gives an unanswered request."""
    seeds: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = KINDS
    tested: int = 600
    """Instructions of the other half that are scored, at most."""

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
        """Write the pairs that requests for half of the ways give; the other half's
        instructions."""
        planner = "map" if "unlabelled" in self.kinds else "none"
        follower = Follower.open(self.assistant, planner, "", "held_out")
        rng = np.random.default_rng(0)
        wanted: dict[tuple[str, str, str], Route] = {}
        others: list[tuple[Route, str]] = []
        for building in HELD_OUT:
            own = follower.routes[building]
            order = rng.permutation(len(own))
            half = [own[k] for k in order[: len(own) // 2]]
            wanted |= {(building, r.start, r.goal): r for r in half}
            others += [
                (route, text)
                for k in order[len(own) // 2 :]
                if (building, (route := own[k]).start, route.goal) not in wanted
                for text in route.wordings
            ]
        turns = [
            turn
            for turn in read_log(self.log).turns
            if turn.truth is not None and turn.path
            and (turn.building, turn.path[0], turn.truth.place) in wanted
        ]  # fmt: skip
        most = follower.agent.config.max_steps
        shown, left = demonstrations(turns, most), unlabelled(turns)
        if not shown:
            raise DataError(f"{self.log}: no request was corrected; take a longer log")
        write_r2r(self.out / "corrections.json", shown)
        labelled = list(shown)
        asked = [
            (record, text) for record in left for text in record["instructions"]
        ] if planner == "map" else []  # fmt: skip
        walks = follower.walks(
            [Request(r["scan"], r["path"][0], r["heading"], text) for r, text in asked]
        )
        for (record, text), walk in zip(asked, walks, strict=True):
            if walk.confidence >= self.confidence and 1 < len(walk.path) < most:
                labelled.append(
                    record | {"path": list(walk.path), "instructions": [text],
                              "path_id": shown[0]["path_id"] + 500_000 + len(labelled)}
                )  # fmt: skip
        write_r2r(self.out / "unlabelled.json", labelled)
        counts = {
            "turns": len(turns), "corrections": len(shown),
            "pairs": sum(len(record["instructions"]) for record in shown),
            "planner_labels": len(labelled) - len(shown),
        }  # fmt: skip
        rows = rng.permutation(len(others))[: self.tested]
        return counts, [others[row] for row in rows]


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
