"""Evaluation tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rayforge.reports.run_folder import interval
from rayforge.reports.section import Cell, Row, Table, cell

METRICS = (
    ("success", "Success", 3, "share of episodes that end strictly less than 3 m from the goal"),
    ("spl", "SPL", 3, "success weighted by shortest length over walked length"),
    ("oracle_success", "Oracle", 3, "share that passes the goal within 3 m anywhere"),
    ("ndtw", "nDTW", 3, "likeness of the agent's path and the reference, 1 where identical"),
    ("sdtw", "SDTW", 3, "success times nDTW"),
    ("navigation_error", "Error, m", 2, "metres from the end of the path to the goal"),
    ("path_length", "Length, m", 2, "metres walked"),
    ("forced_stop", "Forced stop", 3, "share ended by the step limit"),
    ("accuracy", "Accuracy", 3, "held-out pairs that the implicit reward orders as labelled"),
    ("margin", "Margin, nats", 3, "mean of the reward of chosen minus that of rejected, over beta"),
    ("score", "Score", 3, "the judge's mean score of greedy answers"),
    ("whole", "Whole, IoU", 3, "overlap with the true whole mask: intersection over union"),
    ("hidden", "Hidden part, IoU", 3, "the same of the part that something hides"),
)
"""(key, heading, decimals, meaning) of the columns, in order."""

AGENTS = {
    "no text": "the same agent given an empty instruction",
    "shuffled text": "the same agent given the instruction of another episode",
    "straight": "walks straight ahead, as far as paths are long, and stops",
    "random": "takes legal actions at random",
    "expert": "walks the reference path, as the demonstrations do",
    "shortest path": "takes the shortest way to the goal",
    "visible": "the visible mask as it is: nothing is completed",
    "carried": "the last full view, carried along by the mean flow",
}
"""What the controls do."""


def metric_table(
    rows: Sequence[tuple[str, str, Mapping[str, Any], bool]], below: str, first: str = "Agent"
) -> Table:
    """Rows by metrics, each cell a mean over its 95 % interval.

    Args:
        rows: (label, small line under it, {metric: figure}, whether the row is marked).
        below: the line under the table.
        first: heading of the first column.
    """
    present = {key for _, _, figures, _ in rows for key in figures}
    known = [column for column in METRICS if column[0] in present]
    others = sorted(present - {key for key, *_ in METRICS})
    columns = [*known, *((key, key.replace("_", " "), 3, "") for key in others)]
    return Table(
        [first, *(name for _, name, _, _ in columns)],
        [
            Row(
                Cell(label, small),
                [cell(interval(figures.get(key)), decimals) for key, _, decimals, _ in columns],
                own,
            )
            for label, small, figures, own in rows
        ],
        below,
        [(name, meaning) for _, name, _, meaning in known],
    )


def ordered_agents(agents: Collection[str]) -> list[str]:
    """The agent first, its controls in a fixed order, whatever else there is by name."""
    order = ["agent", *AGENTS]
    return [name for name in order if name in agents] + sorted(set(agents) - set(order))


def agent_colour(name: str) -> str:
    """The class of an agent's bar: the agent and the expert have colours, controls are grey."""
    return name if name in ("agent", "expert") else "quiet"
