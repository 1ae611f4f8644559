"""The page of several runs side by side: is one better than another, and what each is worth."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from rayforge.errors import ConfigurationError
from rayforge.evaluation.intervals import Interval
from rayforge.reports.alignment import ANSWERS, HELD_OUT, as_scored, is_alignment_run, judged
from rayforge.reports.groups import (
    Group,
    merge_seeds,
    over_episodes,
    over_same_seeds,
    over_seeds,
    why_not,
)
from rayforge.reports.page import report_page, write_page
from rayforge.reports.plots import (
    COLOURS,
    Difference,
    Series,
    difference_chart,
    interval_chart,
    line_chart,
    shorten,
)
from rayforge.reports.report import SEMANTIC_NOTE, duration, left_out
from rayforge.reports.run_folder import RunFolder, policy_curve, read_run
from rayforge.reports.section import (
    MINUS,
    Cell,
    Code,
    Facts,
    Part,
    Picture,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    cell,
    span,
    spoken,
)
from rayforge.reports.tables import AGENTS, METRICS, metric_table, ordered_agents

SHARED = ("straight", "random", "expert", "shortest path")
"""Controls that do not depend on what was trained."""

COMPARED = ("success", "spl", "accuracy", "margin", "score")
"""Figures that are subtracted, the first that a split has answers whether one is better."""

ITEMS = {HELD_OUT: "pairs", ANSWERS: "prompts"}
"""What a split holds; episodes otherwise."""

_NAMES = {key: name for key, name, _, _ in METRICS}

_CURVES = (
    ("rollout/success", "Success of roll-outs (sampled)", "share of episodes", True),
    ("discriminator/accuracy", "Discriminator accuracy", "share of trajectories", False),
    ("rollout/length", "Episode length", "actions", False),
    ("rollout/forced_stops", "Forced stops", "share of episodes", True),
    ("rollout/entropy", "Entropy of the policy", "nats a step", True),
    ("clone/loss", "Cloning loss", "nats a step", False),
    ("review/accuracy", "Held-out accuracy", "share of pairs", False),
    ("review/margin", "Margin of held-out pairs", "nats", False),
    ("review/greedy_score", "Judge's score, greedy", "score", False),
    ("train/loss", "Training loss", "nats a pair", False),
)


def write_comparison(runs: Sequence[Path], file: Path, not_learnt: Collection[str]) -> Path:
    """Write a page that says first whether one run is better, seeds of the same settings merged.

    Between methods stands the paired difference on the same items, and over the same seeds; of
    each method the mean over seeds with a 95 % Student t interval (one seed: its bootstrap
    interval over items). Runs that are not comparable are not subtracted, and the page says why.

    `not_learnt` names the settings in which runs of one method may differ.

    Raises FileNotFoundError for a folder that does not exist, ConfigurationError for no run, or
    for an agent's run beside an alignment run.
    """
    if not runs:
        raise ConfigurationError("there are no runs to compare: name at least one run folder")
    aligned = [run for run in runs if is_alignment_run(run)]
    if 0 < len(aligned) < len(runs):
        other = next(run for run in runs if run not in aligned)
        raise ConfigurationError(
            f"{aligned[0]} is an alignment run and {other} is an agent's: they have no figure in "
            "common; compare runs of one kind"
        )
    folders = [as_scored(read_run(run)) if aligned else read_run(run) for run in runs]
    sections = comparison(_told_apart(folders), not_learnt)
    title = "Comparison of " + shorten(", ".join(run.name for run in folders), 80)
    return write_page(file, report_page(title, "RayForge comparison", sections))


def comparison(runs: Sequence[RunFolder], not_learnt: Collection[str]) -> list[Section]:
    """The comparison as sections, its answer first."""
    groups = merge_seeds(runs, not_learnt)
    splits = list(dict.fromkeys(split for run in runs for split in run.episodes))
    scored = list(
        dict.fromkeys(split for run in runs for split in run.evaluations if run.agents(split))
    )
    missing = Text(("None of these runs has an evaluation: score agents with ",
                    Code("rayforge irl evaluate RUN --split SPLIT"),
                    "; alignment runs score themselves after each round."), "gone")  # fmt: skip
    pairs = _pairs(groups, splits) if len(groups) > 1 else []
    return [
        _answer(groups, pairs),
        *([] if scored else [Section("Figures", [missing])]),
        *(_split(groups, split, pairs) for split in scored),
        *judged(runs),
        _curves(groups),
        _runs(runs, groups),
        *left_out(runs),
    ]


def _told_apart(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """The runs, those of one name under their folder's name as well."""
    names = [run.name for run in runs]
    return [
        replace(run, given_name=f"{run.folder.resolve().parent.name}/{run.name}")
        if names.count(run.name) > 1
        else run
        for run in runs
    ]


def _colour(place: int) -> str:
    return f"c{place % COLOURS}"


@dataclass(frozen=True)
class _Pair:
    """Two groups on a split: their differences by figure, or why there are none."""

    a: Group
    b: Group
    split: str
    differences: dict[str, Difference]
    reasons: tuple[str, ...]


