"""Charts of points and of matrices, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from rayforge.reports.plots import COLOURS, WIDTH, Axis, frame, joined, mark, shorten
from rayforge.reports.section import Key, Picture

_HEIGHT = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 20, 40
_LEAST_SIDE = 7.0
"""Pixels of a matrix's field below which its rows have no names."""
_LETTER = 7.0
"""Pixels of a letter of a label, a wide one."""


def scatter_chart(
    title: str, groups: Sequence[tuple[str, np.ndarray, np.ndarray, Sequence[str]]], *,
    x: str, y: str, lines: Sequence[tuple[str, np.ndarray, np.ndarray]] = (),
    equal: tuple[np.ndarray, np.ndarray] | None = None, hint: str = "", labels: bool = False,
) -> list[Picture]:  # fmt: skip
    """A picture of points in a list, empty where there is none.

    Args:
        groups: (name, x [n], y [n], what each point is) a colour each.
        x, y: what the axes count.
        lines: (name, x [m], y [m]) drawn dashed.
        equal: (x [2], y [2]), the line of equality, drawn solid.
        labels: whether what a point is stands beside it, where it has room; it is shown where one
            points at it as well.
    """
    every = [(a, b) for _, a, b, _ in groups] + [(a, b) for _, a, b in lines]
    every += [equal] if equal is not None else []
    finite = [(a[k], b[k]) for a, b in every for k in [np.isfinite(a) & np.isfinite(b)]]
    if not any(len(a) for a, _ in finite):
        return []
    axes = []
    for side, (start, stop) in enumerate(((_LEFT, WIDTH - _RIGHT), (_HEIGHT - _BOTTOM, _TOP))):
        values = np.concatenate([pair[side] for pair in finite])
        low, high = float(values.min()), float(values.max())
        pad = 0.06 * (high - low) or 0.05
        axes.append(Axis(low - pad, high + pad, start, stop))
    across, up = axes
    parts = frame(across, up, _HEIGHT, x, y)
    drawn = [("level", *line) for line in lines]
    drawn += [("line faint c6", "equal", *equal)] if equal is not None else []
    for kind, name, a, b in drawn:
        path = "M" + "L".join(f"{across(float(p)):g} {up(float(q)):g}"
                              for p, q in zip(a, b, strict=True))  # fmt: skip
        parts.append(mark("path", mark("title", name), kind=kind, d=path))
    places = _Places()
    for number, (_, a, b, said) in enumerate(groups):
        for p, q, word in zip(a, b, said, strict=True):
            if not (math.isfinite(p) and math.isfinite(q)):
                continue
            at, height = across(float(p)), up(float(q))
            parts.append(mark("circle", mark("title", word), kind=f"dot c{number % COLOURS}",
                              cx=at, cy=height, r=3.5))  # fmt: skip
            if labels and (place := places.beside(at, height, shorten(word, 14))) is not None:
                parts.append(place)
    keys = [Key(f"c{k % COLOURS}", name) for k, (name, *_) in enumerate(groups) if name]
    count = sum(len(a) for _, a, _, _ in groups)
    return [Picture(title, joined(parts), WIDTH, _HEIGHT, f"{title}: {count} points", keys, hint)]


class _Places:
    """Where labels stand, so that none covers another or leaves the picture."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float, float, float]] = []

    def beside(self, x: float, y: float, word: str) -> Markup | None:
        """A label right of a point, left, below or above it; None where there is no room."""
        wide, high = _LETTER * len(word), 11.0
        for left, middle in (
            (x + 6, y), (x - 6 - wide, y), (x - wide / 2, y + 12), (x - wide / 2, y - 12),
        ):  # fmt: skip
            box = (left, middle - high / 2, left + wide, middle + high / 2)
            inside = box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= _HEIGHT - _BOTTOM
            free = all(
                box[2] <= a or c <= box[0] or box[3] <= b or d <= box[1]
                for a, b, c, d in self.taken
            )
            if inside and free:
                self.taken.append(box)
                return mark("text", word, kind="tick", x=round(left, 1), y=round(middle + 3.5, 1))
        return None


def matrix_chart(
    title: str, values: np.ndarray, names: Sequence[str], hint: str = ""
) -> list[Picture]:
    """A square matrix [n, n] as shades, the greatest value darkest and the diagonal lightest, in a
    list; empty for n = 0. What the shades reach from and to stands behind the hint."""
    count = len(values)
    if not count:
        return []
    left = 14 + round(6.2 * min(16, max(map(len, names))))
    labelled = (WIDTH - left - 8) / count >= _LEAST_SIDE
    left = left if labelled else 8
    side = (WIDTH - left - 8) / count
    top = 8
    off = values[~np.eye(count, dtype=bool)] if count > 1 else values.ravel()
    low, high = float(off.min()), float(off.max())
    parts: list[Markup] = []
    for i in range(count):
        for j in range(count):
            share = (values[i, j] - low) / (high - low) if high > low else 1.0
            share = 0.0 if i == j else 0.15 + 0.85 * share
            words = f"{names[i]}, {names[j]}: {values[i, j]:.4g}"
            parts.append(
                mark("rect", mark("title", words), kind="bar c0", x=round(left + j * side, 1),
                     y=round(top + i * side, 1), width=round(side, 1), height=round(side, 1),
                     fill_opacity=round(0.05 + 0.95 * share, 3))
            )  # fmt: skip
        if labelled:
            parts.append(mark("text", shorten(names[i], 16), kind="tick end", x=left - 4,
                              y=round(top + (i + 0.7) * side, 1)))  # fmt: skip
    height = top + side * count + 10
    says = f"{title}: {count} by {count}, from {low:.3g} to {high:.3g}"
    range_ = f"From {low:.3g} to {high:.3g}." if count > 1 else ""
    return [Picture(title, joined(parts), WIDTH, height, says, hint=f"{hint} {range_}".strip())]
