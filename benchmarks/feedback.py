"""Learning from use on R2R buildings held out from training, with real instructions.

    python -m benchmarks.feedback --assistant runs/follower --out runs/feedback --seeds 0 1 2

Simulated users live in the eight buildings that `benchmarks.r2r` holds out. Five assistants meet
the same users: without anything, with the chain's table, with global online rewriting, with the
personal layer, with teaching. Seeds differ in users, wishes and noise; the agent is one. Then the
first seed again at other noise rates, with fewer users. Resumable: the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.r2r import HELD_OUT
from envs.sessions.log import read_log
from rayforge.errors import RunError
from rayforge.evaluation.intervals import seed_interval
from rayforge.files import write_json, write_text
from trainers.configuration import read_configuration, to_yaml
from trainers.feedback import loop
from trainers.feedback.config import ARMS, Arm, FeedbackConfig
from trainers.feedback.figures import (
    day_figures,
    defects_of_users,
    example,
    judge,
    rate_interval,
    saved,
)
from trainers.feedback.follower import Follower
from trainers.feedback.page import NAMES, WARM, write_page
from trainers.runs.folder import hardware, held

NOISE: dict[str, dict[str, Any]] = {
    "none": {"private": 0.0, "vague": 0.0, "ambiguous": 0.0, "sound": 0.0, "mistaken": 0.0},
    "default": {},
    "twice": {"private": 0.3, "vague": 0.2, "ambiguous": 0.1, "sound": 0.02, "mistaken": 0.06},
}
"""Rates of `PeopleConfig` that differ from its defaults."""


@dataclass(frozen=True)
class Benchmark:
    """The closed loop with and without each part."""

    assistant: Path = Path("runs/follower")
    """A run on R2R data with the eight buildings held out."""
    out: Path = Path("runs/feedback")
    """Folder of the runs."""
    planner: Literal["none", "map"] = "none"
    """How the agent follows: by its policy, or on a map (`rayforge irl plan`)."""
    users: int = 200
    days: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[Arm, ...] = ARMS
    noise_users: int = 40
    """Users at the other noise rates; 0 leaves them out."""

    def __call__(self) -> None:
        started = time.perf_counter()
        follower = Follower.open(self.assistant, self.planner, "", "held_out")
        self.out.mkdir(parents=True, exist_ok=True)
        follower.remember(self.out / "walks.jsonl")
        base = FeedbackConfig(
            assistant=str(self.assistant), planner=self.planner, buildings=HELD_OUT, days=self.days,
            arms=self.arms,
        )  # fmt: skip
        # Two in three requests fail at first, so that a wrong rewrite costs no more than a right
        # one gains. The sizes keep a night within half a minute.
        quick = replace(
            base.online, folds=2, harm=1.0, false_alarms=0.1,
            encoder=replace(base.online.encoder, epochs=6),
            rewriting=replace(base.online.rewriting, personal_k=5, global_k=20),
        )  # fmt: skip
        people = replace(base.people, users=self.users)
        base = replace(base, people=people, online=quick, online_turns=1000)
        results: dict[str, Any] = {"seeds": {}, "noise": {}, "hardware": hardware()}
        for seed in self.seeds:
            run = self.out / f"seed-{seed}"
            results["seeds"][seed] = run_loop(replace(base, seed=seed), run, follower)
            write_json(self.out / "feedback.json", results)
        for name, rates in NOISE.items() if self.noise_users else ():
            people = replace(base.people, users=self.noise_users, **rates)
            run = self.out / f"noise-{name}"
            results["noise"][name] = run_loop(replace(base, people=people), run, follower)
        results["minutes"] = round((time.perf_counter() - started) / 60, 1)
        write_json(self.out / "feedback.json", results)
        print_results(results, self.arms)


def run_loop(config: FeedbackConfig, run: Path, follower: Follower) -> dict[str, Any]:
    """One loop, or what is left of it, and its figures."""
    run.mkdir(parents=True, exist_ok=True)
    file = run / "config.yaml"
    if file.is_file() and read_configuration(FeedbackConfig, file) != config:
        raise RunError(f"{run} was begun with other settings: name another folder with --out")
    write_text(file, to_yaml(config))
    done = len(loop.days_of(run))
    with held(run):
        numbers = range(done + 1, config.days + 1)
        routes = dict(follower.routes)
        for number, figures in zip(
            numbers, loop.train(config, run, numbers, follower, routes), strict=True
        ):
            shown = "  ".join(
                f"{arm} {figures[f'defect/{arm}']:.3f}" for arm in config.arms
            )  # fmt: skip
            print(f"{run.name} day {number}/{config.days}: {shown}", flush=True)
    found = figures_of(config, run, follower)
    write_page(run)
    return found


def figures_of(config: FeedbackConfig, run: Path, follower: Follower) -> dict[str, Any]:
    """Defect rates after the first days, what each part saves, what rewrites won and lost."""
    first = int(config.days * WARM)
    logs = {arm: read_log(loop.log_file(run, arm)).turns for arm in config.arms}
    users = {arm: defects_of_users(turns, first) for arm, turns in logs.items()}
    found: dict[str, Any] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    before: Arm | None = None
    for arm, turns in logs.items():
        rewritten = judge(turns, follower)
        by_source = {
            source: [
                sum(one.won for one in rewritten if one.turn.source == source),
                sum(one.lost for one in rewritten if one.turn.source == source),
            ]
            for source in sorted({one.turn.source for one in rewritten})
        }
        examples[arm] = [
            example(one)
            for kind in (True, False)
            for one in [o for o in rewritten if (o.won if kind else o.lost)][-6:]
        ]
        late = [turn for turn in turns if int(turn.turn_id.split("-", 1)[0]) >= first]
        found[arm] = {
            "defect": rate_interval(users[arm]).as_dict(), "figures": day_figures(late),
            "won_lost": by_source,
            "saved": saved(users[before], users[arm]).relative.as_dict() if before else None,
            "saved_in_all": saved(users[config.arms[0]], users[arm]).relative.as_dict(),
            "turns": len(turns),
        }  # fmt: skip
        before = arm
    write_json(run / "judged.json", examples)
    return found


def print_results(results: dict[str, Any], arms: Sequence[Arm]) -> None:
    seeds = list(results["seeds"].values())
    print(f"\n{len(seeds)} seeds; defect rates in the second half of the days")
    for arm in arms:
        rates = [run[arm]["defect"]["mean"] for run in seeds]
        found = seed_interval(rates)
        line = f"{NAMES[arm]:<22}{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
        if seeds[0][arm]["saved"]:
            steps = seed_interval([run[arm]["saved"]["mean"] for run in seeds])
            line += f"   {steps.mean:.1%} fewer [{steps.low:.1%}, {steps.high:.1%}]"
        pairs = {s for run in seeds for s in run[arm]["won_lost"]}
        for source in sorted(pairs):
            won, lost = np.sum([run[arm]["won_lost"].get(source, [0, 0]) for run in seeds], 0)
            line += f"   {source} {won}:{lost}"
        print(line)
    for name, run in results["noise"].items():
        shown = "  ".join(f"{arm} {run[arm]['defect']['mean']:.3f}" for arm in arms)
        print(f"noise {name:<10}{shown}")
    print(f"{results['minutes']} minutes, {results['hardware']}")


if __name__ == "__main__":
    tyro.cli(Benchmark)()
