"""What every analysis leaves: one JSON with intervals, and one report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import Interval, seed_interval
from rayforge.files import write_json
from rayforge.reports.page import report_page, write_page
from rayforge.reports.section import Code, Facts, Section, Text


def write_results(
    folder: Path, name: str, document: dict[str, Any], title: str, sections: Sequence[Section],
    command: str,
) -> Path:  # fmt: skip
    """`NAME.json` and `NAME.html` in a folder; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", plain({"command": command, **document}))
    told = Section("How it was made", [Facts([("Command", Code(command))])])
    page = report_page(title, "RayForge analysis", [*sections, told])
    file = write_page(folder / f"{name}.html", page)
    print(f"report: {file}", flush=True)
    return file


def plain(value: Any) -> Any:
    """As JSON holds it: intervals as {mean, low, high, count}, what is not finite as null."""
    if isinstance(value, Interval):
        return {k: plain(v) for k, v in value.as_dict().items()}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def over_batches(values: Any) -> Interval:
    """A mean over batches with its Student t interval."""
    return seed_interval(np.asarray(values, np.float64))


def note(text: str) -> Text:
    """What a picture does not prove, set apart."""
    return Text(text, "note")
