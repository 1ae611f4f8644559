"""Charts of a hyperparameter search: parallel coordinates, curves of all trials, trade-offs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rayforge.reports.plots import Axis, share_grid, show

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
    def style(self) -> str:
        return f"line c{self.rank}" if self.rank < STRONG else "line faint c6"

    @property
    def title(self) -> str:
        chosen = ", ".join(f"{k} {_text(v)}" for k, v in self.settings.items())
        return f"<title>{escape(f'trial {self.number}: {chosen}')}</title>"


@dataclass(frozen=True)
class Upright:
    """One vertical axis of parallel coordinates."""

    key: str
    log: bool = False
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def place(self, value: Any, top: float, bottom: float) -> float | None:
        """The height of a value; None for what is no place on this axis."""
        if self.choices:
            names = list(self.choices)
            if str(value) not in names:
                return None
            share = (names.index(str(value)) + 0.5) / len(names)
        elif not isinstance(value, int | float) or not math.isfinite(value):
            return None
        else:
            scale = math.log if self.log else float
            low, high = scale(self.low), scale(self.high)
            share = 0.5 if high == low else (scale(value) - low) / (high - low)
        return round(bottom - share * (bottom - top), 1)

    def marks(self) -> list[Any]:
        if self.choices:
            return list(self.choices)
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            tens = [10.0**power for power in range(first, last + 1)]
            return [self.low, *tens, self.high] if len(tens) < 2 else tens
        return [
            self.low,
            *([(self.low + self.high) / 2] if self.high > self.low else []),
            self.high,
        ]


def parallel_chart(uprights: Sequence[Upright], lines: Sequence[Line]) -> str:
    """Parallel coordinates: a line a trial through its settings and what it came to.

    Over a setting that a trial did not have its line is dotted.
    """
    top, bottom, side, gap = 34, 232, 64, 128
    width = 2 * side + gap * max(1, len(uprights) - 1)
    parts, words = [], []
    for column, upright in enumerate(uprights):
        x = side + gap * column
        lift = 12 if column % 2 else 0  # long names of neighbours do not touch
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        words.append(
            f'<text class="tick mid" x="{x}" y="{22 - lift}">{escape(_cut(upright.key, 30))}</text>'
        )
        for mark in upright.marks():
            y = upright.place(mark, top, bottom)
            assert y is not None
            words.append(
                f'<text class="tick end" x="{x - 5}" y="{y + 3.5:g}">'
                f"{escape(_cut(_text(mark), 14))}</text>"
            )
    for line in sorted(lines, key=lambda one: -one.rank):
        known = {**line.settings, **line.figures}
        places = [
            (side + gap * column, upright.place(known.get(upright.key), top, bottom))
            for column, upright in enumerate(uprights)
        ]
        known_path, skipped = _paths(places)
        parts.append(f'<path class="{line.style}" d="{known_path}">{line.title}</path>')
        if skipped:
            parts.append(f'<path class="{line.style}" stroke-dasharray="1 5" d="{skipped}"/>')
    return _figure(
        "Settings and results",
        "A line a trial, the best five coloured; dotted over settings that it did not have.", lines,
        width, bottom + 14, "".join([*parts, *words]),  # lines cross the words, and lie below them
        f"parallel coordinates of {len(lines)} trials over {len(uprights)} axes", wide=True,
    )  # fmt: skip


def curve_chart(metric: str, lines: Sequence[Line]) -> str:
    """A figure of all trials over their reports; "" where none has it."""
    drawn = {
        line: [
            (point["report"], point[metric])
            for point in line.curve
            if math.isfinite(point.get(metric, math.nan))
        ]
        for line in lines
    }
    values = [y for points in drawn.values() for _, y in points]
    if not values:
        return ""
    width, height, left, right, upper, lower = 560, 250, 52, 16, 12, 26
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or max(abs(high) * 0.1, 0.05)
    last = max(x for points in drawn.values() for x, _ in points)
    y_axis = Axis(low - pad, high + pad, height - lower, upper)
    x_axis = Axis(0.5, last + 0.5, left, width - right)
    parts = []
    for tick in y_axis.ticks(4):
        y = y_axis(tick)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>'
            f'<text class="tick end" x="{left - 6}" y="{y + 3.5:g}">{show(tick)}</text>'
        )
    for report in range(1, int(last) + 1, max(1, int(last) // 10)):
        x = x_axis(report)
        parts.append(f'<text class="tick mid" x="{x}" y="{height - 9}">{report}</text>')
    for line in sorted(drawn, key=lambda one: -one.rank):
        points = drawn[line]
        if not points:
            continue
        places = [(x_axis(x), y_axis(y)) for x, y in points]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
        colour = line.style.split()[-1]
        parts.append(
            f'<path class="{line.style}" d="{path}">{line.title}</path>'
            f'<circle class="dot {colour}" cx="{places[-1][0]}" cy="{places[-1][1]}" r="2.4">'
            f"{line.title}</circle>"
        )
    return _figure(
        metric, "Over the reports of each trial; a curve that ends early was stopped.", lines,
        width, height, "".join(parts), f"{metric} of {len(lines)} trials over their reports",
    )  # fmt: skip


def importance_chart(metric: str, shares: Mapping[str, float]) -> str:
    """A bar for each setting, from 0 to 1, the most important one in a colour."""
    row, top, left, right, width = 26, 6, 190, 60, 560
    height = top + row * len(shares) + 20
    axis = Axis(0.0, 1.0, left, width - right)
    parts = [share_grid(axis, top, height)]
    for place, (key, share) in enumerate(shares.items()):
        y = top + row * (place + 0.5)
        parts.append(
            f'<text class="label end" x="{left - 8}" y="{y + 4:g}">{escape(_cut(key, 28))}</text>'
            f'<rect class="bar {"quiet" if place else "c0"}" x="{left}" y="{y - 7:g}" '
            f'width="{axis(share) - left:g}" height="14" rx="2"/>'
            f'<text class="label end" x="{width - 4}" y="{y + 4:g}">{share:.2f}</text>'
        )
    says = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
    return _figure(
        f"Importance for {metric}", "", (), width, height, "".join(parts), f"importance: {says}"
    )


def trade_chart(metrics: tuple[str, str], lines: Sequence[Line], front: Sequence[int]) -> str:
    """Two metrics against each other, the Pareto front joined by a line; "" without a trial."""
    places = {
        line: (line.figures[metrics[0]], line.figures[metrics[1]])
        for line in lines
        if all(math.isfinite(line.figures.get(m, math.nan)) for m in metrics)
    }
    if not places:
        return ""
    width, height, left, right, upper, lower = 560, 320, 60, 20, 14, 44
    axes = []
    for column, (start, stop) in enumerate(((left, width - right), (height - lower, upper))):
        values = [place[column] for place in places.values()]
        pad = 0.08 * (max(values) - min(values)) or max(abs(max(values)) * 0.1, 0.05)
        axes.append(Axis(min(values) - pad, max(values) + pad, start, stop))
    x_axis, y_axis = axes
    parts = []
    for tick in y_axis.ticks(4):
        y = y_axis(tick)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>'
            f'<text class="tick end" x="{left - 6}" y="{y + 3.5:g}">{show(tick)}</text>'
        )
    parts += [
        f'<text class="tick mid" x="{x_axis(t)}" y="{height - 27}">{show(t)}</text>'
        for t in x_axis.ticks(5)
    ]
    parts.append(
        f'<text class="label mid" x="{(left + width) / 2}" y="{height - 8}">{escape(metrics[0])}'
        f'</text><text class="label" x="4" y="10">{escape(metrics[1])}</text>'
    )
    best = sorted(places[line] for line in places if line.number in front)
    joined = "L".join(f"{x_axis(x):g} {y_axis(y):g}" for x, y in best)
    if len(best) > 1:
        parts.append(f'<path class="line c1" d="M{joined}"/>')
    for line, (x, y) in places.items():
        on = line.number in front
        parts.append(
            f'<circle class="dot {"c1" if on else "c6"}" cx="{x_axis(x)}" cy="{y_axis(y)}" '
            f'r="{4 if on else 3}">{line.title}</circle>'
            f'<text class="tick" x="{x_axis(x) + 6:g}" y="{y_axis(y) - 5:g}">{line.number}</text>'
        )
    return _figure(
        "Trade-off", "Numbers are trials; the line joins those that none beats in both.", (),
        width, height, "".join(parts),
        f"{metrics[0]} against {metrics[1]} of {len(places)} trials, {len(best)} on the front",
    )  # fmt: skip


def _figure(
    title: str, hint: str, lines: Sequence[Line], width: float, height: float, drawing: str,
    says: str, wide: bool = False,
) -> str:  # fmt: skip
    names = "".join(
        f'<span class="key"><i class="swatch c{line.rank}"></i>trial {line.number}</span>'
        for line in sorted(lines, key=lambda one: one.rank)
        if line.rank < STRONG
    )
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(says)}"'
        + (f' style="min-width: {width}px"' if wide else "")
        + f">{drawing}</svg>"
    )
    return (
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong>'
        f'<span class="keys">{names}</span><span class="hint">{escape(hint)}</span></figcaption>'
        + (f'<div class="scroll" tabindex="0">{svg}</div>' if wide else svg)
        + "</figure>"
    )


def _paths(places: Sequence[tuple[float, float | None]]) -> tuple[str, str]:
    """The line through neighbouring places, and the parts that pass over unknown ones."""
    solid, dotted = [], []
    last: tuple[float, float] | None = None
    joined = False
    for x, y in places:
        if y is None:
            joined = False
            continue
        solid.append(f"{'L' if joined else 'M'}{x:g} {y:g}")
        if last is not None and not joined:
            dotted.append(f"M{last[0]:g} {last[1]:g}L{x:g} {y:g}")
        last, joined = (x, y), True
    return "".join(solid), "".join(dotted)


def _text(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return show(float(value)) if number else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]
