"""Charts as inline SVG, drawn directly: text stays text, colours follow the page's theme.

All charts are `WIDTH` pixels wide, so that their words have one size on a page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rayforge.evaluation.intervals import Interval
from rayforge.reports.section import MINUS, Key, Picture

COLOURS = 8
"""Series colours in style.css (classes c0 .. c7), told apart by colour-blind readers too."""
WIDTH = 380

_HEIGHT = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 16, 24, 38
_MOST_POINTS = 400  # of a curve; more would be narrower than a pixel
_SMOOTH_FROM = 60  # shorter curves are legible as they are


@dataclass(frozen=True)
class Series:
    """One curve: x and y, float [n]; NaN in y leaves a gap."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0
    quiet: bool = False
    """Drawn thin and grey, without a place in the legend."""
    says: str = ""
    """Shown where one points at it."""
    spans: Sequence[Interval] = ()
    """The intervals of y, drawn as whiskers; as many as points, or none."""

    @property
    def finite(self) -> np.ndarray:
        """The values that are drawn."""
        found: np.ndarray = self.y[np.isfinite(self.y) & np.isfinite(self.x)]
        return found

    @property
    def limits(self) -> np.ndarray:
        """The ends of the intervals that are drawn."""
        ends = np.array([end for span in self.spans for end in (span.low, span.high)])
        found: np.ndarray = ends[np.isfinite(ends)]
        return found


def mark(tag: str, words: str = "", /, kind: str = "", **attributes: object) -> Markup:
    """An SVG element of class `kind`. Words and attributes are escaped; underscores in the names
    of attributes stand for hyphens."""
    given = {"class": kind, **{k.replace("_", "-"): v for k, v in attributes.items()}}
    inside = Markup("").join(
        Markup(' {}="{}"').format(name, f"{value:g}" if isinstance(value, float) else value)
        for name, value in given.items()
        if value != ""
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), inside, words)


def joined(parts: Sequence[Markup]) -> Markup:
    return Markup("").join(parts)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    hint: str = "",
    x: str = "updates",
    y: str = "",
    from_zero: bool = False,
    reference: tuple[float, str] | None = None,
    phases: Sequence[tuple[float, str]] = (),
    last_values: bool = True,
) -> list[Picture]:
    """A picture of curves in a list, empty where no series has a finite value.

    Args:
        hint: a line under the title that says how to read the figure.
        x: what the horizontal axis counts, with its unit.
        y: what the vertical axis counts, with its unit.
        from_zero: whether the vertical axis starts at 0.
        reference: a level and its name, drawn as a dashed line.
        phases: (first update, name) of the training's phases, drawn where they begin.
        last_values: whether a curve's last value stands beside its name.
    """
    drawn = [s for s in series if len(s.finite)]
    if not drawn:
        return []
    values = np.concatenate([part for s in drawn for part in (s.finite, s.limits)])
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
    x_axis = Axis(first, last if last > first else first + 1, _LEFT, WIDTH - _RIGHT)
    parts = frame(x_axis, y_axis, _HEIGHT, x, y, not (places % 1).any())
    for place, name in phases:
        if first <= place < last:
            at = x_axis(place)
            parts.append(
                mark("line", kind="phase", x1=at, x2=at, y1=_TOP - 8, y2=_HEIGHT - _BOTTOM)
            )
            parts.append(mark("text", name, kind="tick", x=at + 3, y=_TOP - 2))
    if reference is not None:
        at = y_axis(reference[0])
        parts.append(mark("line", kind="level", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at))
    for number, s in enumerate(drawn):
        parts += _spans(s, x_axis, y_axis, number - (len(drawn) - 1) / 2)
    parts += [part for s in drawn for part in _curve(s, x_axis, y_axis)]
    if reference is not None:
        at = y_axis(reference[0]) - 4
        parts.append(mark("text", reference[1], kind="tick end halo", x=WIDTH - _RIGHT, y=at))
    named = [(s, show(float(s.finite[-1]))) for s in drawn if not s.quiet]
    keys = [
        Key(f"c{s.colour % COLOURS}", s.name, value if last_values else "") for s, value in named
    ]
    says = f"{title}: " + ", ".join(f"{s.name} ends at {value}" for s, value in named)
    return [Picture(title, joined(parts), WIDTH, _HEIGHT, says, keys, hint)]


