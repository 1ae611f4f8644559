"""What a filled grid of runs and targets says: lines, predictors, effective robustness, the page.

After the assay of Wenzel et al. (NeurIPS 2022). The same for agents, whose rate is success, and for
language models, whose rate is the share of pairs that they order as labelled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import seed_interval
from rayforge.evaluation.robustness import (
    Line,
    effective_robustness,
    fit_line,
    leave_one_out,
    probit,
    runs_needed,
)
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.scatter import scatter_chart
from rayforge.reports.section import Cell, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.results import note

HOME = "home"
"""The target of a row that scores a run where it was trained."""


@dataclass(frozen=True)
class Measured:
    """What the rows of a grid hold."""

    rate: str
    """Key of the rate that is compared, in [0, 1]."""
    title: str
    """The rate as tables call it."""
    predictors: Mapping[str, str]
    """Keys of the figures at home that may predict the rate elsewhere, and their names."""
    base: str = ""
    """The group whose line effective robustness is measured from; else the first by name."""


def summarise_transfer(rows: list[dict[str, Any]], measured: Measured) -> dict[str, Any]:
    """Lines, predictors and effective robustness of a filled grid, one row a run and target."""
    rate = measured.rate
    home = {row["run"]: row for row in rows if row["target"] == HOME}
    away = [row for row in rows if row["target"] != HOME]
    names = list(dict.fromkeys(row["target"] for row in away))
    groups = sorted({row["group"] for row in rows})
    first = measured.base if measured.base in groups else groups[0]
    targets: dict[str, Any] = {}
    pair, target_rate = [], []
    figures: dict[str, list[float]] = {name: [] for name in measured.predictors}
    robust: dict[str, list[float]] = {group: [] for group in groups}
    for number, name in enumerate(names):
        own = [row for row in away if row["target"] == name]
        x = np.array([home[row["run"]][rate] for row in own])
        y = np.array([row[rate] for row in own])
        counts = np.array([row["episodes"] for row in own])
        base = np.array([row["group"] == first for row in own])
        line = fit_line(x, y, counts)
        baseline = fit_line(x[base], y[base], counts[base]) if base.sum() > 2 else line
        if np.isfinite(baseline.slope):
            gains = effective_robustness(baseline, x, y, counts)
            for row, gain in zip(own, gains, strict=True):
                robust[row["group"]].append(float(gain))
        targets[name] = {
            rate: seed_interval(y), "lost": seed_interval(x - y),
            "line": line._asdict(), "calibration": seed_interval([r["ece"] for r in own]),
        }  # fmt: skip
        for row in own:
            pair.append(number)
            target_rate.append(row[rate])
            for key in measured.predictors:
                value = home[row["run"]][key]
                value = math.nan if value is None else float(value)
                figures[key].append(float(probit(np.array(value))) if key == rate else value)
    known = {k: np.array(v) for k, v in figures.items() if np.isfinite(v).all() and np.ptp(v) > 0}
    # Targets differ in how hard they are: each pair is centred, so that what is predicted is which
    # of its runs does better.
    predictors = []
    if len(names) > 1 and known:
        predictors = leave_one_out(known, np.array(target_rate), np.array(pair))
    ranks = [t["line"]["rank"] for t in targets.values() if np.isfinite(t["line"]["rank"])]
    worst = max(targets, key=lambda name: targets[name]["lost"].mean)
    typical = float(np.median(ranks)) if ranks else float("nan")
    return {
        "runs": len(home), "targets": targets, "groups": groups, "base": first, "rows": rows,
        "predictors": [p._asdict() for p in predictors],
        "effective_robustness": {g: seed_interval(v) for g, v in robust.items() if v},
        "worst": worst, "rank": typical,
        "runs_needed": runs_needed(typical) if np.isfinite(typical) and abs(typical) < 1 else None,
    }  # fmt: skip


def transfer_sections(document: dict[str, Any], measured: Measured) -> list[Section]:
    """The page of a grid."""
    rate, name_of = measured.rate, measured.title
    rows, targets = document["rows"], document["targets"]
    home = {row["run"]: row for row in rows if row["target"] == HOME}
    groups = []
    for group in document["groups"]:
        own = [r for r in rows if r["target"] != HOME and r["group"] == group]
        groups.append(
            (group, np.array([float(probit(np.array(home[r["run"]][rate]), r["episodes"]))
                              for r in own]),
             np.array([float(probit(np.array(r[rate]), r["episodes"])) for r in own]),
             [f"{r['run']} on {r['target']}: {r[rate]:.3f}" for r in own])
        )  # fmt: skip
    every = np.concatenate([a for _, a, _, _ in groups])
    ends = np.array([every.min(), every.max()])
    lines = []
    for name, found in list(targets.items())[:8]:
        line = Line(**found["line"])
        if np.isfinite(line.slope):
            lines.append((name, ends, line.intercept + line.slope * ends))
    hint = (
        f"A point is a run on a target; colours are groups of runs. Solid: as good as at home. "
        f"Dashed: the lines of {'the first 8' if len(targets) > 8 else 'the'} targets. A probit is "
        "0 at a share of 0.5 and +1 at 0.84."
    )
    scatter = scatter_chart(
        f"{name_of} under shift against {name_of.lower()} at home", groups,
        x=f"probit of {name_of.lower()} at home", y=f"probit of {name_of.lower()} under shift",
        lines=lines, equal=(ends, ends), hint=hint,
    )  # fmt: skip
    table = [
        Row(Cell(name), [cell(t[rate]), cell(t["lost"], signed=True),
                         Cell(_number(t["line"]["slope"])), Cell(_number(t["line"]["r_squared"])),
                         Cell(_number(t["line"]["rank"])), cell(t["calibration"])],
            own=name == document["worst"])
        for name, t in sorted(targets.items(), key=lambda item: -item[1]["lost"].mean)
    ]  # fmt: skip
    head = ["Target", name_of, "Lost", "Slope", "R²", "Rank correlation", "Calibration error"]
    predicted = [
        Row(
            Cell(measured.predictors[p["name"]]),
            [Cell(_number(p["r_squared"])), Cell(_number(p["rank"]))],
        )
        for p in document["predictors"]
    ]
    robust = [Row(Cell(g), [cell(i, signed=True)])
              for g, i in document["effective_robustness"].items()]  # fmt: skip
    unknown = (
        f"Not known: it takes three runs or more whose {name_of.lower()} at home differs, on two "
        "targets."
    )
    needed = document["runs_needed"]
    law = (
        f"There are {document['runs']} runs. For a rank correlation of {document['rank']:.2f} to "
        f"be known within 0.1, each target needs about {needed} of them: read these lines as a "
        "description of these runs, not as a law."
        if needed
        else "The runs do not differ enough to be ranked."
    )
    return [
        Section(
            "At home and under shift",
            [Text(_worst(document), "answer"),
             Pictures(scatter),
             Table(head, table, f"Means over {document['runs']} runs, 95 % Student t intervals. "
                   "Lines and correlations have none.", [
                 ("Target", "a number behind a colon is the severity of the shift, 1 to 5"),
                 ("Lost", f"{name_of.lower()} at home less that under shift"),
                 ("Slope, R²", "of the line through the runs, both axes in probits; slope 1: what "
                               "is gained at home is gained under shift as well"),
                 ("Rank correlation", "1: the runs keep their order"),
                 ("Calibration error", "mean distance of confidence and share right; 0 is best"),
             ]),
             note(law)],
            "Does what is good at home stay good?",
        ),
        Section(
            "Calibration",
            [Pictures(line_chart(
                "Confidence, and the share of decisions that was right",
                _calibration(document), x="confidence", y="share right", last_values=False,
                hint="All runs together, by tenths of confidence, at home and under the shift that "
                     "hurts most. Thin and grey: right as often as confident.",
            ))],
            "Does a run know when it is wrong?",
        ),
        Section(
            "What predicts it",
            [Table(["Figure", "R², target left out", "Rank correlation within a target"], predicted,
                   "A line is fitted on the other targets and scored on the one that is left out. "
                   "R² below 0: worse than their mean.")
             if predicted else Text(unknown, "gone")],
            "Which figure at home says how a run does under shift?",
        ),
        Section(
            "Effective robustness",
            [Table(["Runs", "Above the line"], robust,
                   f"{name_of} under shift less what the line of the group {document['base']} "
                   f"gives for the {name_of.lower()} at home: above 0, they lose less than that "
                   "predicts. Means over runs and targets, 95 % Student t intervals.")
             if robust else Text(unknown, "gone")],
            "Which runs do better under shift than their figure at home says?",
        ),
    ]  # fmt: skip


def _calibration(document: dict[str, Any]) -> list[Series]:
    """The curves at home and on the worst target, and what a calibrated run would have."""
    curves = [
        _reliability(document, target, k) for k, target in enumerate((HOME, document["worst"]))
    ]
    x = np.concatenate([curve.x for curve in curves])
    known = x[np.isfinite(x)]
    ends = np.array([known.min(), known.max()]) if len(known) else np.zeros(0)
    return [*curves, Series("calibrated", ends, ends, quiet=True)]


def _reliability(document: dict[str, Any], target: str, colour: int) -> Series:
    """Confidence and share right by tenths of confidence, over all runs on a target."""
    bins = [part for row in document["rows"] if row["target"] == target
            for part in row["reliability"]]  # fmt: skip
    confidence, right, count = np.array(bins, np.float64).reshape(-1, 3).T
    place = np.minimum((confidence * 10).astype(np.int64), 9)
    there = np.unique(place)
    weight = np.bincount(place, count)[there]
    return Series(
        target, np.bincount(place, confidence * count)[there] / weight,
        np.bincount(place, right * count)[there] / weight, colour,
    )  # fmt: skip


def _worst(document: dict[str, Any]) -> str:
    lost = document["targets"][document["worst"]]["lost"]
    if not lost.low > 0:
        return "No shift hurts beyond doubt."
    return f"The shift that hurts most: {document['worst']}."


def _number(value: float) -> str:
    return f"{value:+z.2f}" if np.isfinite(value) else "—"
