"""Charts of a hyperparameter search: parallel coordinates, curves of all trials, trade-offs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from rayforge.reports.plots import (
    WIDTH,
    Axis,
    Series,
    frame,
    joined,
    line_chart,
    mark,
    share_grid,
    shorten,
    show,
)
from rayforge.reports.section import Key, Picture

STRONG = 5
"""Trials drawn in a colour of their own, the best first; the others are faint."""


@dataclass(frozen=True, eq=False)
class Line:
    """A trial as the charts draw it."""

    number: int
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    curve: Sequence[Mapping[str, float]]
    rank: int
    """0 for the best."""

    @property
    def kind(self) -> str:
        return f"line c{self.rank}" if self.rank < STRONG else "line faint c6"

    @property
    def says(self) -> str:
        chosen = ", ".join(f"{k} {as_text(v)}" for k, v in self.settings.items())
        return f"trial {self.number}: {chosen}"


@dataclass(frozen=True)
class Scale:
    """One axis of parallel coordinates."""

    key: str
    log: bool = False
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    result: bool = False

    def place(self, value: Any) -> float | None:
        """Where a value lies on the axis, from 0 to 1; None for what is no place on it."""
        if self.choices:
            names = list(self.choices)
            return (names.index(str(value)) + 0.5) / len(names) if str(value) in names else None
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return 0.5 if high == low else (scale(value) - low) / (high - low)

    def marks(self) -> list[Any]:
        if self.choices:
            return list(self.choices)
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            tens = [10.0**power for power in range(first, last + 1)]
            return [self.low, *tens, self.high] if len(tens) < 2 else tens
        middle = [(self.low + self.high) / 2] if self.high > self.low else []
        return [self.low, *middle, self.high]


def parallel_chart(scales: Sequence[Scale], lines: Sequence[Line]) -> Picture:
    """Parallel coordinates: an axis below the other, a line a trial through its settings down to
    what it came to.

    Over a setting that a trial did not have its line is dotted.
    """
    top, row, side = 30, 58, 26
    axis = Axis(0.0, 1.0, side, WIDTH - side)
    parts: list[Markup] = []
    words: list[Markup] = []
    for number, scale in enumerate(scales):
        y = top + row * number
        parts.append(mark("line", kind="grid", x1=side, x2=WIDTH - side, y1=y, y2=y))
        kind = f"label halo{' own' if scale.result else ''}"
        words.append(mark("text", shorten(scale.key, 46), kind=kind, x=2, y=y - 12))
        for tick in scale.marks():
            place = scale.place(tick)
            assert place is not None
            text = shorten(as_text(tick), 14)
            words.append(mark("text", text, kind="tick mid halo", x=axis(place), y=y + 15))
    for line in sorted(lines, key=lambda one: -one.rank):
        known = {**line.settings, **line.figures}
        points = [
            (None if place is None else axis(place), top + row * number)
            for number, scale in enumerate(scales)
            for place in [scale.place(known.get(scale.key))]
        ]
        solid, dotted = _paths(points)
        says = mark("title", line.says)
        parts.append(mark("path", says, kind=line.kind, d=solid))
        if dotted:
            parts.append(mark("path", kind=line.kind, stroke_dasharray="1 5", d=dotted))
    return Picture(
        "Settings and results", joined([*parts, *words]), WIDTH, top + row * (len(scales) - 1) + 26,
        f"parallel coordinates of {len(lines)} trials over {len(scales)} axes", _keys(lines),
        "A line a trial, down through its settings to its result; dotted over settings that it did "
        "not have.",
    )  # fmt: skip


def curve_chart(metric: str, lines: Sequence[Line]) -> list[Picture]:
    """A figure of all trials over their reports; empty where none has it."""
    series = []
    for line in sorted(lines, key=lambda one: -one.rank):
        points = [(p["report"], p.get(metric, math.nan)) for p in line.curve]
        x, y = np.array(points, float).reshape(-1, 2).T
        quiet = line.rank >= STRONG
        series.append(
            Series(f"trial {line.number}", x, y, min(line.rank, STRONG), quiet, line.says)
        )
    hint = "A curve that ends early was stopped."
    drawn = line_chart(metric, series, hint=hint, x="reports of a trial")
    return [replace(picture, keys=picture.keys[::-1]) for picture in drawn]  # the best first


def importance_chart(metric: str, shares: Mapping[str, float]) -> Picture:
    """A bar for each setting, from 0 to 1, the most important one in a colour."""
    row, top, left, right = 26, 6, 150, 44
    height = top + row * len(shares) + 20
    axis = Axis(0.0, 1.0, left, WIDTH - right)
    parts = share_grid(axis, top, height)
    for place, (key, share) in enumerate(shares.items()):
        y = top + row * (place + 0.5)
        kind, width = "quiet" if place else "c0", round(axis(share) - left, 1)
        parts += [
            mark("text", _tail(key, 22), kind="label end", x=left - 8, y=y + 4),
            mark("rect", kind=f"bar {kind}", x=left, y=y - 7, width=width, height=14, rx=2),
            mark("text", f"{share:.2f}", kind="label end", x=WIDTH - 4, y=y + 4),
        ]
    says = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
    return Picture(
        f"Importance for {metric}", joined(parts), WIDTH, height, f"importance: {says}"
    )  # fmt: skip


def trade_chart(
    metrics: tuple[str, str], lines: Sequence[Line], front: Sequence[int]
) -> list[Picture]:
    """Two metrics against each other, the Pareto front joined by a line; empty without a trial."""
    places = {
        line: (line.figures[metrics[0]], line.figures[metrics[1]])
        for line in lines
        if all(math.isfinite(line.figures.get(m, math.nan)) for m in metrics)
    }
    if not places:
        return []
    height, left, right, upper, lower = 290, 48, 16, 24, 38
    axes = []
    for column, (start, stop) in enumerate(((left, WIDTH - right), (height - lower, upper))):
        values = [place[column] for place in places.values()]
        pad = 0.08 * (max(values) - min(values)) or max(abs(max(values)) * 0.1, 0.05)
        axes.append(Axis(min(values) - pad, max(values) + pad, start, stop))
    x_axis, y_axis = axes
    parts = frame(x_axis, y_axis, height, *metrics)
    best = sorted(places[line] for line in places if line.number in front)
    if len(best) > 1:
        path = "L".join(f"{x_axis(x):g} {y_axis(y):g}" for x, y in best)
        parts.append(mark("path", kind="line c1", d=f"M{path}"))
    for line, (x, y) in places.items():
        on = line.number in front
        says, kind = mark("title", line.says), f"dot {'c1' if on else 'c6'}"
        at = (x_axis(x), y_axis(y))
        parts += [
            mark("circle", says, kind=kind, cx=at[0], cy=at[1], r=4 if on else 3),
            mark("text", str(line.number), kind="tick", x=at[0] + 6, y=at[1] - 5),
        ]
    return [
        Picture(
            "Trade-off", joined(parts), WIDTH, height,
            f"{metrics[0]} against {metrics[1]} of {len(places)} trials, {len(best)} on the front",
            hint="Numbers are trials; the line joins those that none beats in both.",
        )
    ]  # fmt: skip


def as_text(value: Any) -> str:
    if value is None:
        return "—"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return show(float(value)) if number else str(value)


def _keys(lines: Sequence[Line]) -> list[Key]:
    best = sorted((line for line in lines if line.rank < STRONG), key=lambda one: one.rank)
    return [Key(f"c{line.rank}", f"trial {line.number}") for line in best]


def _paths(points: Sequence[tuple[float | None, float]]) -> tuple[str, str]:
    """The line through neighbouring points, and the parts that pass over unknown ones."""
    solid, dotted = [], []
    last: tuple[float, float] | None = None
    follows = False
    for x, y in points:
        if x is None:
            follows = False
            continue
        solid.append(f"{'L' if follows else 'M'}{x:g} {y:g}")
        if last is not None and not follows:
            dotted.append(f"M{last[0]:g} {last[1]:g}L{x:g} {y:g}")
        last, follows = (x, y), True
    return "".join(solid), "".join(dotted)


def _tail(text: str, length: int) -> str:
    """The end of a dotted name, which says most."""
    return text if len(text) <= length else "…" + text[-(length - 1) :]
