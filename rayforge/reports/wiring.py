"""The wiring of a circuit on a run's page: `wiring.json` as drawings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.json_text import read_object
from rayforge.reports.plots import COLOURS, WIDTH, joined, mark
from rayforge.reports.section import Key, Picture, Pictures, Section, Text

_HEIGHT, _MARGIN = 300, 18
_FAINT = 0.15
"""Weaker links are not drawn."""


def wiring(folder: Path) -> list[Section]:
    """A section of the learnt wiring and of what instructions lit; empty where the run has none."""
    file = folder / "wiring.json"
    if not file.is_file():
        return []
    try:
        document = read_object(file, RunError)
        pictures = [_drawing("The policy's circuit", document, document["links"], None)]
        pictures += [
            _drawing(f"Instruction {k}", document, i["links"], i["lit"], str(i["text"]))
            for k, i in enumerate(document["instructions"], 1)
        ]
        modules, outputs = int(document["modules"]), int(document["outputs"])
        own = bool(document["conditioned"])
    except (RunError, KeyError, TypeError, ValueError, IndexError) as error:
        words = f"wiring.json cannot be read ({type(error).__name__}: {one_line(error, REASON)})."
        return [Section("Circuit", [Text(words, "gone")])]
    said = (
        f"{modules} modules that process and {outputs} that are read out (squares). Linked ones "
        "stand near each other; colours are clusters, each with the number of its modules. A line "
        f"is a link, the thicker the stronger; links weaker than {_FAINT:g} are not drawn. "
    )
    said += (
        "Each instruction makes its own wiring: the larger a module, the more of it gets to an "
        "output."
        if own
        else "The wiring is the same for every instruction: the larger a module, the more of it "
        "gets to an output."
    )
    first = pictures[:2] if not own else pictures
    question = "Which modules listen to which, and which does an instruction use?"
    return [Section("Circuit", [Text(said, "muted"), Pictures(first)], question)]


def _drawing(title: str, document: dict[str, Any], links: Any, lit: Any, hint: str = "") -> Picture:
    strength = np.asarray(links, float)
    places = np.asarray(document["places"], float)
    cluster = np.asarray(document["clusters"], int)
    modules = int(document["modules"])
    if strength.shape != (len(places), len(places)) or places.shape != (len(cluster), 2):
        raise ValueError(f"{len(places)} places do not fit links of {strength.shape}")
    x = np.round(_MARGIN + places[:, 0] * (WIDTH - 2 * _MARGIN), 1)
    y = np.round(_MARGIN + places[:, 1] * (_HEIGHT - 2 * _MARGIN), 1)
    both = np.maximum(strength, strength.T)
    parts = [
        mark("line", x1=x[a], y1=y[a], x2=x[b], y2=y[b], stroke="currentColor",
             stroke_width=round(0.4 + 1.6 * float(both[a, b]), 2),
             stroke_opacity=round(0.15 + 0.45 * float(both[a, b]), 2))
        for a, b in zip(*np.triu_indices(len(both), 1), strict=True)
        if both[a, b] > _FAINT
    ]  # fmt: skip
    size = np.full(len(places), 6.0)
    if lit is not None:
        share = np.asarray(lit, float)
        size[:modules] = 2.0 + 9.0 * np.sqrt(share / max(share.max(), 1e-9))
    for number, (at_x, at_y, radius) in enumerate(zip(x, y, size, strict=True)):
        colour = f"dot c{cluster[number] % COLOURS}"
        if number < modules:
            parts.append(mark("circle", kind=colour, cx=at_x, cy=at_y, r=round(radius, 1)))
        else:
            parts.append(mark("rect", kind=colour, x=at_x - 6, y=at_y - 6, width=12, height=12))
    keys = [Key(f"c{c % COLOURS}", f"cluster {c + 1}", str(int((cluster == c).sum())))
            for c in np.unique(cluster)[:COLOURS]]  # fmt: skip
    return Picture(
        title, joined(parts), WIDTH, _HEIGHT,
        f"{modules} modules in {len(np.unique(cluster))} clusters", () if hint else keys, hint,
    )  # fmt: skip
