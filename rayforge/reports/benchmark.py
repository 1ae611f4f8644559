"""The page of the LangGoalIRL benchmark: figures, reward, curves, instructions, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rayforge.evaluation.intervals import Interval
from rayforge.reports.comparison import curves_of
from rayforge.reports.groups import Group, over_seeds
from rayforge.reports.page import report_page, write_page
from rayforge.reports.plots import interval_chart
from rayforge.reports.report import SEMANTIC_NOTE, reward_tables
from rayforge.reports.section import (
    Cell,
    Example,
    Examples,
    Facts,
    Link,
    Part,
    Picture,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    cell,
    spoken,
)
from rayforge.reports.tables import metric_table


class Compared(NamedTuple):
    """A paired difference in success on one split."""

    name: str
    split: str
    episodes: Interval  # over episodes, each averaged over seeds first
    seeds: Interval  # over the seeds that both have
    ratio: float  # mean over mean, minus 1


class Failure(NamedTuple):
    """A failed episode and why it failed."""

    cause: str
    instruction: str
    scan: str
    distance: float  # metres from the goal
    page: str  # file of the viewer
    episode: str  # its id there
    drawing: Picture


class Instruction(NamedTuple):
    """A path's instructions beside its map."""

    human: str
    paraphrase: str
    free: str
    scan: str
    drawing: Picture


@dataclass(frozen=True)
class SettingPage:
    """What there is to show of one setting."""

    key: str
    title: str
    splits: tuple[str, str]  # seen, new
    groups: Sequence[tuple[str, Group]]  # by method's slug
    compared: Sequence[Compared]
    transfer: Sequence[tuple[str, Interval]]
    transferred: Sequence[Group]  # policies that a frozen reward trained, apart from `groups`
    causes: Mapping[str, int]  # of all failures in new buildings
    failures: Sequence[Failure]
    instructions: Sequence[Instruction]


def write_benchmark(file: Path, settings: Sequence[SettingPage], left_out: str) -> Path:
    """Write the page; `left_out` names the runs that are missing from it ("" where none is)."""
    hardware = {run.stated("hardware") for s in settings for _, g in s.groups for run in g.runs}
    facts = Facts([("Hardware", "; ".join(sorted(hardware))), ("Left out", left_out or "nothing")])
    sections = [Section("", [facts]), *(_setting(setting) for setting in settings)]
    if not settings:
        sections.append(Section("", [Text("No run is finished yet.", "gone")]))
    title = "LangGoalIRL against its baselines"
    return write_page(file, report_page(title, "RayForge benchmark", sections))


def _setting(setting: SettingPage) -> Section:
    groups = [group for _, group in setting.groups]
    semantic = any(r.stated("features").startswith("semantic") for g in groups for r in g.runs)
    curves: list[Part] = [
        Text("Over updates of the policy, cloning first.", "muted"),
        Pictures(curves_of(groups)),
    ]
    parts: list[Part] = [
        *([Text(SEMANTIC_NOTE, "note")] if semantic else []), *_figures(setting),
        *_differences(setting), *_transfer(setting), *_reward(setting),
        Section("Learning", curves), *_instructions(setting.instructions), *_failures(setting),
    ]  # fmt: skip
    return Section(f"({setting.key}) {setting.title}", parts)