def _pairs(groups: Sequence[Group], splits: Sequence[str]) -> list[_Pair]:
    """All pairs of up to four groups, of more each with the last one."""
    last = len(groups) - 1
    numbers = list(combinations(range(len(groups)), 2))
    chosen = numbers if last < 4 else [(i, j) for i, j in numbers if j == last]
    found = []
    for split in splits:
        for i, j in chosen:
            a, b = groups[i], groups[j]
            reason = why_not(a, b, split)
            differences, reasons = {}, [reason] if reason else []
            for metric in () if reason else COMPARED:
                items = over_episodes(a, b, split, metric)
                if len(units := _units(a, b, metric)) > 1 and items.n:
                    reasons.append(f"their {metric}s are of {' and '.join(sorted(units))}")
                elif items.n:
                    seeds = over_same_seeds(a, b, split, metric)
                    sides = (_colour(i), _colour(j))
                    differences[metric] = Difference(a.label, b.label, items, seeds, sides)
            found.append(_Pair(a, b, split, differences, tuple(reasons)))
    return found


def _units(a: Group, b: Group, metric: str) -> set[str]:
    """What gives a figure its unit, in all of the runs: a margin's loss, the judge of a score."""
    setting = {"margin": "loss", "score": "judge"}.get(metric, "")
    return {str(run.config.get(setting)) for group in (a, b) for run in group.runs}


def _answer(groups: Sequence[Group], pairs: Sequence[_Pair]) -> Section:
    """Whether one is better: the paired differences as pictures, and in words."""
    if len(groups) == 1:
        alone = "These runs differ in their seeds alone: they are one method, without a difference."
        return Section("", [Text(alone, "lead")])
    pictures, said, refused = [], [], dict[str, list[str]]()
    for split in dict.fromkeys(pair.split for pair in pairs):
        here = [pair for pair in pairs if pair.split == split]
        for place, metric in enumerate(_metrics(here)):
            rows = [p.differences[metric] for p in here if metric in p.differences]
            pictures.append(difference_chart(f"{_NAMES[metric]}, {spoken(split)}", rows))
            if not place and len(here) <= 3:
                said += [(d, _said(d, _NAMES[metric].lower(), split)) for d in rows]
        for pair in here:
            for reason in pair.reasons:
                line = f"{pair.a.label} and {pair.b.label} are not subtracted: {reason}"
                refused.setdefault(line, []).append(spoken(split))
    words = [Text(text, "answer") for _, text in said]
    if any(d.seeds.n < 2 for d, _ in said):
        one = "The runs share one seed at most: another seed may say otherwise."
        words.append(Text(one, "muted"))
    words += [Text(f"{line} ({', '.join(on)}).", "note") for line, on in refused.items()]
    if not pairs:
        words.append(Text("No run has scored anything yet.", "gone"))
    how = (
        "First minus second, on the same episodes, pairs or prompts. Dot: over them, each averaged "
        "over seeds first, 95 % bootstrap. Ring: over the seeds that both have, 95 % Student t, "
        "where there are two. A difference is clear where no interval holds 0: it has the colour "
        "of the better side, else it is grey."
    )
    shown: list[Part] = [Pictures(pictures), Text(how, "muted")] if pictures else []
    names = [group.label for group in groups]
    title = f"Is {names[0]} better than {names[1]}?" if len(names) == 2 else "Which is better?"
    return Section(title, [*words, *shown])


def _metrics(pairs: Sequence[_Pair]) -> list[str]:
    return [m for m in COMPARED if any(m in pair.differences for pair in pairs)]


def _said(d: Difference, metric: str, split: str) -> str:
    items = ITEMS.get(split, "episodes")
    over = f"{d.items.mean:+z.3f} {span(d.items, signed=True)} over {d.items.n:,} shared {items}"
    if d.seeds.n > 1:
        over += f", {d.seeds.mean:+z.3f} {span(d.seeds, signed=True)} over {d.seeds.n} shared seeds"
    verdict = {
        1: f"{d.a} is better than {d.b}",
        -1: f"{d.b} is better than {d.a}",
        0: f"Not clear whether {d.a} or {d.b} is better",
    }[d.ahead]
    return f"{verdict} in {metric} on {spoken(split)}: {over}."


