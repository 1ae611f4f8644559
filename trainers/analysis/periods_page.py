"""The page of `rayforge analyse periods`: what was done, what is lost, the trace beneath."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import Interval
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.section import Cell, Facts, Part, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.periods_config import PeriodsConfig
from trainers.analysis.results import note

SUBJECTS = {
    "rooms": "recognising rooms from rendered views",
    "clone": "cloning an expert in navigation graphs",
    "preferences": "rounds of direct preference optimisation",
}
BLOCKS = {"rooms": "epochs", "clone": "blocks of updates", "preferences": "rounds"}
"""What a block of time is."""
SCORES = {
    "rooms": "share of test views whose room is named right",
    "clone": "share of the expert's actions that the policy finds likeliest, in new buildings",
    "preferences": "share of held-out pairs that are ordered as labelled",
}
ARMS = {
    "running": "the step size falls throughout: what comes later is learnt with smaller steps",
    "restarted": "the step size starts anew when the deficit ends",
    "constant": "one step size throughout",
}
READINGS = {
    "learnt": "undisturbed training beats a guess beyond doubt",
    "early_above_zero": "the earliest window costs something beyond doubt",
    "late_near_zero": "the latest window may cost nothing",
    "early_above_late": "the earliest window costs more than the latest beyond doubt",
    "later_removal_lower": "the latest removal ends lower than no deficit",
    "removal_cost_above_zero": "the latest removal costs something beyond doubt",
    "trace_rises_then_falls": "the trace rises, then falls",
    "fixed_rises_then_falls": "the trace at one temperature rises, then falls",
}
"""What a reading says, by its name in the JSON; fixed before anything was looked at."""
TRACE = (
    "The trace of the Fisher information says how much the outputs change when the weights do: how "
    "much is being learnt. It also falls where a network merely grows confident. The trace at one "
    "temperature takes that away: believe a fall that both show."
)


def periods_sections(config: PeriodsConfig, document: Mapping[str, Any]) -> list[Section]:
    """The page of a study from its document."""
    arms = document["arms"]
    return [
        Section("The study", [_study(config, document)]),
        Section("Reading", _reading_parts(config, arms),
                "Does early damage last, and late damage not?"),
        *[_lost(config, document, *experiment) for experiment in (
            ("removal", "Removal time", "Does damage that is removed later cost more?",
             "blocks under the deficit before it is removed", "until {}"),
            ("window", "Sliding window", "Does early damage cost more than late damage?",
             f"block at which a window of {config.length} begins", "from {}"),
        ) if experiment[0] in config.experiments],
        Section("The undisturbed run", [
            Text(TRACE, "muted"), Pictures(_traces(arms)),
            Table(["Step size", "Undisturbed", "Deficit to the end", "Lost by it, percent"],
                  [Row(Cell(a), [cell(f["control"]), cell(f["damaged"]),
                                 cell(f["drop"], 1, signed=True)])
                   for a, f in arms.items()],
                  f"Scores: {SCORES[config.subject]}. Means over {document['seeds']} seeds; "
                  "95 % Student t intervals.")],
            "Does damage cost most while the network learns most?"),
    ]  # fmt: skip


def _study(config: PeriodsConfig, document: Mapping[str, Any]) -> Facts:
    name, _, severity = config.deficit.partition(":")
    return Facts([
        ("Subject", SUBJECTS[config.subject]),
        ("Deficit", f"{name}, severity {severity} of 5"),
        ("Time", f"counted in {BLOCKS[config.subject]}; {config.clean} without the deficit in "
                 "every trial, the damaged ones come on top"),
        ("Seeds", f"{document['seeds']}; trials of one seed are compared with each other"),
        ("Trials", str(document["trials"])),
        *[(f"Step size {arm}", ARMS[arm]) for arm in document["arms"]],
    ])  # fmt: skip


def _lost(
    config: PeriodsConfig, document: Mapping[str, Any], experiment: str, title: str, question: str,
    x: str, head: str,
) -> Section:  # fmt: skip
    """A section of what a deficit costs, by when it was."""
    series, rows = [], []
    for k, (arm, found) in enumerate(document["arms"].items()):
        points = found[experiment]
        spans: list[Interval] = [p["sensitivity"] for p in points]
        where = np.array([p["onset"] for p in points], float)
        series.append(Series(arm, where, np.array([s.mean for s in spans]), k, spans=spans))
        rows.append(Row(Cell(arm), [cell(span, 1, signed=True) for span in spans]))
    drawn = line_chart(
        f"{title}: what is lost", series, x=x, y="percent of the undisturbed score",
        reference=(0.0, "nothing lost"), last_values=False,
        hint="Means over seeds with their 95 % intervals.",
    )  # fmt: skip
    onsets = config.windows if experiment == "window" else config.onsets
    below = (
        f"Percent of the undisturbed score that is lost, by {x}; below 0 it is better than "
        f"undisturbed. Means over {document['seeds']} seeds; 95 % Student t intervals."
    )
    columns = ["Step size", *[head.format(onset) for onset in onsets]]
    return Section(title, [Pictures(drawn), Table(columns, rows, below)], question)


def _traces(arms: Mapping[str, Any]) -> list[Any]:
    """The undisturbed curves; arms whose undisturbed run is the same share a picture."""
    same: list[tuple[list[str], dict[str, list[float]]]] = []
    for arm, found in arms.items():
        known = next((names for names, curve in same if curve == found["curve"]), None)
        if known is None:
            same.append(([arm], found["curve"]))
        else:
            known.append(arm)
    pictures = []
    for names, curve in same:
        blocks = np.arange(1, 1 + len(curve.get("trace", [])), dtype=float)
        shown = (("trace", "trace"), ("fixed", "trace at one temperature"), ("score", "score"))
        series = [
            Series(name, blocks, _of_greatest(curve[key]), colour=k)
            for k, (key, name) in enumerate(shown)
            if key in curve
        ]
        pictures += line_chart(
            f"Undisturbed, {' and '.join(names)}", series, x="blocks",
            y="share of the greatest value", from_zero=True, last_values=False,
        )  # fmt: skip
    return pictures


def _of_greatest(values: list[float]) -> np.ndarray:
    known = np.asarray(values, np.float64)
    return np.asarray(known / max(float(np.abs(known).max()), 1e-12))


def _reading_parts(config: PeriodsConfig, arms: Mapping[str, Any]) -> list[Part]:
    readings = {arm: found["reading"] for arm, found in arms.items()}
    rows = [
        Row(Cell(text), [Cell("yes" if r[key] else "no") if key in r else Cell("—")
                         for r in readings.values()])
        for key, text in READINGS.items()
        if any(key in r for r in readings.values())
    ]  # fmt: skip
    follows = [r.get("sensitivity_against_trace") for r in readings.values()]
    if any(value is not None for value in follows):
        known = [Cell("—" if value is None else f"{value:+z.2f}") for value in follows]
        rows.append(Row(Cell("correlation of what a window costs with the trace"), known))
    below = "Beyond doubt: the 95 % interval over seeds lies on one side."
    parts: list[Part] = [Table(["Statement", *readings], rows, below)]
    if any(r.get("learnt") is False for r in readings.values()):
        more = ", on more views" if config.subject == "rooms" else ""
        text = (
            "Undisturbed training does not always beat a guess. There is nothing that a "
            f"deficit could cost there: train for longer{more}, or with another step size."
        )
        parts.insert(0, Text(text, "answer"))
    warning = (
        "An effect with the running step size alone is one of the schedule: what comes later is "
        "learnt with smaller steps. Only what all three step sizes show is a property of the "
        "period."
    )
    if len(arms) < len(ARMS):
        warning += f" This study has {len(arms)} of the three."
    return [*parts, note(warning)]
