"""The page of `rayforge analyse parity`: success by group, accuracy against parity, recovery."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.houses.house import ROOM_NAMES
from envs.houses.lexicon import ROOM_WORDS
from rayforge.evaluation.intervals import Interval, share_interval
from rayforge.reports.plots import Series, line_chart, show
from rayforge.reports.section import MINUS, Cell, Pictures, Row, Section, Table, Text, cell
from trainers.analysis.results import note

LONGER = ("the first answer is longer", "the others")
"""The groups of a language model's decisions."""
AGENT_DECISION = (
    "A decision is to stop or to walk on, at a viewpoint of a walk that goes on past its stops. It "
    "is right to stop within 3 m of the goal."
)
ANSWER_DECISION = (
    "A decision is whether the first of two answers is the better one, by the implicit reward. It "
    "is right where the label says the same."
)
RULES = (
    ("as it is", "yes where the model's own log-odds f are above 0"),
    ("second head", "yes where f + b g + c is above 0; g are the log-odds of the attribute, told "
                    "from the same features"),
    ("regularised last layer", "a new last layer, trained with a penalty on the difference"),
    ("last layer, no penalty", "the same without the penalty"),
    ("group thresholds", "another threshold for each group, as g tells them"),
    ("length control", "f less a line fitted to the difference in length"),
    ("Accuracy", "share of decisions that are right"),
    ("Difference of rates", "the rate of the first group less that of the others; 0 is parity"),
)  # fmt: skip
"""What the rows and columns are."""


def parity_sections(document: dict[str, Any]) -> list[Section]:
    """The page of an audit from its document."""
    tested = document["rules"]["as it is"]["accuracy"].n
    groups = [_group(name, document) for name in document.get("groups", LONGER)]
    rows = [
        Row(Cell(name), [cell(r["accuracy"]), cell(r["difference"], signed=True)],
            own=name.startswith("second head"))
        for name, r in document["rules"].items()
    ]  # fmt: skip
    curve = document["curve"]
    gap = np.abs([p["difference"] for p in curve])
    order = np.argsort(gap, kind="stable")
    right = np.array([p["accuracy"] for p in curve])[order]
    drawn = line_chart(
        "Accuracy against parity",
        [Series("f + b g + c", gap[order], right,
                spans=[share_interval(share, tested) for share in right.tolist()])],
        x="difference of rates without its sign", y="accuracy", last_values=False,
        hint="At 0 both groups get the same rate. Each point is the best b and c under a bound on "
             "the difference; whiskers are 95 % intervals.",
    )  # fmt: skip
    aware = document["awareness"]
    one, two = document["fair_from_merged"], document["unfair_from_fair"]
    told = [
        ("The attribute, from the frozen features", aware["features"], ""),
        ("The attribute, by always naming the larger group", aware["constant"], ""),
        ("What the regularised layer decides, from f and g", one["agreement"], one["ratio"]),
        ("What the layer without penalty decides, from the regularised one and g",
         two["agreement"], two["ratio"]),
    ]  # fmt: skip
    weights = [Cell("—" if ratio == "" else show(ratio)) for _, _, ratio in told]
    success = document.get("success")
    decision = AGENT_DECISION if success else ANSWER_DECISION
    sections = [
        Section("Accuracy and parity", [
            Text(f"{decision} The rate of a group is the share of its decisions that are yes. "
                 f"Groups: {groups[0]}, and {groups[1]}.", "muted"),
            Table(["Rule", "Accuracy", "Difference of rates"], rows,
                  f"{document['decisions']:,} decisions: one half fitted b, c and the layers, "
                  f"{tested:,} of the other half are scored here. 95 % bootstrap intervals over "
                  "decisions, of one run.", RULES),
            Pictures(drawn),
            note("Equal rates are one notion of parity among several that exclude each other, and "
                 "it is blind to why groups differ. Attributes of people are not inferred.")],
            "What does parity cost, and by which rule?"),
        Section("Awareness and recovery", [
            Table(["What is predicted, and from what", "Share right", "Weight b"],
                  [Row(Cell(name), [cell(share_interval(share, tested)), weight])
                   for (name, share, _), weight in zip(told, weights, strict=True)],
                  f"On the {tested:,} decisions that fitted nothing; 95 % Wilson intervals. A rule "
                  "that is fair is not blind: the attribute is usually still in its features.")],
            "Does the model know the attribute, and are its decisions a sum with it?"),
    ]  # fmt: skip
    if success:
        table = [
            Row(Cell("all", _episodes(success["before"])),
                [cell(success["before"]), cell(success["after"])], own=True),
            Row(Cell(f"difference: {groups[0]} less {groups[1]}"),
                [cell(success["difference_before"], signed=True),
                 cell(success["difference_after"], signed=True)]),
            *[Row(Cell(_group(name, document), _episodes(v["before"])),
                  [cell(v["before"]), cell(v["after"])])
              for name, v in success["by_value"].items()],
        ]  # fmt: skip
        sections.insert(0, Section("Success by group", [Table(
            ["Group", "As it is", "With the second head"], table,
            "Share of test episodes that end within 3 m of the goal, with 95 % bootstrap "
            f"intervals. The second head stops where f {_signed(success['b'])} g "
            f"{_signed(success['c'])} is above 0: f is the agent's log-odds of STOP, g those of "
            f"the group {groups[0]}.")],
            "Does it arrive as often in every group?"))  # fmt: skip
    return sections


def _episodes(found: Interval) -> str:
    return f"{found.n:,} episodes"


def _group(name: str, document: dict[str, Any]) -> str:
    """A group as tables call it: rooms by their kind instead of its letter."""
    if document["attribute"] != "room":
        return name
    return ROOM_WORDS[name][0] if name in ROOM_WORDS else ROOM_NAMES.get(name, name)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else MINUS} {abs(value):.2f}"
