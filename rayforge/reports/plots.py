"""Charts as inline SVG, drawn directly: text stays text, colours follow the page's theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from rayforge.evaluation.intervals import Interval

COLOURS = 8
"""Series colours in style.css (classes c0 .. c7), told apart by colour-blind readers too."""

_WIDTH, _HEIGHT = 380, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 16, 16, 26
_MOST_POINTS = 400  # of a curve; more would be narrower than a pixel
_SMOOTH_FROM = 60  # shorter curves are legible as they are


@dataclass(frozen=True)
class Series:
    """One curve: x and y, float [n]; NaN in y leaves a gap."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    hint: str = "",
    from_zero: bool = False,
    reference: tuple[float, str] | None = None,
    phases: Sequence[tuple[float, str]] = (),
) -> str:
    """A figure of curves over updates, or "" where no series has a finite value.

    Args:
        hint: a line under the title that says how to read the figure.
        from_zero: whether the vertical axis starts at 0.
        reference: a level and its name, drawn as a dashed line.
        phases: (first update, name) of the training's phases, drawn where they begin.
    """
    drawn = [s for s in series if (np.isfinite(s.y) & np.isfinite(s.x)).any()]
    if not drawn:
        return ""
    values = np.concatenate([s.y[np.isfinite(s.y)] for s in drawn])
    places = np.concatenate([s.x[np.isfinite(s.x)] for s in drawn])
    low, high = float(values.min()), float(values.max())
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if reference is not None:
        low, high = min(low, reference[0]), max(high, reference[0])
    pad = 0.06 * (high - low) or max(abs(high) * 0.1, 0.05)
    # A figure that cannot be negative is not given room below zero.
    y_axis = Axis(low if from_zero and low == 0 else low - pad, high + pad, _HEIGHT - _BOTTOM, _TOP)
    first, last = float(places.min()), float(places.max())
    x_axis = Axis(first, last if last > first else first + 1, _LEFT, _WIDTH - _RIGHT)

    parts = []
    for tick, label in _labelled(y_axis.ticks(4)):
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y + 3.5:g}">{label}</text>')
    for tick, label in _labelled(x_axis.ticks(4)):
        parts.append(f'<text class="tick mid" x="{x_axis(tick)}" y="{_HEIGHT - 9}">{label}</text>')
    for place, name in phases:
        if not first <= place < last:
            continue
        x = x_axis(place)
        parts.append(
            f'<line class="phase" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text class="tick" x="{x + 3:g}" y="{_TOP - 5}">{escape(name)}</text>'
        )
    if reference is not None:
        y = y_axis(reference[0])
        parts.append(
            f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="tick end" x="{_WIDTH - _RIGHT}" y="{y - 4:g}">'
            f"{escape(reference[1])}</text>"
        )
    for s in drawn:
        parts.append(_curve(s, x_axis, y_axis))

    ends = [f"{show(float(s.y[np.isfinite(s.y)][-1]))}" for s in drawn]
    names = "".join(
        f'<span class="key"><i class="swatch c{s.colour % COLOURS}"></i>'
        f"{escape(s.name)} <b>{end}</b></span>"
        for s, end in zip(drawn, ends, strict=True)
    )
    says = f"{title}: " + ", ".join(
        f"{s.name} ends at {end}" for s, end in zip(drawn, ends, strict=True)
    )
    return (
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong>'
        f'<span class="keys">{names}</span>'
        + (f'<span class="hint">{escape(hint)}</span>' if hint else "")
        + f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(says)}">{"".join(parts)}</svg></figure>'
    )


def share_grid(axis: Axis, top: int, height: int) -> str:
    """SVG lines and labels of an axis of shares, 0 to 1, below bars from `top` on; `height` is the
    chart's. All in pixels."""
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = axis(tick)
        parts.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{height - 18}"/>'
            f'<text class="tick mid" x="{x}" y="{height - 5}">{tick:g}</text>'
        )
    return "".join(parts)


