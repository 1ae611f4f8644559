"""Whether the completed mask of the object that an instruction names helps an agent in 3-D scenes.

    python -m benchmarks.completed_mask --out runs/completed_mask

A network of amodal segmentation learns from walks past furniture. Then agents are cloned in
generated houses, with and without `network.completed_mask`, on the same demonstrations in the same
order, and walk in other houses. A third one has the same start as the one with completed masks and
is told the visible mask in both places: what it has less is what completing adds. Every finished
part is kept, and the same command goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from envs.houses.dataset import write_houses
from envs.simulators.simulator import Camera, SimulatorConfig
from rayforge.evaluation.intervals import paired_difference, seed_interval
from rayforge.files import write_json
from trainers import cli
from trainers.analysis.cloning import Block, clone, new_agent, read_cached, small_config
from trainers.analysis.results import plain
from trainers.analysis.trials import run_trials
from trainers.irl.evaluate import scores_of
from trainers.runs.checkpoint import latest

Arm = Literal["without", "visible", "completed"]
ARMS: tuple[Arm, ...] = ("without", "visible", "completed")


@dataclass(frozen=True)
class CompletedMask:
    """Clone agents with and without the completed mask, and compare their success."""

    out: Path
    """Folder of data, runs and figures."""
    seeds: int = 2
    """Seeds of each arm."""
    updates: int = 400
    """Updates of each agent."""
    side: int = 32
    """Pixels of an image's side."""
    houses: int = 12
    """Training houses; a third as many are for scoring."""
    paths: int = 12
    """Paths in a house, each with three instructions."""
    amodal_updates: int = 300
    """Updates of the amodal network."""


@dataclass(frozen=True)
class Trial:
    """An agent to clone and to score."""

    asked: CompletedMask
    arm: Arm
    seed: int


def run_trial(trial: Trial) -> dict[str, Any]:
    """Success and SPL of each episode in other houses, and which instructions name an object."""
    torch.set_num_threads(1)
    asked = trial.asked
    run = "" if trial.arm == "without" else str((asked.out / "amodal").absolute())
    camera = Camera(width=asked.side, height=asked.side)
    config = small_config(
        {"env": "continuous", "data": str((asked.out / "houses").absolute()), "batch": 24,
         "max_walk": 120, "inflection_weight": 3.0, "max_words": 60,
         "network": {"word": 32, "hidden": 96, "feature_dropout": 0.2, "completed_mask": run}}
    )  # fmt: skip
    config = replace(config, simulation=SimulatorConfig(camera=camera))
    task = read_cached(config, ("train", "val_unseen"))
    named = read_cached(_told(config, asked), ("train", "val_unseen")).world.completion
    if trial.arm == "visible":
        assert task.world.completion is not None
        task = replace(task, world=replace(task.world, completion=Visible(task.world.completion)))
    split, test = task.splits["train"], task.splits["val_unseen"]
    agent = new_agent(config, task, trial.seed)
    parts = 8
    blocks = [Block(asked.updates // parts, 2e-3 * 0.75**k) for k in range(parts)]
    agent = clone(agent, split, np.arange(len(split)), blocks, config.batch, trial.seed)
    values = scores_of(agent.policy, task.world, test)
    return {
        "arm": trial.arm, "seed": trial.seed, "success": values["success"].tolist(),
        "spl": values["spl"].tolist(), "metres": values["navigation_error"].tolist(),
        "names": (named.named(test.paths.tokens) >= 0).tolist(),
    }  # fmt: skip


def _told(config: Any, asked: CompletedMask) -> Any:
    run = str((asked.out / "amodal").absolute())
    return replace(config, network=replace(config.network, completed_mask=run))


class Visible:
    """A completion that says in both places how much is seen."""

    def __init__(self, completion: Any) -> None:
        self.completion, self.figures = completion, completion.figures

    def named(self, tokens: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.completion.named(tokens)
        return found

    def along(self, *given: Any) -> np.ndarray:
        figures = self.completion.along(*given)
        figures[..., 1] = figures[..., 0]
        return np.asarray(figures)

    def step(self, *given: Any) -> tuple[torch.Tensor, Any]:
        figures, going = self.completion.step(*given)
        figures[..., 1] = figures[..., 0]
        return figures, going


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Success by arm over seeds, and paired differences over episodes and seeds, of all episodes
    and of those whose instruction names an object."""
    by = {(row["arm"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    names = np.array(rows[0]["names"])
    found: dict[str, Any] = {"episodes": len(names), "naming": int(names.sum())}
    for figure in ("success", "spl", "metres"):
        values = {arm: np.array([by[arm, s][figure] for s in seeds]) for arm in ARMS}
        found[figure] = {arm: seed_interval(v.mean(1)) for arm, v in values.items()}
        for kind, kept in (("all", np.ones_like(names)), ("naming", names)):
            for other in ("without", "visible"):
                # Episodes are drawn anew, with what all seeds made of each.
                pair = (values[arm].mean(0)[kept] for arm in ("completed", other))
                key = f"{figure}: completed - {other}, {kind}"
                found[key] = paired_difference(*pair)
    return found


def main(asked: CompletedMask) -> None:
    if not (asked.out / "houses" / "houses.json").is_file():
        write_houses(
            asked.out / "houses", train_houses=asked.houses,
            unseen_houses=max(1, asked.houses // 3), paths_per_house=asked.paths, seed=11,
        )  # fmt: skip
    run = asked.out / "amodal"
    if not (run / "evaluation.json").is_file():
        if latest(run / "checkpoints") is None:
            cli.main(
                ["amodal", "train", "--data", "walk", "--run", str(run), "--side", str(asked.side),
                 "--flow", "depth", "--directions", "onward", "--clips", "36", "--threads", "1",
                 "--updates", str(asked.amodal_updates)]
            )  # fmt: skip
        cli.main(["amodal", "evaluate", str(run)])
    trials = {
        f"{arm} seed {seed}": Trial(asked, arm, seed) for seed in range(asked.seeds) for arm in ARMS
    }
    rows = run_trials(run_trial, trials, asked.out, 0)
    document = summarise(list(rows.values()))
    write_json(asked.out / "completed_mask.json", plain(document))
    for name, value in document.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main(tyro.cli(CompletedMask))