def _figures(setting: SettingPage) -> list[Part]:
    charts, tables = [], []
    for split in setting.splits:
        scored = [
            (slug, Group(group.name, tuple(r for r in group.runs if split in r.evaluations)))
            for slug, group in setting.groups
        ]
        scored = [(slug, group) for slug, group in scored if group.runs]
        for metric, title in (("success", "Success"), ("spl", "SPL")):
            bars = [
                (group.name, over_seeds(group, split, "agent", metric),
                 "agent" if slug in ("full", "adapted") else "quiet")
                for slug, group in scored
            ]  # fmt: skip
            charts.append(interval_chart(f"{title}, {spoken(split)}", bars))
        rows = []
        for slug, group in scored:
            metrics = {m for run in group.runs for m in run.agents(split).get("agent", {})}
            found = {m: over_seeds(group, split, "agent", m).as_dict() for m in metrics}
            minutes = sum(run.seconds for run in group.runs) / 60 / len(group.runs)
            steps = max((int(run.metrics[-1].get("env_steps", 0)) for run in group.runs
                         if run.metrics), default=0)  # fmt: skip
            seeds = ", ".join(run.stated("seed") for run in group.runs)
            under = f"seeds {seeds}; {minutes:.0f} min a run; {steps:,} environment steps"
            rows.append((group.name, under, found, slug == "full"))
        below = (
            f"{spoken(split)}: means over seeds with a 95 % Student t interval; of one seed, a "
            "bootstrap interval over its episodes. Minutes include the shared start; those of "
            "adapted agents are of their further training alone."
        )
        tables.append(metric_table(rows, below, "Method"))
    return [Pictures(charts), *tables]


def _differences(setting: SettingPage) -> list[Section]:
    rows = [
        Row(
            Cell(c.name, f"{spoken(c.split)}, {c.episodes.n:,} shared episodes, {c.seeds.n} shared "
                         "seeds"),
            [cell(c.episodes, signed=True), cell(c.seeds, signed=True),
             Cell(f"{c.ratio:+z.0%}" if math.isfinite(c.ratio) else "—")],
        )
        for c in setting.compared
    ]  # fmt: skip
    below = (
        "The best baseline is the best on the very split that is shown. A difference is clear "
        "where neither interval holds 0."
    )
    table = Table(["Difference", "Over episodes", "Over seeds", "Relative"], rows, below)
    return [Section("Paired differences in success", [table])] if rows else []


def _transfer(setting: SettingPage) -> list[Section]:
    if not setting.transfer:
        return []
    rows = [Row(Cell(name), [cell(found)]) for name, found in setting.transfer]
    note = (
        "The full method's reward, frozen, teaches a policy from scratch in the held-out buildings "
        "by their starts and instructions, without any path; its control is what that reward began "
        "as, log π of the clone. Transductive: it trains where it is scored."
    )
    return [
        Section(
            "Reward transfer",
            [Text(note, "muted"), Table(["Figure", "Value"], rows),
             Pictures(curves_of(setting.transferred))],
        )
    ]  # fmt: skip


def _reward(setting: SettingPage) -> list[Section]:
    parts = [
        Section(f"What the reward of {group.name} knows (seed {run.stated('seed')})",
                reward_tables(run), folded=True)
        for _, group in setting.groups
        for run in group.runs
        if run.reward
    ]  # fmt: skip
    return [Section("Reward", parts)] if parts else []


def _instructions(instructions: Sequence[Instruction]) -> list[Section]:
    items = [
        Example(
            [("Human", s.human), ("Paraphrase", s.paraphrase), ("Free", s.free)], s.scan, s.drawing
        )
        for s in instructions
    ]
    note = Text("Dashed: the path, from the ring to the dot. North is up.", "muted")
    return [Section("Instructions beside their paths", [note, Examples(items)])] if items else []


def _failures(setting: SettingPage) -> list[Section]:
    if not setting.failures:
        return []
    total = sum(setting.causes.values())
    rows = [
        Row(Cell(name), [Cell(f"{count:,}"), Cell(f"{count / total:.0%}")])
        for name, count in setting.causes.items()
    ]
    items = [
        Example(
            [("Cause", f"{f.cause}; {f.distance:.1f} m from the goal"),
             ("Instruction", f.instruction)],
            (Link("Step by step", f.page, f.episode), f" {f.scan}"), f.drawing,
        )
        for f in setting.failures
    ]  # fmt: skip
    note = (
        f"Causes of all {total:,} failures of the full method (first seed) in new buildings, by "
        "rule, and a random draw of them, one a path. Dashed: the demonstrated path; solid: the "
        "agent's."
    )
    table = Table(["Cause", "Episodes", "Share"], rows)
    return [Section("Failures, one by one", [Text(note, "muted"), table, Examples(items)])]