def frame(
    x_axis: Axis, y_axis: Axis, height: float, x: str, y: str, whole: bool = False
) -> list[Markup]:
    """Grid, ticks and names of two axes of a chart that is `height` pixels high; `whole` where the
    horizontal one counts."""
    left, right = x_axis.start, x_axis.stop
    ticks = [t for t in x_axis.ticks(4) if not whole or t == round(t)]
    parts = []
    for tick, label in _labelled(y_axis.ticks(4)):
        at = y_axis(tick)
        parts.append(mark("line", kind="grid", x1=left, x2=right, y1=at, y2=at))
        parts.append(mark("text", label, kind="tick end", x=left - 6, y=at + 3.5))
    for tick, label in _labelled(ticks):
        parts.append(mark("text", label, kind="tick mid", x=x_axis(tick), y=height - 22))
    parts.append(mark("text", x, kind="tick mid axis", x=(left + right) / 2, y=height - 6))
    parts.append(mark("text", y, kind="tick axis", x=2, y=9))
    return parts


def share_grid(axis: Axis, top: float, height: float) -> list[Markup]:
    """Lines and labels of an axis of shares, 0 to 1, below bars from `top` on; `height` is the
    chart's. All in pixels."""
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = axis(tick)
        parts.append(mark("line", kind="grid", x1=at, x2=at, y1=top, y2=height - 18))
        parts.append(mark("text", f"{tick:g}", kind="tick mid", x=at, y=height - 5))
    return parts


def interval_chart(
    title: str, rows: Sequence[tuple[str, Interval, str]], hint: str = ""
) -> Picture:
    """Horizontal bars from 0 to 1 with their 95 % intervals as whiskers.

    Args:
        rows: (label, interval, class of its colour: "c0" to "c7", "agent", "expert", "quiet").
    """
    row, top, right = 26, 6, 54
    labels = [shorten(label, 28) for label, _, _ in rows]
    left = max(132, 12 + round(6.6 * max(map(len, labels), default=0)))
    height = top + row * len(rows) + 20
    axis = Axis(0.0, 1.0, left, WIDTH - right)
    parts = share_grid(axis, top, height)
    for place, (label, (_, found, colour)) in enumerate(zip(labels, rows, strict=True)):
        y = top + row * place + row / 2
        own = "" if colour == "quiet" else " own"
        parts.append(mark("text", label, kind=f"label end{own}", x=left - 8, y=y + 4))
        if not math.isfinite(found.mean):
            parts.append(mark("text", "no value", kind="tick", x=left + 4, y=y + 4))
            continue
        width = max(0.0, round(axis(min(1.0, found.mean)) - left, 2))
        parts.append(
            mark("rect", kind=f"bar {colour}", x=left, y=y - 7, width=width, height=14, rx=2)
        )
        if math.isfinite(found.low) and math.isfinite(found.high):
            a, b = axis(min(1.0, max(0.0, found.low))), axis(min(1.0, max(0.0, found.high)))
            parts.append(_whisker(a, b, y))
        parts.append(mark("text", f"{found.mean:.3f}", kind="label end", x=WIDTH - 4, y=y + 4))
    says = f"{title}: " + ", ".join(f"{label} {found.mean:.3f}" for label, found, _ in rows)
    return Picture(title, joined(parts), WIDTH, height, says, hint=hint)


