"""A building's viewpoints and one episode's two paths as a small inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayforge.reports.plots import joined, mark
from rayforge.reports.section import Picture
from rayforge.reports.viewer import floors

_WIDTH, _MARGIN, _REACH = 300, 14, 4.0  # pixels, pixels, metres shown around the paths


def small_map(
    building: Mapping[str, Any], reference: Sequence[str], path: Sequence[str], says: str
) -> Picture:
    """The part of a map around two paths; north is up.

    Args:
        building: as `rayforge.reports.viewer.write_viewer` takes it (positions, edges, ids).
        reference: viewpoint ids of the demonstrated path, drawn dashed.
        path: viewpoint ids of the agent's, drawn on top; empty where only a path is shown.
        says: what the drawing shows, for those who do not see it.
    """
    positions = np.asarray(building["positions"], float)
    number = {name: i for i, name in enumerate(building["ids"])}
    ways = [[number[v] for v in way] for way in (reference, path)]
    used = np.array(sorted({*ways[0], *ways[1]}))
    storey = floors(positions[:, 2])
    low = positions[used, :2].min(0) - _REACH
    high = positions[used, :2].max(0) + _REACH
    scale = (_WIDTH - 2 * _MARGIN) / max(high[0] - low[0], 1e-6)
    height = min(420.0, 2 * _MARGIN + scale * (high[1] - low[1]))
    scale = min(scale, (height - 2 * _MARGIN) / max(high[1] - low[1], 1e-6))

    def at(place: int) -> tuple[float, float]:
        x, y = (positions[place, :2] - low) * scale
        return round(_MARGIN + x, 1), round(height - _MARGIN - y, 1)

    inside = ((positions[:, :2] >= low) & (positions[:, :2] <= high)).all(1)
    inside &= np.isin(storey, storey[used])
    parts = []
    for a, b in building["edges"]:
        if inside[a] and inside[b]:
            (x, y), (u, v) = at(a), at(b)
            parts.append(mark("line", kind="grid", x1=x, y1=y, x2=u, y2=v))
    for place in np.flatnonzero(inside):
        x, y = at(int(place))
        parts.append(mark("circle", kind="place", cx=x, cy=y, r=1.6))
    for way, who, dashes in ((ways[0], "expert", "5 4"), (ways[1], "agent", "")):
        if not way:
            continue
        points = " ".join(f"{x},{y}" for x, y in map(at, way))
        parts.append(mark("polyline", kind=f"line {who}", stroke_dasharray=dashes, points=points))
        x, y = at(way[-1])
        dot = "goal" if who == "expert" else who
        parts.append(mark("circle", kind=f"dot {dot}", cx=x, cy=y, r=4.5))
    x, y = at(ways[0][0])
    parts.append(mark("circle", kind="start", cx=x, cy=y, r=4))
    return Picture("", joined(parts), _WIDTH, height, says)
