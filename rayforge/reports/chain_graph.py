"""A request's chain as a drawing: what people said next, and how it ended."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rayforge.reports.plots import WIDTH, joined, mark
from rayforge.reports.section import Picture

_LEFT, _BOX, _ROW, _LETTERS = 92, 196, 56, 31


class Edge(NamedTuple):
    """A transition; places are numbers of requests, -1 is success and -2 failure."""

    before: int
    after: int
    probability: float


def chain_graph(title: str, requests: Sequence[str], edges: Sequence[Edge], says: str) -> Picture:
    """Requests from top to bottom, the first one the request itself; how each ended at its right.

    An arrow at the left leads from a request to what was said next; its width is its probability,
    which stands beside it.

    Args:
        requests: their words.
        edges: transitions among them and to the ends.
        says: what the drawing shows, for those who do not see it.
    """
    height = _ROW * len(requests) + 16
    middle = [30.0 + _ROW * row for row in range(len(requests))]
    parts = []
    labels: list[tuple[float, float, str]] = []
    moves = [edge for edge in edges if edge.after >= 0 and edge.after != edge.before]
    for number, edge in enumerate(sorted(moves, key=lambda e: e.probability)):
        down = edge.after > edge.before
        y, v = middle[edge.before] + (6 if down else -6), middle[edge.after] + (-4 if down else 4)
        bend = 16.0 + 13 * abs(edge.after - edge.before) + 3 * (number % 3)
        wide = float(np.clip(5 * edge.probability, 0.7, 5))
        path = f"M{_LEFT},{y:.0f} C{_LEFT - bend:.0f},{y:.0f} {_LEFT - bend:.0f},{v:.0f} "
        path += f"{_LEFT - 5},{v:.0f} m-5,-4 l5,4 l-5,4"
        kind = f"line {'agent' if down else 'quiet'}"
        # As a style: the class's own width is stronger than an attribute.
        parts.append(mark("path", kind=kind, d=path, style=f"stroke-width:{wide:g}px"))
        labels.append((_LEFT - 0.7 * bend - 4, (y + v) / 2 + 4, f"{edge.probability:.2f}"))
    placed: list[tuple[float, float]] = []
    for x, y, label in sorted(labels, key=lambda one: one[1]):
        while any(abs(x - a) < 28 and abs(y - b) < 11 for a, b in placed):
            y += 11
        placed.append((x, y))
        parts.append(mark("text", label, kind="tick end halo", x=x, y=y))
    for row, words in enumerate(requests):
        y = middle[row]
        parts.append(
            mark("rect", x=_LEFT, y=y - 20, width=_BOX, height=40, rx=6, fill="none",
                 stroke="currentColor", stroke_opacity=0.4)
        )  # fmt: skip
        lines = textwrap.wrap(words, _LETTERS, max_lines=2, placeholder=" …")
        for line, text in enumerate(lines):
            at_y = y + 4 + 14 * (line - (len(lines) - 1) / 2)
            parts.append(mark("text", text, kind="tick", x=_LEFT + 6, y=at_y))
        ends = {edge.after: edge.probability for edge in edges if edge.before == row}
        for end, name, below in ((-1, "well", -4), (-2, "badly", 12)):
            text = f"{name} {ends.get(end, 0.0):.2f}"
            kind = "tick expert" if end == -1 else "tick"
            parts.append(mark("text", text, kind=kind, x=_LEFT + _BOX + 8, y=y + below))
    hint = (
        "Left: what people said next, with its probability; orange leads down, grey back up. "
        "Right: how the session ended. What is missing to 1 went to requests that are not drawn."
    )
    return Picture(title, joined(parts), WIDTH, height, says, hint=hint)
