"""The page of a hyperparameter search: its trials, what mattered, how they learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rayforge.reports.page import report_page
from rayforge.reports.plots import show
from rayforge.reports.report import duration
from rayforge.reports.search_charts import (
    Line,
    Scale,
    as_text,
    curve_chart,
    importance_chart,
    parallel_chart,
    trade_chart,
)
from rayforge.reports.section import Cell, Code, Facts, Pictures, Row, Section, Table, Text


def search_page(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> str:
    """The HTML of a search; its arguments are those of `search_sections`."""
    return report_page(str(search["name"]), "RayForge search", search_sections(search, trials))


def search_sections(
    search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """The report of a search.

    Args:
        search: as in search.json: name, system, metrics {name: "max" or "min"}, searcher,
            scheduler, command, hardware, best (number of a trial or None), front (numbers),
            importance {metric: {setting: share}}, space [{key, kind, low, high, choices}].
        trials: as in trials.jsonl: number, status, settings, figures, reports, seconds, curve,
            error.
    """
    ranked = _ranked(search, trials)
    order = [trial["number"] for trial in ranked]
    lines = [
        Line(
            trial["number"], trial["settings"], trial["figures"], trial["curve"],
            order.index(trial["number"]) if trial["number"] in order else len(trials),
        )
        for trial in trials
    ]  # fmt: skip
    failed = [(f"Trial {t['number']}", str(t["error"])) for t in trials if t["error"]]
    return [
        _summary(search, trials, ranked), _trials(search, lines), _importance(search),
        _table(search, trials, ranked),
        *([Section("What failed", [Facts(failed)])] if failed else []),
    ]  # fmt: skip


def _ranked(
    search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Finished trials first, each kind from the best to the worst in the first metric, then in the
    others."""
    metrics: Mapping[str, str] = search["metrics"]

    def place(trial: Mapping[str, Any]) -> tuple[float, ...]:
        values = [
            (-1 if way == "max" else 1) * trial["figures"].get(metric, math.nan)
            for metric, way in metrics.items()
        ]
        early = trial["status"] != "finished"
        return (early, *(v if math.isfinite(v) else math.inf for v in values))

    first = next(iter(metrics))
    known = [t for t in trials if math.isfinite(t["figures"].get(first, math.nan))]
    return sorted(known, key=place)


def _summary(
    search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]],
    ranked: Sequence[Mapping[str, Any]],
) -> Section:  # fmt: skip
    counts = [
        f"{sum(t['status'] == status for t in trials)} {status}"
        for status in ("finished", "stopped", "failed", "unfinished")
        if any(t["status"] == status for t in trials)
    ]
    best = next((t for t in ranked if t["number"] == search["best"]), None)
    answer = []
    if best is not None:
        figures = ", ".join(f"{m} {show(best['figures'].get(m, math.nan))}"
                            for m in search["metrics"])  # fmt: skip
        settings = ", ".join(f"{k} {as_text(v)}" for k, v in best["settings"].items())
        answer = [Text(f"Best: trial {best['number']}, {figures}, with {settings}.", "answer")]
    facts = Facts(
        [
            ("System", str(search["system"])),
            ("Optimised", ", ".join(f"{m} ({way})" for m, way in search["metrics"].items())),
            ("Trials", ", ".join(counts) or "none yet"), ("Searcher", str(search["searcher"])),
            ("Scheduler", str(search["scheduler"])),
            ("Trained", f"{duration(sum(t['seconds'] for t in trials))} over all trials"),
            ("Hardware", str(search["hardware"])), ("Command", Code(str(search["command"]))),
        ]
    )  # fmt: skip
    return Section("", [*answer, facts])


def _trials(search: Mapping[str, Any], lines: Sequence[Line]) -> Section:
    drawn = [line for line in lines if line.figures]
    if not drawn:
        return Section("Trials", [Text("No trial has reported yet.", "gone")])
    metrics = list(search["metrics"])
    scales = [_scale(entry, drawn) for entry in search["space"]]
    for metric in metrics:
        values = [v for line in drawn if math.isfinite(v := line.figures.get(metric, math.nan))]
        if values:
            scales.append(Scale(metric, low=min(values), high=max(values), result=True))
    pictures = [parallel_chart(scales, drawn)]
    if len(metrics) > 1:
        pictures += trade_chart((metrics[0], metrics[1]), drawn, search["front"])
    pictures += [picture for metric in metrics for picture in curve_chart(metric, drawn)]
    return Section("Trials", [Pictures(pictures)], "Which settings lead where?")


def _scale(entry: Mapping[str, Any], drawn: Sequence[Line]) -> Scale:
    """A setting's axis: the range searched, or wider where training went beyond it."""
    if entry["kind"] == "choice":
        return Scale(entry["key"], choices=tuple(entry["choices"]))
    tried = [float(line.settings[entry["key"]]) for line in drawn if entry["key"] in line.settings]
    low, high = min([entry["low"], *tried]), max([entry["high"], *tried])
    return Scale(entry["key"], log=entry["kind"] == "loguniform", low=low, high=high)


def _importance(search: Mapping[str, Any]) -> Section:
    pictures = [
        importance_chart(metric, shares)
        for metric, shares in search["importance"].items()
        if shares
    ]
    if not pictures:
        none = "Too few trials, or all alike: nothing can be said about which setting mattered."
        return Section("Importance", [Text(none, "gone")])
    note = (
        "Optuna's PED-ANOVA: how much each setting tells the best trials from all others, as "
        "shares of 1. A handful of trials gives a hint, not a finding."
    )
    return Section("Importance", [Text(note, "muted"), Pictures(pictures)],
                   "Which settings mattered?")  # fmt: skip


def _table(
    search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]],
    ranked: Sequence[Mapping[str, Any]],
) -> Section:  # fmt: skip
    keys = [entry["key"] for entry in search["space"]]
    metrics = list(search["metrics"])
    rows = [
        Row(
            Cell(str(trial["number"])),
            [
                Cell(words)
                for words in (
                    trial["status"],
                    *(show(trial["figures"].get(metric, math.nan)) for metric in metrics),
                    *(as_text(trial["settings"].get(key)) for key in keys),
                    str(trial["reports"]), f"{trial['seconds'] / 60:.1f}",
                )
            ],
            trial["number"] == search["best"] or trial["number"] in search["front"],
        )
        for trial in [*ranked, *(t for t in trials if t not in ranked)]
    ]  # fmt: skip
    says = (
        "Bold: no other trial beats it in all metrics."
        if search["front"]
        else "Bold: the best by the first metric."
    )
    says += " Finished trials come first: figures of a trial that was stopped early are of less "
    says += "training."
    head = ["Trial", "State", *metrics, *keys, "Reports", "Minutes"]
    return Section("All trials", [Table(head, rows, says)])
