"""A run of a system that has no commands of its own: `rayforge module:NAME train`, and its report.

The folder, its lock, the settings, metrics and signals are here; what is trained is the system's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.files import clear_parts, write_json, write_text
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.json_text import read_json_lines, read_object
from rayforge.reports.page import report_page
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.run_folder import interval, number, read_run
from rayforge.reports.section import (
    Cell,
    Code,
    Facts,
    Lines,
    Picture,
    Pictures,
    Row,
    Section,
    Table,
    Text,
)
from rayforge.reports.tables import AGENTS, metric_table
from trainers.configuration import placed, read_configuration, to_yaml
from trainers.runs.folder import check_place, command_line, forget_after, hardware, working_in
from trainers.runs.identity import check_settings, going_on
from trainers.runs.stopping import resume_with, stoppable
from trainers.runs.system import System

REPORTS = 8
"""Reports of a run, where the system leaves their number open."""


def train(system: System, command: str, config: Any, run: Path, resume: bool) -> None:
    """Train into the run folder, or go on with what it holds; write its report.

    `command` is what stands after `rayforge` on the command line. Raises UserError before training
    starts wherever possible, and KeyboardInterrupt on SIGTERM or SIGINT.
    """
    check_place(run, resume)
    config = going_on(run, config) if resume else placed(config)
    last = system.reports(config, REPORTS)
    if resume:
        saved = read_configuration(system.configuration, run / "config.yaml")
        check_settings(saved, config, str(run))
    system.prepare(config)
    line = resume_with(f"rayforge {command}", run)
    with working_in(run, new=not resume), stoppable(line):
        if not resume:
            write_json(run / "run.json", {"command": command_line(), "hardware": hardware()})
        clear_parts(run, below=True, older_than_s=0.0)
        write_text(run / "config.yaml", to_yaml(config))
        done = len(records_of(run))
        forget_after(run / "metrics.jsonl", done)  # a line that a kill cut short
        numbers = range(done + 1, last + 1)
        for number, figures in zip(numbers, system.train(config, run, numbers), strict=True):
            with (run / "metrics.jsonl").open("a") as log:
                log.write(json.dumps({"iteration": number, **figures}) + "\n")
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"report {number}/{last}  {shown}", flush=True)
        print(f"report: {write_report(run)}", flush=True)


def records_of(run: Path) -> list[dict[str, Any]]:
    """The reports of a run, in order; a line that was cut short ends them."""
    found: list[dict[str, Any]] = []
    if not (run / "metrics.jsonl").is_file():
        return found
    try:
        for _, record in read_json_lines(run / "metrics.jsonl", RunError):
            if not isinstance(record, dict) or record.get("iteration") != len(found) + 1:
                break
            found.append(record)
    except RunError:
        pass
    return found


def write_report(run: Path) -> Path:
    """Write report.html of a run folder: how it was made, what `evaluation.json` says, the figures
    of each report and its settings."""
    records = records_of(run)
    names = [name for name in (records[-1] if records else {}) if name != "iteration"]
    rows = [
        Row(Cell(str(r["iteration"])), [Cell(f"{r.get(name, math.nan):.4g}") for name in names])
        for r in records
    ]
    table = Section("Every report", [Table(["Report", *names], rows)], folded=True)
    told = read_run(run)
    facts = Facts([
        ("Hardware", told.stated("hardware")), ("Seed", told.stated("seed")),
        ("Command", Code(told.stated("command")) if told.stated("command") else ""),
    ])  # fmt: skip
    sections = [
        Section("", [facts]),
        *_evaluation(run),
        Section(
            "Learning",
            [Pictures(_curves(records, names)), table]
            if rows
            else [Text("No report yet.", "gone")],
        ),
        Section("Settings", [Lines((run / "config.yaml").read_text())]),
    ]
    write_text(run / "report.html", report_page(run.resolve().name, "RayForge run", sections))
    return run / "report.html"


def _curves(records: list[dict[str, Any]], names: list[str]) -> list[Picture]:
    """A picture of each figure, over updates where they are counted, else over reports."""
    x = "updates" if "updates" in names else "iteration"
    at = np.array([number(record.get(x)) for record in records])
    return [
        picture
        for name in names
        if name != x
        for picture in line_chart(
            name, [Series(name, at, np.array([number(r.get(name)) for r in records]))],
            x="updates" if x == "updates" else "reports",
        )
    ]  # fmt: skip


def _evaluation(run: Path) -> list[Section]:
    """What was scored, {name: {metric: figure}}; none where nothing was."""
    file = run / "evaluation.json"
    if not file.is_file():
        return []
    try:
        document = read_object(file, RunError)
        scores = document["scores"]
        rows = [(name, AGENTS.get(name, ""), own, not k) for k, (name, own) in
                enumerate(scores.items())]  # fmt: skip
        counts = [interval(figure).n for own in scores.values() for figure in own.values()]
        below = f"Means over {max(counts, default=0):,} cases with 95 % bootstrap intervals."
        command = Facts([("Command", Code(str(document.get("command", ""))))])
        return [Section("Evaluation", [metric_table(rows, below, "What is scored"), command])]
    except (RunError, LookupError, ValueError, TypeError, AttributeError) as error:
        text = f"{file.name} cannot be read: {one_line(repr(error), REASON)}"
        return [Section("Evaluation", [Text(text, "gone")])]
