"""The part of a run's report that says how it was adapted to new buildings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rayforge.errors import RunError
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.json_text import read_object
from rayforge.reports.run_folder import interval
from rayforge.reports.section import (
    Cell,
    Code,
    Example,
    Examples,
    Part,
    Row,
    Section,
    Table,
    Text,
    span,
    spoken,
)

NOTE = (
    "Transductive: the agent walked in these buildings before it was scored in them. Their graphs "
    "and what is seen in them were used, none of their instructions and none of their paths."
)


def adaptation(run: Path) -> list[Section]:
    """The section of `adaptation.json`; none where the run was not adapted.

    A damaged file becomes one line that says so.
    """
    file = run / "adaptation.json"
    if not file.is_file():
        return []
    try:
        return [_section(read_object(file, RunError))]
    except (RunError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
        text = f"{file.name} cannot be read: {one_line(repr(error), REASON)}"
        return [Section("Adaptation", [Text(text, "gone")])]


def _section(document: dict[str, Any]) -> Section:
    buildings = document["buildings"]
    kept = sum(b["kept"] for b in buildings)
    walks = document["settings"]["walks"]
    change: list[Part] = [
        Text(
            f"Success on {spoken(split)}: {found.mean:+z.3f} {span(found)} against the run before, "
            f"paired over {found.n:,} episodes.", "answer",
        )
        for split, figure in document.get("change", {}).items()
        if (found := interval(figure)).n
    ]  # fmt: skip
    came = ("From ", Code(str(document["run"])))
    if walks == "none":
        alone = (
            "; from the demonstrations alone, no building was walked in (a control of adaptation)."
        )
        return Section("Further training", [*change, Text((*came, alone))])
    rows = [
        Row(
            Cell(str(b["scan"]) + (" (in training)" if b["in_training"] else "")),
            [Cell(f"{b[name]:,}") for name in ("walked", "fit", "described", "kept")],
        )
        for b in buildings
    ]
    samples = [
        Example(
            [("Instruction", str(s["sentence"]))],
            f"{b['scan']} · agent {s['follower']:.2f} an action · generator {s['generator']:.2f} "
            f"· {'kept' if s['kept'] else 'rejected'}",
        )
        for b in buildings
        for s in b["samples"][:3]
    ]
    paths = "the goal-agnostic policy" if walks == "policy" else "random walks"
    joined = f"{kept:,} pairs joined {document['demonstrations']:,} demonstrations."
    head = ["Building", "Walks", "Like people's paths", "Described", "Kept"]
    told = "Instructions that the agent wrote for its own walks"
    return Section(
        "Adaptation",
        [
            *change,
            Text(NOTE, "note"),
            Text((*came, f"; paths of {paths}; {joined}")),
            Table(head, rows),
            Section(told, [Examples(samples)], folded=True),
        ],
        "Does walking in the new buildings help there?",
    )