def interval_chart(title: str, rows: Sequence[tuple[str, Interval, bool]]) -> str:
    """Horizontal bars from 0 to 1 with their 95 % intervals as whiskers.

    Args:
        rows: (label, interval, whether it is the run's own agent, which is drawn stronger).
    """
    row, top, right = 26, 6, 54
    labels = [_shorten(label, 28) for label, _, _ in rows]
    left = max(132, 12 + round(6.6 * max(map(len, labels), default=0)))
    height = top + row * len(rows) + 20
    axis = Axis(0.0, 1.0, left, _WIDTH - right)
    parts = [share_grid(axis, top, height)]
    for place, (label, (_, found, own)) in enumerate(zip(labels, rows, strict=True)):
        y = top + row * place + row / 2
        parts.append(
            f'<text class="label end{" own" if own else ""}" x="{left - 8}" y="{y + 4:g}">'
            f"{escape(label)}</text>"
        )
        if not math.isfinite(found.mean):
            parts.append(f'<text class="tick" x="{left + 4}" y="{y + 4:g}">no value</text>')
            continue
        width = max(0.0, round(axis(min(1.0, found.mean)) - left, 2))
        parts.append(
            f'<rect class="bar {"c0" if own else "quiet"}" x="{left}" y="{y - 7:g}" '
            f'width="{width}" height="14" rx="2"/>'
        )
        if math.isfinite(found.low) and math.isfinite(found.high):
            a, b = axis(min(1.0, max(0.0, found.low))), axis(min(1.0, max(0.0, found.high)))
            parts.append(
                f'<path class="whisker" d="M{a} {y:g}H{b}M{a} {y - 4:g}v8M{b} {y - 4:g}v8"/>'
            )
        parts.append(
            f'<text class="label end" x="{_WIDTH - 4}" y="{y + 4:g}">{found.mean:.3f}</text>'
        )
    says = f"{title}: " + ", ".join(f"{label} {found.mean:.3f}" for label, found, _ in rows)
    return (
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(says)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def show(value: float) -> str:
    """A figure in three significant digits, as a person would write it; "—" for NaN."""
    if not math.isfinite(value):
        return "—"
    size = abs(value)
    if size >= 999_500:
        return f"{value / 1e6:.3g}M"
    if size >= 9_995:
        return f"{value / 1e3:.3g}k"
    if size >= 999.5:
        return f"{value:,.0f}"
    if 0 < size < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}"


def _labelled(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks as `show` writes them, with more digits where two of them would read alike."""
    labels = [show(tick) for tick in ticks]
    for digits in range(4, 13):
        if len(set(labels)) == len(labels):
            break
        labels = [f"{tick:.{digits}g}" for tick in ticks]
    return list(zip(ticks, labels, strict=True))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The centred mean over `window` neighbours of values [n], leaving NaN out; NaN stays NaN."""
    finite = np.isfinite(values)
    sums = np.convolve(np.where(finite, values, 0.0), np.ones(window), "same")
    counts = np.convolve(finite.astype(float), np.ones(window), "same")
    return np.where(finite, sums / np.maximum(counts, 1.0), np.nan)


class Axis:
    """A linear scale from values to pixels (one decimal, to keep pages small)."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, wanted: int) -> list[float]:
        """About `wanted` round values inside the range."""
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
        count = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [round(i * step, 12) for i in count]


def _curve(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    """The curve; a long one as a faint line under its running mean; a lone point as a dot."""
    x, y = series.x, series.y
    colour = f"c{series.colour % COLOURS}"
    window = len(y) // 30 if len(y) >= _SMOOTH_FROM else 1
    lines = [(f"line {colour}", running_mean(y, window) if window > 1 else y)]
    if window > 1:
        lines.insert(0, (f"line faint {colour}", y))
    step = math.ceil(len(y) / _MOST_POINTS)
    parts = []
    for names, values in lines:
        # Every value left out of the drawing is still in the running mean.
        path, dots = _path(x[::step], values[::step], x_axis, y_axis)
        parts.append(f'<path class="{names}" d="{path}"/>')
        parts += [f'<circle class="dot {colour}" cx="{a}" cy="{b}" r="2"/>' for a, b in dots]
    return "".join(parts)


def _path(
    x: np.ndarray, y: np.ndarray, x_axis: Axis, y_axis: Axis
) -> tuple[str, list[tuple[float, float]]]:
    """SVG path data with a gap at each NaN, and the points that stand alone between gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            pieces[-1].append((x_axis(float(a)), y_axis(float(b))))
        elif pieces[-1]:
            pieces.append([])
    lines = ["M" + "L".join(f"{a:g} {b:g}" for a, b in piece) for piece in pieces if len(piece) > 1]
    return "".join(lines), [piece[0] for piece in pieces if len(piece) == 1]


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
