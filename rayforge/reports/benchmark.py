"""The page of the LangGoalIRL benchmark: figures, evidence, curves, sentences, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

from rayforge.evaluation.intervals import Interval
from rayforge.reports.comparison import Group, curves_of, over_seeds
from rayforge.reports.page import page, write_page
from rayforge.reports.plots import interval_chart
from rayforge.reports.report import SEMANTIC_NOTE, evidence_tables
from rayforge.reports.tables import cell, metric_table


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
    link: str  # to the viewer
    drawing: str  # inline SVG


class Sentence(NamedTuple):
    """A path's sentences beside its map."""

    human: str
    paraphrase: str
    free: str
    scan: str
    drawing: str


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
    sentences: Sequence[Sentence]


def write_benchmark(file: Path, settings: Sequence[SettingPage], left_out: str) -> Path:
    """Write the page; `left_out` names the runs that are missing from it ("" where none is)."""
    hardware = sorted(
        {run.stated("hardware") for s in settings for _, g in s.groups for run in g.runs}
    )
    body = "".join(
        (
            '<div class="page"><header><p class="over">RayForge benchmark</p>',
            "<h1>LangGoalIRL against its baselines</h1>",
            f'<dl class="facts"><dt>Hardware</dt><dd>{escape("; ".join(hardware))}</dd>',
            f"<dt>Left out</dt><dd>{escape(left_out or 'nothing')}</dd></dl>",
            "</header>",
            *(_setting(setting) for setting in settings),
            "" if settings else '<p class="gone">No run is finished yet.</p>',
            "</div>",
        )
    )
    return write_page(file, page("LangGoalIRL against its baselines · RayForge", body))


def _setting(setting: SettingPage) -> str:
    groups = [group for _, group in setting.groups]
    semantic = any(r.stated("features").startswith("semantic") for g in groups for r in g.runs)
    return "".join(
        (
            f"<h2>({escape(setting.key)}) {escape(setting.title)}</h2>",
            f'<p class="note">{SEMANTIC_NOTE}</p>' if semantic else "",
            _figures(setting),
            _differences(setting),
            _transfer(setting),
            _evidence(setting),
            '<h3>Learning</h3><p class="muted">Over updates of the policy, cloning first.</p>'
            f'<div class="charts">{curves_of(groups)}</div>',
            _sentences(setting.sentences),
            _failures(setting),
        )
    )


def _figures(setting: SettingPage) -> str:
    charts, tables = [], []
    for split in setting.splits:
        scored = [
            (slug, Group(group.name, tuple(r for r in group.runs if split in r.evaluations)))
            for slug, group in setting.groups
        ]
        scored = [(slug, group) for slug, group in scored if group.runs]
        for metric, title in (("success", "Success"), ("spl", "SPL")):
            bars = [
                (group.name, over_seeds(group, split, "agent", metric), slug in ("full", "adapted"))
                for slug, group in scored
            ]
            charts.append(interval_chart(f"{title}, {_spoken(split)}", bars))
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
        caption = (
            f"{_spoken(split)}: means over seeds with a 95 % Student t interval; of one seed, a "
            "bootstrap interval over its episodes. Minutes include the shared start; those of "
            "adapted agents are of their further training alone."
        )
        tables.append(metric_table(rows, caption, "Method"))
    return f'<div class="charts wide">{"".join(charts)}</div>{"".join(tables)}'


def _differences(setting: SettingPage) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(c.name)}<span class="span">{escape(_spoken(c.split))}, '
        f"{c.episodes.n:,} shared episodes, {c.seeds.n} shared seeds</span></th>"
        f"<td>{cell(c.episodes, signed=True)}</td><td>{cell(c.seeds, signed=True)}</td>"
        f"<td>{f'{c.ratio:+.0%}' if math.isfinite(c.ratio) else '—'}</td></tr>"
        for c in setting.compared
    )
    if not rows:
        return ""
    return (
        '<h3>Paired differences in success</h3><div class="scroll" tabindex="0"><table><thead><tr>'
        '<th scope="col">Difference</th><th scope="col">Over episodes</th>'
        '<th scope="col">Over seeds</th><th scope="col">Relative</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="under">The best baseline is the best on the '
        "very split that is shown. A difference is clear where neither interval holds 0.</p>"
    )


def _transfer(setting: SettingPage) -> str:
    if not setting.transfer:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{cell(found)}</td></tr>'
        for name, found in setting.transfer
    )
    return (
        '<h3>Reward transfer</h3><p class="muted">The full method\'s reward, frozen, teaches a '
        "policy from scratch in the held-out buildings by their starts and sentences, without any "
        "path; its control is what that reward began as, log π of the clone. Transductive: it "
        'trains where it is scored.</p><div class="scroll" tabindex="0">'
        f"<table><tbody>{rows}</tbody></table></div>"
        f'<div class="charts">{curves_of(setting.transferred)}</div>'
    )


def _evidence(setting: SettingPage) -> str:
    parts = []
    for _, group in setting.groups:
        for run in group.runs:
            if run.evidence:
                parts.append(
                    f"<details><summary>What the reward of {escape(group.name)} knows (seed "
                    f"{escape(run.stated('seed'))})</summary>{evidence_tables(run)}</details>"
                )
    return f"<h3>Evidence</h3>{''.join(parts)}" if parts else ""


def _sentences(sentences: Sequence[Sentence]) -> str:
    items = "".join(
        f"<li><dl><dt>Human</dt><dd>{escape(s.human)}</dd><dt>Paraphrase</dt>"
        f"<dd>{escape(s.paraphrase)}</dd><dt>Free</dt><dd>{escape(s.free)}</dd></dl>{s.drawing}"
        f'<p class="muted small">{escape(s.scan)}</p></li>'
        for s in sentences
    )
    if not items:
        return ""
    return (
        '<h3>Sentences beside their paths</h3><p class="muted">Dashed: the path, from the ring to '
        f'the dot. North is up.</p><ol class="sentences">{items}</ol>'
    )


def _failures(setting: SettingPage) -> str:
    if not setting.failures:
        return ""
    total = sum(setting.causes.values())
    counted = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{count:,}</td>'
        f"<td>{count / total:.0%}</td></tr>"
        for name, count in setting.causes.items()
    )
    items = "".join(
        f"<li><dl><dt>Cause</dt><dd>{escape(f.cause)}; {f.distance:.1f} m from the goal</dd>"
        f"<dt>Told</dt><dd>{escape(f.instruction)}</dd></dl>{f.drawing}"
        f'<p class="small"><a href="{escape(f.link)}">Step by step</a> '
        f'<span class="muted">{escape(f.scan)}</span></p></li>'
        for f in setting.failures
    )
    return (
        "<h3>Failures, one by one</h3>"
        f'<p class="muted">Causes of all {total:,} failures of the full method (first seed) in new '
        "buildings, by rule, and a random draw of them, one a path. Dashed: the demonstrated path; "
        "solid: the agent's.</p>"
        f'<div class="scroll" tabindex="0"><table><tbody>{counted}</tbody></table></div>'
        f'<ol class="sentences">{items}</ol>'
    )


def _spoken(split: str) -> str:
    return split.replace("_", " ")
