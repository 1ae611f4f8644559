"""A run of a system that has no commands of its own: `rayforge module:NAME train`, and its report.

The folder, its lock, the settings, metrics and signals are here; what is trained is the system's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rayforge.errors import RunError
from rayforge.files import clear_parts, write_json, write_text
from rayforge.readers.json_text import read_json_lines
from rayforge.reports.page import report_page
from rayforge.reports.section import Cell, Code, Facts, Row, Section, Table, Text
from trainers.configuration import placed, read_configuration, to_yaml
from trainers.runs.folder import check_place, command_line, forget_after, hardware, working_in
from trainers.runs.identity import check_settings
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
    config = config if resume else placed(config)
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
    """Write report.html of a run folder: its settings and the figures of each report."""
    records = records_of(run)
    names = [name for name in (records[-1] if records else {}) if name != "iteration"]
    rows = [
        Row(Cell(str(r["iteration"])), [Cell(f"{r.get(name, math.nan):.4g}") for name in names])
        for r in records
    ]
    settings = (run / "config.yaml").read_text()
    sections = [
        Section(
            "Figures", [Table(["Report", *names], rows) if rows else Text("None yet.", "gone")]
        ),
        Section("Settings", [Facts([("config.yaml", Code(settings))])]),
    ]
    write_text(run / "report.html", report_page(run.resolve().name, "RayForge run", sections))
    return run / "report.html"