@dataclass(frozen=True)
class Difference:
    """a − b in one figure: over the same items, and over the seeds that both have."""

    a: str
    b: str
    items: Interval
    seeds: Interval
    colours: tuple[str, str]
    """Classes of a's and of b's colour."""

    @property
    def ahead(self) -> int:
        """1: a is larger beyond doubt, -1: b is; 0: an interval holds 0, or there is none."""
        known = [i for i in (self.items, self.seeds) if math.isfinite(i.low) and i.n > 1]
        if not known:
            return 0
        return int(all(i.low > 0 for i in known)) - int(all(i.high < 0 for i in known))


def difference_chart(title: str, rows: Sequence[Difference], hint: str = "") -> Picture:
    """Paired differences with their 95 % intervals around a line at 0, a row a pair.

    A dot is the difference over the same items, a ring the one over the same seeds. The colour is
    that of the side which is ahead beyond doubt; grey where an interval holds 0.
    """
    rings = any(d.seeds.n > 1 for d in rows)
    row, top, side = (60 if rings else 44), 8, 58
    known = [
        v for d in rows for i in (d.items, d.seeds) for v in (i.mean, i.low, i.high)
        if math.isfinite(v)
    ]  # fmt: skip
    reach = max((abs(v) for v in known), default=0.0) * 1.12 or 0.05
    height = top + row * len(rows) + 38
    axis = Axis(-reach, reach, 14, WIDTH - side)
    parts = []
    for tick, label in _labelled(axis.ticks(5)):
        at = axis(tick)
        zero = "level" if tick == 0 else "grid"
        parts.append(mark("line", kind=zero, x1=at, x2=at, y1=top, y2=height - 34))
        sign = "+" if tick > 0 else ""
        parts.append(mark("text", sign + label, kind="tick mid", x=at, y=height - 20))
    parts.append(mark("text", "← second is ahead", kind="tick axis", x=14, y=height - 5))
    parts.append(
        mark("text", "first is ahead →", kind="tick axis end", x=WIDTH - side, y=height - 5)
    )
    for place, d in enumerate(rows):
        y = top + row * place
        colour = d.colours[0 if d.ahead > 0 else 1] if d.ahead else "c6"
        parts.append(mark("text", _pair(d), kind="label own halo", x=14, y=y + 14))
        for at, found, inside in ((y + 29, d.items, 1), (y + 45, d.seeds, 0)):
            if not math.isfinite(found.mean) or (found is d.seeds and found.n < 2):
                continue
            if math.isfinite(found.low):
                parts.append(_whisker(axis(found.low), axis(found.high), at))
            kind = f"{'dot' if inside else 'ring'} {colour}"
            parts.append(mark("circle", kind=kind, cx=axis(found.mean), cy=at, r=5.0))
            value = f"{found.mean:+z.3f}"
            parts.append(mark("text", value, kind="label end", x=WIDTH - 4, y=at + 4))
    says = f"{title}: " + ", ".join(f"{d.a} minus {d.b} {d.items.mean:+z.3f}" for d in rows)
    return Picture(title, joined(parts), WIDTH, height, says, hint=hint)


def _pair(difference: Difference) -> str:
    return f"{shorten(difference.a, 22)} {MINUS} {shorten(difference.b, 22)}"


