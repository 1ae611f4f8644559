"""Tables of `benchmarks.planning`: rows of one setting, paired with the planner's."""

from __future__ import annotations

import numpy as np

from rayforge.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    seed_interval,
)

PLANNED = "LangGoalIRL plans: reward + generator + log pi"


def first_sight_table(split: str, found: dict[str, list[np.ndarray]]) -> str:
    """Success, SPL and metres walked, the mean over seeds."""
    lines = [
        f"first sight, {split}:",
        "",
        "| | success | SPL | metres walked |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(key.split("/")[0] for key in found):
        cells = [
            span(bootstrap_interval(np.mean(found[f"{name}/{metric}"], 0)))
            for metric in ("success", "spl", "path_length")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def mapped_table(split: str, found: dict[str, dict[int, np.ndarray]]) -> str:
    """Success of every row, over episodes and over seeds, and what the planner has over it."""
    lines = [
        f"mapped, {split}:", "",
        "| chosen by | seeds | success, over episodes | over seeds | planner minus it | ratio |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    planned = found.get(PLANNED, {})
    for row, values in found.items():
        own = np.mean(list(values.values()), 0)
        seeds = [float(v.mean()) for v in values.values()]
        cells = [
            row, str(len(values)), span(bootstrap_interval(own)),
            span(seed_interval(seeds)) if len(seeds) > 1 else "",
        ]  # fmt: skip
        # Another's instruction is told to a part of the instructions alone: nothing to pair.
        both = [k for k in sorted(values) if k in planned and len(values[k]) == len(planned[k])]
        if both and row != PLANNED:
            best = np.mean([planned[seed] for seed in both], 0)
            same = np.mean([values[seed] for seed in both], 0)
            cells += [span(paired_difference(best, same), "+"), f"{best.mean() / same.mean():.2f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def span(interval: Interval, sign: str = "") -> str:
    return f"{interval.mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"
