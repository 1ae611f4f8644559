"""The part of a run's report that says what its planner learnt, and what planning gains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.json_text import read_object
from rayforge.reports.plots import Series, line_chart, show
from rayforge.reports.run_folder import number
from rayforge.reports.section import (
    Cell,
    Code,
    Facts,
    Part,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    spoken,
)
from rayforge.reports.tables import metric_table

KINDS = {"map": "among the paths of a map", "samples": "among imagined roll-outs"}
"""Among what the weights of a kind choose."""
AGENTS = {
    "agent": "plans with the instruction of the episode",
    "another's instruction": "the same planner, given the instruction of another episode",
    "walked in 3-D": "the plans, walked by low-level actions",
}


def planner(run: Path) -> list[Section]:
    """The section of `planner.json` and of what was scored with it; none where nothing was planned.

    A damaged file becomes one line that says so.
    """
    parts: list[Part] = []
    for file in (run / "planner.json", *sorted(run.glob("planned_*_*.json"))):
        if not file.is_file():
            continue
        try:
            document = read_object(file, RunError)
            parts += _learnt(document) if file.name == "planner.json" else [_scored(document)]
        except (RunError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as e:
            text = f"{file.name} cannot be read: {one_line(repr(e), REASON)}"
            parts.append(Text(text, "gone"))
    question = "Which path does it choose, and does planning arrive more often?"
    return [Section("Planner", parts, question)] if parts else []


def _learnt(document: dict[str, Any]) -> list[Part]:
    curve = document["curve"]
    at = np.array([number(point["update"]) for point in curve])
    drawn = line_chart(
        "Loss of the reward", [
            Series("training", at, np.array([number(p["loss"]) for p in curve]), 0),
            Series("held-back instructions", at,
                   np.array([number(p["held_back_nats"]) for p in curve]), 1),
        ], y="nats a path", hint="The reward is kept as it was at its best on the held-back ones.",
    )  # fmt: skip
    fitted = document["fitted"]
    names = sorted({name for kind in fitted.values() for name in kind["weights"]})
    rows = [
        Row(Cell(KINDS.get(kind, kind)),
            [*(Cell(show(number(own["weights"].get(name)))) for name in names),
             Cell(show(number(own["nats"]))), Cell(show(number(own["success"])))])
        for kind, own in fitted.items()
    ]  # fmt: skip
    below = (
        "A path's score is the sum of these, each times its weight. The weights are fitted on the "
        "held-back instructions, and success is on the same: it is no estimate for new buildings."
    )
    head = ["It chooses", *(f"Weight of {name}" for name in names), "Nats", "Success"]
    return [
        Facts([("Command", Code(str(document["command"])))]), Pictures(drawn),
        Table(head, rows, below),
    ]  # fmt: skip


def _scored(document: dict[str, Any]) -> Section:
    rows = [
        (str(name), AGENTS.get(name, ""), figures, name == "agent")
        for name, figures in document["agents"].items()
    ]
    title = f"{spoken(str(document['split']))}, {document['method']}"
    return Section(title, [
        Text(f"{document['setting']}.", "muted"),
        metric_table(rows, "Means with 95 % bootstrap intervals over episodes."),
        Facts([("Command", Code(str(document["command"])))]),
    ])  # fmt: skip
