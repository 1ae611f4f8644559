"""The demonstration's three settings: what agents know of a new building before they go there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.planning_tables import span
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference
from trainers.irl.plan import FILES, open_agent
from trainers.irl.planned import Kind, load_planner, planned_paths

SETTINGS: dict[str, tuple[Kind, int]] = {
    "first sight (nothing is known)": ("samples", 1),
    "imagined (16 roll-outs in a model of it)": ("samples", 16),
    "mapped (walked before)": ("map", 1),
}
"""What plans, and among how many roll-outs; among one it is the policy's best way."""


def make_planners(rewards: Mapping[Path, str], updates: int) -> None:
    """`rayforge irl plan` of each run with its kind of reward, side by side, where it is missing.

    Raises RuntimeError where one fails.
    """
    active = []
    for run, reward in rewards.items():
        if not (run / FILES[1]).is_file():
            command = [sys.executable, "-m", "trainers.cli", "irl", "plan", str(run)]
            active.append(
                subprocess.Popen([*command, "--reward", reward, "--updates", str(updates)])
            )
    if any([process.wait() for process in active]):
        raise RuntimeError("rayforge irl plan failed; its message is above")


@torch.no_grad()
def three_settings(runs: Mapping[str, Path], split: str) -> str:
    """A Markdown table: success of each run in each setting on a split, 95 % intervals over
    episodes, and the first run minus the last one, paired."""
    torch.set_num_threads(1)
    lines = [
        f"{split}: success by what is known of a building",
        f"| | {' | '.join(SETTINGS)} |",
        "|---" * (1 + len(SETTINGS)) + "|",
    ]
    reached: dict[str, list[np.ndarray]] = {}
    for name, run in runs.items():
        agent = open_agent(run, (split,))
        plans, asked = load_planner(run, agent), agent.task.splits[split]
        rows = np.arange(len(asked))
        reached[name] = [
            agent.task.world.reached(
                asked, rows, planned_paths(plans, agent, kind, asked, asked.paths.tokens, count)
            ).astype(np.float64)
            for kind, count in SETTINGS.values()
        ]
        cells = [span(bootstrap_interval(found)) for found in reached[name]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    first, *_, last = reached
    cells = [
        span(paired_difference(a, b), "+")
        for a, b in zip(reached[first], reached[last], strict=True)
    ]
    lines.append(f"| {first} minus {last}, paired | {' | '.join(cells)} |")
    return "\n".join(lines)
