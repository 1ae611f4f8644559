"""Evaluation tables as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rayforge.evaluation.intervals import Interval
from rayforge.reports.run_folder import interval

METRICS = (
    ("success", "Success", 3, "share of episodes that end strictly less than 3 m from the goal"),
    ("spl", "SPL", 3, "success weighted by shortest length over walked length"),
    ("oracle_success", "Oracle", 3, "share that passes the goal within 3 m anywhere"),
    ("ndtw", "nDTW", 3, "likeness of the walked path and the reference, 1 where identical"),
    ("sdtw", "SDTW", 3, "success times nDTW"),
    ("navigation_error", "Error, m", 2, "metres from the end of the path to the goal"),
    ("path_length", "Length, m", 2, "metres walked"),
    ("forced_stop", "Forced stop", 3, "share ended by the step limit"),
)
"""(key, heading, decimals, meaning) of the columns, in order."""

AGENTS = {
    "no text": "the same agent given an empty sentence",
    "shuffled text": "the same agent given the sentence of another episode",
    "straight": "walks straight ahead, as far as paths are long, and stops",
    "random": "takes legal actions at random",
    "expert": "walks as the demonstrations do",
}
"""What the controls do."""


def metric_table(
    rows: Sequence[tuple[str, str, Mapping[str, Any], bool]], caption: str, first: str = "Agent"
) -> str:
    """Rows by metrics, each cell a mean over its 95 % interval.

    Args:
        rows: (label, small line under it, {metric: figure}, whether the row is marked).
        caption: plain text under the table.
        first: heading of the first column.
    """
    present = {key for _, _, figures, _ in rows for key in figures}
    known = [column for column in METRICS if column[0] in present]
    others = sorted(present - {key for key, *_ in METRICS})
    columns = [*known, *((key, key.replace("_", " "), 3, "") for key in others)]
    head = "".join(
        f'<th scope="col" title="{escape(meaning)}">{escape(name)}</th>'
        for _, name, _, meaning in columns
    )
    body = []
    for label, below, figures, own in rows:
        cells = "".join(
            f"<td>{cell(interval(figures.get(key)), decimals)}</td>"
            for key, _, decimals, _ in columns
        )
        small = f'<span class="span">{escape(below)}</span>' if below else ""
        body.append(
            f'<tr{" class=own" if own else ""}><th scope="row">{escape(label)}{small}</th>'
            f"{cells}</tr>"
        )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">{escape(first)}</th>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="under">{escape(caption)}</p>'
    )


def meanings() -> str:
    """What the columns mean, once a page."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for _, name, _, text in METRICS
    )
    return (
        f'<details><summary>What the columns mean</summary><dl class="facts">{items}</dl></details>'
    )


def cell(found: Interval, decimals: int = 3, signed: bool = False) -> str:
    """A mean with its interval below, as HTML; a dash where there is none."""
    if not math.isfinite(found.mean):
        return '<span class="mean">—</span>'
    sign = "+" if signed else ""
    mean = f'<span class="mean">{found.mean:{sign}.{decimals}f}</span>'
    return mean + f'<span class="span">{span(found, decimals, signed)}</span>'


def span(found: Interval, decimals: int = 3, signed: bool = False) -> str:
    """`[low, high]`, or "" where the interval is unknown."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    sign = "+" if signed else ""
    return f"[{found.low:{sign}.{decimals}f}, {found.high:{sign}.{decimals}f}]"


def ordered_agents(agents: Mapping[str, Any]) -> list[str]:
    """The agent first, its controls in a fixed order, whatever else there is by name."""
    order = ["agent", *AGENTS]
    return [name for name in order if name in agents] + sorted(set(agents) - set(order))