def histogram_chart(
    title: str, groups: Sequence[tuple[str, np.ndarray]], x: str, hint: str = ""
) -> list[Picture]:
    """Stacked counts of several groups of values over common bins; empty where there is no value.

    Args:
        groups: (name, values [n]) from the bottom of the stack to its top.
        x: what the values are, with their unit.

    Bins reach from the 0.5 % to the 99.5 % quantile; what lies beyond counts in the outer bins.
    """
    bins = 40
    finite = [(name, values[np.isfinite(values)]) for name, values in groups]
    together = np.concatenate([values for _, values in finite]) if finite else np.zeros(0)
    if not together.size:
        return []
    low, high = (float(v) for v in np.quantile(together, [0.005, 0.995]))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(np.clip(values, low, high), edges)[0] for _, values in finite]
    y_axis = Axis(0.0, max(1, int(np.sum(counts, axis=0).max())), _HEIGHT - _BOTTOM, _TOP)
    x_axis = Axis(low, high, _LEFT, WIDTH - _RIGHT)
    parts = frame(x_axis, y_axis, _HEIGHT, x, "pairs")
    bottom = np.zeros(bins)
    wide = (x_axis.stop - x_axis.start) / bins
    for place, count in enumerate(counts):
        for number in np.flatnonzero(count):
            upper = y_axis(bottom[number] + count[number])
            parts.append(
                mark(
                    "rect", kind=f"bar c{place % COLOURS}", x=x_axis(edges[number]), y=upper,
                    width=round(wide - 0.6, 1), height=round(y_axis(bottom[number]) - upper, 1),
                )
            )  # fmt: skip
        bottom += count
    if low < 0 < high:
        at = x_axis(0.0)
        parts.append(mark("line", kind="level", x1=at, x2=at, y1=_TOP, y2=_HEIGHT - _BOTTOM))
    keys = [
        Key(f"c{place % COLOURS}", name, f"{len(values):,}")
        for place, (name, values) in enumerate(finite)
    ]
    medians = [show(float(np.median(v))) if len(v) else "—" for _, v in finite]
    says = f"{title}: " + ", ".join(
        f"{key.value} {key.name}, median {median}"
        for key, median in zip(keys, medians, strict=True)
    )
    return [Picture(title, joined(parts), WIDTH, _HEIGHT, says, keys, hint)]


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


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _whisker(a: float, b: float, y: float) -> Markup:
    return mark("path", kind="whisker", d=f"M{a:g} {y:g}H{b:g}M{a:g} {y - 4:g}v8M{b:g} {y - 4:g}v8")


def _spans(series: Series, x_axis: Axis, y_axis: Axis, place: float) -> list[Markup]:
    """A series' intervals as upright whiskers, `place` steps beside its points: those of several
    series at one x do not cover each other."""
    parts = []
    for x, span in zip(series.x, series.spans, strict=False):
        if not (math.isfinite(x) and math.isfinite(span.low) and math.isfinite(span.high)):
            continue
        at = x_axis(float(x)) + 3 * place
        low, high = y_axis(span.low), y_axis(span.high)
        shape = f"M{at:g} {low:g}V{high:g}M{at - 2:g} {low:g}h4M{at - 2:g} {high:g}h4"
        parts.append(mark("path", kind=f"span-line c{series.colour % COLOURS}", d=shape))
    return parts


def _curve(series: Series, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    """The curve; a long one as a faint line under its running mean; a lone point as a dot."""
    x, y = series.x, series.y
    colour = "faint c6" if series.quiet else f"c{series.colour % COLOURS}"
    window = len(y) // 30 if len(y) >= _SMOOTH_FROM else 1
    lines = [(f"line {colour}", running_mean(y, window) if window > 1 else y)]
    if window > 1:
        lines.insert(0, (f"line faint {colour}", y))
    step = math.ceil(len(y) / _MOST_POINTS)
    says = mark("title", series.says) if series.says else Markup("")
    parts = []
    for names, values in lines:
        # Every value left out of the drawing is still in the running mean.
        path, dots = _path(x[::step], values[::step], x_axis, y_axis)
        parts.append(mark("path", says, kind=names, d=path))
        parts += [mark("circle", says, kind=f"dot {colour}", cx=a, cy=b, r=2) for a, b in dots]
    return parts


def _path(
    x: np.ndarray, y: np.ndarray, x_axis: Axis, y_axis: Axis
) -> tuple[str, list[tuple[float, float]]]:
    """SVG path data with a gap at each NaN, and the points that stand alone between gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            point = (x_axis(float(a)), y_axis(float(b)))
            if pieces[-1][-1:] != [point]:  # a line of no length is not seen: it is a dot
                pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    lines = ["M" + "L".join(f"{a:g} {b:g}" for a, b in piece) for piece in pieces if len(piece) > 1]
    return "".join(lines), [piece[0] for piece in pieces if len(piece) == 1]
