"""A request's chain as a drawing: what people said next, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rayforge.reports.plots import joined, mark
from rayforge.reports.section import Picture

_WIDTH, _ROW, _LETTERS = 760, 62, 52


class Edge(NamedTuple):
    """A transition; places are numbers of requests, -1 is success and -2 failure."""

    before: int
    after: int
    probability: float


def chain_graph(requests: Sequence[str], edges: Sequence[Edge], says: str) -> Picture:
    """Requests from top to bottom, the first one the request itself; success and failure at the
    right. A line's width is its probability, which stands beside it.

    Args:
        requests: their words.
        edges: transitions among them and to the ends.
        says: what the drawing shows, for those who do not see it.
    """
    height = _ROW * max(2, len(requests)) + 20
    places = {row: (210.0, 30.0 + _ROW * row) for row in range(len(requests))}
    middle = height / 2
    ends = {-1: (_WIDTH - 90.0, middle - _ROW / 2), -2: (_WIDTH - 90.0, middle + _ROW / 2)}
    at = places | ends
    parts = []
    for edge in sorted(edges, key=lambda e: e.probability):
        (x, y), (u, v) = at[edge.before], at[edge.after]
        wide = float(np.clip(6 * edge.probability, 0.6, 6))
        label = f"{edge.probability:.2f}"
        colour = {-1: "expert", -2: "quiet"}.get(edge.after, "agent")
        if edge.after < 0:
            path = (
                f"M{x + 196:.0f},{y:.0f} C{x + 300:.0f},{y:.0f} "
                f"{u - 130:.0f},{v:.0f} {u - 46:.0f},{v:.0f}"
            )
            where = (x + 215 + 6, y - 4 if edge.after == -1 else y + 12)
        elif edge.before == edge.after:
            path = f"M{x - 196:.0f},{y - 6:.0f} c-40,-14 -40,26 0,12"
            where = (x - 230, y - 10)
        else:
            side = -1 if edge.after > edge.before else 1
            bend = 18 + 10 * abs(edge.after - edge.before)
            begin, end = y + 14 * -side, v - 14 * -side
            off = side * (60 + 12 * abs(edge.after - edge.before))
            path = (
                f"M{x + off:.0f},{begin:.0f} C{x + off + side * bend:.0f},{begin:.0f} "
                f"{x + off + side * bend:.0f},{end:.0f} {x + off:.0f},{end:.0f}"
            )
            where = (x + off + side * bend, (begin + end) / 2 + 4)
        parts.append(mark("path", kind=f"line {colour}", d=path, fill="none", stroke_width=wide))
        parts.append(mark("text", label, kind="tick mid", x=where[0], y=where[1]))
    for row, words in enumerate(requests):
        x, y = places[row]
        shown = words if len(words) <= _LETTERS else words[: _LETTERS - 1] + "…"
        parts.append(
            mark("rect", kind="frame", x=x - 196, y=y - 14, width=392, height=28, rx=6,
                 fill="none", stroke="currentColor", stroke_opacity=0.4)
        )  # fmt: skip
        parts.append(mark("text", shown, kind="tick mid", x=x, y=y + 4))
    for end, name in ((-1, "ended well"), (-2, "ended badly")):
        x, y = ends[end]
        parts.append(mark("text", name, kind="tick", x=x - 40, y=y + 4))
    return Picture("", joined(parts), _WIDTH, height, says)
