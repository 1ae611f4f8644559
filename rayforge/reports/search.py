"""The page of a hyperparameter search: its trials, what mattered, how they learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rayforge.reports.page import page
from rayforge.reports.plots import show
from rayforge.reports.search_charts import (
    Line,
    Upright,
    curve_chart,
    importance_chart,
    parallel_chart,
    trade_chart,
)

_STYLE = """
.charts { grid-template-columns: repeat(auto-fill, minmax(min(460px, 100%), 1fr)); }
.charts.wide { grid-template-columns: minmax(0, 1fr); }
figure.chart .scroll { border: 0; }
svg .tick { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
"""
"""Two charts in a row, one on a phone; words on lines stand out."""


def search_page(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> str:
    """The HTML of a search.

    Args:
        search: as in search.json: name, half, metrics {name: "max" or "min"}, searcher, scheduler,
            command, hardware, best (number of a trial or None), front (numbers), importance
            {metric: {setting: share}}, space [{key, kind, low, high, choices}].
        trials: as in trials.jsonl: number, status, settings, figures, reports, seconds, curve,
            error.
    """
    lines = _lines(search, trials)
    body = "".join(
        (
            '<div class="page">', _header(search, trials), _charts(search, lines),
            _importance(search), _table(search, trials), _failures(trials), "</div>",
        )
    )  # fmt: skip
    return page(f"{search['name']} · RayForge", body, style=_STYLE)


def _lines(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> list[Line]:
    order = [trial["number"] for trial in _ranked(search, trials)]
    return [
        Line(
            trial["number"], trial["settings"], trial["figures"], trial["curve"],
            order.index(trial["number"]) if trial["number"] in order else len(trials),
        )
        for trial in trials
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


def _header(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> str:
    counts = [
        f"{sum(t['status'] == status for t in trials)} {status}"
        for status in ("finished", "stopped", "failed", "unfinished")
        if any(t["status"] == status for t in trials)
    ]
    wanted = ", ".join(f"{name} ({way})" for name, way in search["metrics"].items())
    facts = [
        ("Half", search["half"]), ("Optimised", wanted), ("Trials", ", ".join(counts)),
        ("Searcher", search["searcher"]), ("Scheduler", search["scheduler"]),
        ("Training", f"{sum(t['seconds'] for t in trials) / 60:.1f} min over all trials"),
        ("Hardware", search["hardware"]), ("Command", search["command"]),
    ]  # fmt: skip
    rows = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    return (
        f'<header><p class="over">RayForge search</p><h1>{escape(str(search["name"]))}</h1>'
        f'<dl class="facts">{rows}</dl></header>'
    )


def _charts(search: Mapping[str, Any], lines: Sequence[Line]) -> str:
    drawn = [line for line in lines if line.figures]
    if not drawn:
        return '<h2>Trials</h2><p class="gone">No trial has reported yet.</p>'
    metrics = list(search["metrics"])
    uprights = [_upright(entry, drawn) for entry in search["space"]]
    for metric in metrics:
        values = [v for line in drawn if math.isfinite(v := line.figures.get(metric, math.nan))]
        if values:
            uprights.append(Upright(metric, low=min(values), high=max(values)))
    charts = [curve_chart(metric, drawn) for metric in metrics]
    if len(metrics) > 1:
        charts.insert(0, trade_chart((metrics[0], metrics[1]), drawn, search["front"]))
    return (
        f'<h2>Trials</h2><div class="charts wide">{parallel_chart(uprights, drawn)}</div>'
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _upright(entry: Mapping[str, Any], drawn: Sequence[Line]) -> Upright:
    """A setting's axis: the range searched, or wider where training went beyond it."""
    if entry["kind"] == "choice":
        return Upright(entry["key"], choices=tuple(entry["choices"]))
    tried = [float(line.settings[entry["key"]]) for line in drawn if entry["key"] in line.settings]
    low, high = min([entry["low"], *tried]), max([entry["high"], *tried])
    return Upright(entry["key"], log=entry["kind"] == "loguniform", low=low, high=high)


def _importance(search: Mapping[str, Any]) -> str:
    charts = [
        importance_chart(metric, shares)
        for metric, shares in search["importance"].items()
        if shares
    ]
    if not charts:
        return (
            '<h2>Importance</h2><p class="gone">Too few trials, or all alike: nothing can be said '
            "about which setting mattered.</p>"
        )
    return (
        '<h2>Importance</h2><p class="small">Optuna\'s PED-ANOVA: how much each setting tells the '
        "best trials from all others, as shares of 1. A handful of trials gives a hint, not a "
        f'finding.</p><div class="charts">{"".join(charts)}</div>'
    )


def _table(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> str:
    keys = [entry["key"] for entry in search["space"]]
    metrics = list(search["metrics"])
    heads = ["Trial", "State", *metrics, *keys, "Reports", "Minutes"]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    ranked = _ranked(search, trials)
    rest = [t for t in trials if t not in ranked]
    rows = []
    for trial in [*ranked, *rest]:
        cells = [
            trial["status"],
            *(show(trial["figures"].get(metric, math.nan)) for metric in metrics),
            *(_shown(trial["settings"].get(key)) for key in keys),
            str(trial["reports"]), f"{trial['seconds'] / 60:.1f}",
        ]  # fmt: skip
        own = trial["number"] == search["best"] or trial["number"] in search["front"]
        rows.append(
            f'<tr{" class=own" if own else ""}><th scope="row">{trial["number"]}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    says = (
        "Bold: no other trial beats it in all metrics."
        if search["front"]
        else "Bold: the best by the first metric."
    )
    return (
        f'<h2>All trials</h2><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="under">{says} Finished trials come '
        "first: figures of a trial that was stopped early are of less training.</p>"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return show(float(value)) if number else str(value)


def _failures(trials: Sequence[Mapping[str, Any]]) -> str:
    failed = [t for t in trials if t["error"]]
    if not failed:
        return ""
    rows = "".join(
        f"<dt>Trial {t['number']}</dt><dd>{escape(str(t['error']))}</dd>" for t in failed
    )
    return f'<h2>What failed</h2><dl class="facts">{rows}</dl>'