def _split(groups: Sequence[Group], split: str, pairs: Sequence[_Pair]) -> Section:
    """Every method's figures on a split, and the table of differences."""
    present = [g for g in groups if any(split in run.evaluations for run in g.runs)]
    present = [Group(g.name, tuple(r for r in g.runs if split in r.evaluations)) for g in present]
    labels = {group.name: group.label for group in groups}
    bars, rows = [], []
    for group in present:
        colour = _colour([g.name for g in groups].index(group.name))
        seeds = ", ".join(run.stated("seed") or "?" for run in group.runs)
        below = f"{group.name}; seed{'s' if len(group.runs) > 1 else ''} {seeds}"
        rows.append((labels[group.name], below, _figures(group, split, "agent"), True))
        bars.append((labels[group.name], group, "agent", colour))
    every = {name for g in present for run in g.runs for name in run.agents(split)}
    # What reads nothing does the same on the same episodes; on other ones it is told apart.
    same = len({_means(g, split, "expert") for g in present} - {()}) < 2
    for name in ordered_agents(every):
        if name == "agent":
            continue
        own = [g for g in present if any(name in run.agents(split) for run in g.runs)]
        one = name in SHARED and same
        for group in own[:1] if one else own:
            label = name if one else f"{labels[group.name]}: {name}"
            rows.append((label, AGENTS.get(name, ""), _figures(group, split, name), False))
            bars.append((label, group, name, "quiet"))
    pictures = [
        interval_chart(
            f"{title}, {spoken(split)}",
            [(label, over_seeds(g, split, name, key), colour) for label, g, name, colour in bars],
        )
        for key, title in (("success", "Success"), ("spl", "SPL"), ("accuracy", "Accuracy"))
        if any(key in figures for _, _, figures, _ in rows)
    ]
    below = (
        "Mean over seeds with a 95 % Student t interval over them; of a single seed, and of "
        f"{', '.join(SHARED)}, a bootstrap interval over what one run scored."
    )
    parts = [metric_table(rows, below, "Run"), Pictures(pictures), *_table(pairs, split)]
    return Section(spoken(split).capitalize(), parts)


def _figures(group: Group, split: str, agent: str) -> dict[str, Any]:
    metrics = {metric for run in group.runs for metric in run.agents(split).get(agent, {})}
    return {metric: over_seeds(group, split, agent, metric).as_dict() for metric in metrics}


def _means(group: Group, split: str, agent: str) -> tuple[tuple[str, float], ...]:
    figures = _figures(group, split, agent)
    return tuple(sorted((metric, round(found["mean"], 6)) for metric, found in figures.items()))


def _table(pairs: Sequence[_Pair], split: str) -> list[Part]:
    """Paired differences on a split, in both orders."""
    here = [pair for pair in pairs if pair.split == split and pair.differences]
    metrics, items = _metrics(here), ITEMS.get(split, "episodes")
    rows = []
    for differences in (pair.differences for pair in here):
        first = next(iter(differences.values()))
        below = f"{first.items.n:,} shared {items}, {first.seeds.n} shared seeds"
        for sign, (a, b) in ((1, (first.a, first.b)), (-1, (first.b, first.a))):
            cells = [
                cell(_signed(found, sign), signed=True)
                for d in map(differences.get, metrics)
                for found in ((d.items, d.seeds) if d else (_NOTHING, _NOTHING))
            ]
            rows.append(Row(Cell(f"{a} {MINUS} {b}", below), cells))
    head = ["Difference"]
    head += [f"{_NAMES[m]}, over {over}" for m in metrics for over in (items, "seeds")]
    return [Section("Paired differences, both orders", [Table(head, rows)])] if rows else []


_NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def _signed(found: Interval, sign: int) -> Interval:
    """a - b, or b - a for the sign -1."""
    return found if sign > 0 else Interval(-found.mean, -found.high, -found.low, found.n)


def curves_of(groups: Sequence[Group]) -> list[Picture]:
    """Learning curves of every run, one colour a group."""
    pictures = []
    for name, title, unit, from_zero in _CURVES:
        series = [
            Series(run.name, *policy_curve(run, name), colour=place)
            for place, group in enumerate(groups)
            for run in group.runs
        ]
        pictures += line_chart(
            title, series, x="updates of the policy", y=unit, from_zero=from_zero
        )
    return pictures


def _curves(groups: Sequence[Group]) -> Section:
    pictures = curves_of(groups)
    if not pictures:
        return Section("Learning", [Text("None of these runs has learning curves.", "gone")])
    return Section("Learning", [Text("One line a run, one colour a method.", "muted"),
                                Pictures(pictures)])  # fmt: skip


def _runs(runs: Sequence[RunFolder], groups: Sequence[Group]) -> Section:
    rows = [
        Row(
            Cell(run.name),
            [
                Cell(group.name), Cell(run.stated("seed") or "—"),
                Cell(duration(run.seconds) or "—"),
                Cell(Code(command) if (command := run.stated("command")) else "—"),
            ],
        )
        for group in groups
        for run in group.runs
    ]  # fmt: skip
    facts = Facts([
        (name, "; ".join(sorted({run.stated(key) or "not recorded" for run in runs})))
        for key, name in (("data", "Data"), ("features", "Observations"), ("hardware", "Hardware"))
        if any(run.stated(key) for run in runs)
    ])  # fmt: skip
    semantic = any(run.stated("features").startswith("semantic") for run in runs)
    note = [Text(SEMANTIC_NOTE, "note")] if semantic else []
    return Section(
        "Runs", [facts, *note, Table(["Run", "Method", "Seed", "Trained", "Command"], rows)]
    )
