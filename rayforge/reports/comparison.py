"""Several runs side by side: seeds merged, methods compared on the same episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import Interval, paired_difference, seed_interval
from rayforge.reports.page import page, write_page
from rayforge.reports.plots import Series, interval_chart, line_chart
from rayforge.reports.run_folder import RunFolder, interval, number, policy_curve, read_run
from rayforge.reports.tables import AGENTS, cell, meanings, metric_table, ordered_agents

SHARED = ("straight", "random", "expert")
"""Controls that do not depend on what was trained."""

_CURVES = (
    ("rollout/success", "Success of roll-outs", True),
    ("discriminator/accuracy", "Discriminator accuracy", False),
    ("rollout/length", "Episode length, actions", False),
    ("rollout/forced_stops", "Forced stops", True),
    ("rollout/entropy", "Entropy of the policy, nats", True),
    ("clone/loss", "Cloning loss, nats a step", False),
)


@dataclass(frozen=True)
class Group:
    """Runs of one method that differ in their seeds alone."""

    name: str
    runs: tuple[RunFolder, ...]


def write_comparison(runs: Sequence[Path], file: Path, not_learnt: Collection[str]) -> Path:
    """Write a page that puts runs side by side, seeds of the same settings merged.

    `not_learnt`: dotted names of the settings that say nothing about what is learnt; runs that
    differ in those alone are of one method.

    Per method the mean over seeds with a 95 % Student t interval (one seed: its own bootstrap
    interval over episodes); between methods the paired difference on the same episodes, and over
    the same seeds. Raises FileNotFoundError for a folder that does not exist, ValueError for none.
    """
    if not runs:
        raise ValueError("there are no runs to compare: name at least one run folder")
    folders = [read_run(run) for run in runs]
    groups = merge_seeds(folders, not_learnt)
    splits = sorted({split for run in folders for split in run.evaluations})
    body = "".join(
        (
            '<div class="page">',
            _header(folders, groups),
            *(_split(groups, split) for split in splits),
            ""
            if splits
            else '<p class="gone">None of these runs has an evaluation_*.json: score them with: '
            "rayforge irl evaluate RUN --split SPLIT</p>",
            meanings() if splits else "",
            _curves(groups),
            _runs(folders, groups),
            "</div>",
        )
    )
    return write_page(file, page(f"{len(folders)} runs · RayForge", body))


def merge_seeds(runs: Sequence[RunFolder], not_learnt: Collection[str]) -> list[Group]:
    """Groups of runs with the same settings but for those of `not_learnt`, in the order they came.

    Two groups of the same method are told apart by the settings in which they differ.
    """
    members: dict[str, list[RunFolder]] = {}
    for run in runs:
        # A run without settings is compared under its own name: nothing says what it is.
        key = json.dumps(_settings(run, not_learnt) or run.name, sort_keys=True, default=str)
        members.setdefault(key, []).append(run)
    found = list(members.values())
    names = [group[0].method for group in found]
    for name in {name for name in names if names.count(name) > 1}:
        places = [place for place, other in enumerate(names) if other == name]
        settings = [_settings(found[place][0], not_learnt) for place in places]
        keys = sorted({key for flat in settings for key in flat})
        differing = [k for k in keys if len({str(flat.get(k)) for flat in settings}) > 1]
        for place, flat in zip(places, settings, strict=True):
            said = ", ".join(f"{k}={flat.get(k)}" for k in differing[:3])
            names[place] = f"{name} ({said or found[place][0].name})"
    return [Group(name, tuple(group)) for name, group in zip(names, found, strict=True)]


def _settings(run: RunFolder, not_learnt: Collection[str]) -> dict[str, Any]:
    """The settings of a run that say what is learnt, by their dotted names."""
    flat: dict[str, Any] = {}
    waiting = [("", run.config)]
    while waiting:
        place, values = waiting.pop()
        for key, value in values.items():
            name = f"{place}{key}"
            if isinstance(value, dict):
                waiting.append((f"{name}.", value))
            elif name not in not_learnt:
                flat[name] = value
    return flat


def over_seeds(group: Group, split: str, agent: str, metric: str) -> Interval:
    """A group's mean over its seeds with its t interval; of one run, its interval over episodes."""
    found = [interval(run.agents(split).get(agent, {}).get(metric)) for run in group.runs]
    found = [f for f in found if math.isfinite(f.mean)]
    return found[0] if len(found) == 1 else seed_interval([f.mean for f in found])


def over_episodes(a: Group, b: Group, split: str, metric: str) -> Interval:
    """a − b on the episodes that every run of both scored, each averaged over seeds first."""
    first, second = _per_episode(a, split, metric), _per_episode(b, split, metric)
    shared = sorted(first.keys() & second.keys())
    return paired_difference(
        np.array([first[name] for name in shared]), np.array([second[name] for name in shared])
    )


def over_same_seeds(a: Group, b: Group, split: str, metric: str) -> Interval:
    """a − b over the seeds that both have, with a t interval."""
    first, second = _per_seed(a, split, metric), _per_seed(b, split, metric)
    return seed_interval([first[s] - second[s] for s in sorted(first.keys() & second.keys())])


def _per_episode(group: Group, split: str, metric: str) -> dict[str, float]:
    """The mean over runs of an episode's figure, of the episodes that every run scored."""
    runs = [
        {str(e.get("episode_id")): number(e.get(metric)) for e in run.episodes.get(split, ())}
        for run in group.runs
    ]
    shared = set.intersection(*(set(values) for values in runs))
    means = {name: float(np.mean([values[name] for values in runs])) for name in shared}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _per_seed(group: Group, split: str, metric: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in group.runs:
        mean = interval(run.agents(split).get("agent", {}).get(metric)).mean
        if math.isfinite(mean) and run.stated("seed"):
            found[run.stated("seed")] = mean
    return found


def _header(runs: Sequence[RunFolder], groups: Sequence[Group]) -> str:
    data = sorted({run.stated("data") or "not recorded" for run in runs})
    features = sorted({run.stated("features") or "not recorded" for run in runs})
    hardware = sorted({run.stated("hardware") or "not recorded" for run in runs})
    facts = (("Data", data), ("Observations", features), ("Hardware", hardware))
    rows = "".join(f"<dt>{n}</dt><dd>{'<br>'.join(map(escape, v))}</dd>" for n, v in facts)
    notes = [
        f"These runs differ in their {what}: their figures are not comparable."
        for what, found in (("data", data), ("observations", features))
        if len(found) > 1
    ]
    if any(name.startswith("semantic") for name in features):
        notes.append("Semantic observations: not comparable with published image-based figures.")
    said = "".join(f'<p class="note">{escape(line)}</p>' for line in notes)
    methods = "1 method" if len(groups) == 1 else f"{len(groups)} methods"
    return (
        '<header><p class="over">RayForge comparison</p>'
        f"<h1>{escape(' / '.join(g.name for g in groups[:3]))}{' / …' if groups[3:] else ''}</h1>"
        f'<p class="lead">{len(runs)} runs of {methods}</p>'
        f'<dl class="facts">{rows}</dl>{said}</header>'
    )


def _split(groups: Sequence[Group], split: str) -> str:
    present = [g for g in groups if any(split in run.evaluations for run in g.runs)]
    rows: list[tuple[str, str, dict[str, Any], bool]] = []
    bars: dict[str, list[tuple[str, Interval, bool]]] = {"success": [], "spl": [], "ndtw": []}
    shared: dict[str, Group] = {}
    for group in present:
        scored = [run for run in group.runs if split in run.evaluations]
        agents = {name for run in scored for name in run.agents(split)}
        # Some controls are the same in every seed: over seeds they would seem free of error.
        first = Group(group.name, tuple(scored[:1]))
        shared |= {name: first for name in SHARED if name in agents and name not in shared}
        seeds = [run.stated("seed") or "?" for run in scored]
        said = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}"
        for name in ordered_agents({name: None for name in agents if name not in SHARED}):
            label = group.name if name == "agent" else f"{group.name}, {name}"
            rows.append((label, said, _figures(group, split, name), name == "agent"))
            if name == "agent":
                for key, values in bars.items():
                    values.append((label, over_seeds(group, split, name, key), True))
    for name, group in shared.items():
        rows.append((name, AGENTS[name], _figures(group, split, name), False))
        for key, values in bars.items():
            values.append((name, over_seeds(group, split, name, key), False))
    spoken = split.replace("_", " ")
    charts = "".join(
        interval_chart(f"{title}, {spoken}", bars[key])
        for key, title in (("success", "Success"), ("spl", "SPL"), ("ndtw", "nDTW"))
    )
    caption = (
        "Mean over seeds with a 95 % Student t interval over them; of a single seed, and of "
        f"{', '.join(SHARED)}, a bootstrap interval over the episodes of one run."
    )
    return (
        f"<h2>{escape(spoken)}</h2>{metric_table(rows, caption, 'Method')}"
        f'<div class="charts">{charts}</div>{_differences(present, split)}'
    )


def _figures(group: Group, split: str, agent: str) -> dict[str, Any]:
    metrics = {metric for run in group.runs for metric in run.agents(split).get(agent, {})}
    return {metric: over_seeds(group, split, agent, metric).as_dict() for metric in metrics}


def _differences(groups: Sequence[Group], split: str) -> str:
    if len(groups) < 2:
        return ""
    pairs = (
        list(combinations(groups, 2))
        if len(groups) <= 4
        else [(group, groups[-1]) for group in groups[:-1]]
    )
    rows = []
    for a, b in pairs:
        cells, counts = [], []
        for metric in ("success", "spl"):
            episodes = over_episodes(a, b, split, metric)
            cells += [episodes, over_same_seeds(a, b, split, metric)]
            counts.append(episodes.n)
        drawn = "".join(f"<td>{cell(found, signed=True)}</td>" for found in cells)
        rows.append(
            f'<tr><th scope="row">{escape(a.name)} &minus; {escape(b.name)}'
            f'<span class="span">{counts[0]:,} shared episodes, {cells[1].n} shared seeds</span>'
            f"</th>{drawn}</tr>"
        )
    return (
        '<h3>Paired differences</h3><div class="scroll" tabindex="0"><table><thead><tr>'
        '<th scope="col">Difference</th><th scope="col">Success,<br>over episodes</th>'
        '<th scope="col">Success,<br>over seeds</th><th scope="col">SPL,<br>over episodes</th>'
        f'<th scope="col">SPL,<br>over seeds</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        '</table></div><p class="under">Over episodes: the same episodes on both sides, averaged '
        "over seeds first, bootstrap; it leaves out how much seeds differ. Over seeds: the same "
        "seeds on both sides, Student t; it needs two seeds at least. A difference is clear where "
        "neither interval holds 0.</p>"
    )


def curves_of(groups: Sequence[Group]) -> str:
    """Learning curves of every run, one colour a group; "" where there are none."""
    return "".join(
        line_chart(
            title,
            [
                Series(
                    f"{group.name} {run.stated('seed')}".strip(), *policy_curve(run, name), colour=i
                )
                for i, group in enumerate(groups)
                for run in group.runs
            ],
            from_zero=from_zero,
        )
        for name, title, from_zero in _CURVES
    )


def _curves(groups: Sequence[Group]) -> str:
    charts = curves_of(groups)
    if not charts:
        return '<h2>Learning</h2><p class="gone">None of these runs has learning curves.</p>'
    return (
        '<h2>Learning</h2><p class="muted">One line a run, one colour a method, over updates of '
        "the policy.</p>"
        f'<div class="charts">{charts}</div>'
    )


def _runs(runs: Sequence[RunFolder], groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        for run in group.runs:
            minutes = f"{run.seconds / 60:.0f} min" if math.isfinite(run.seconds) else "—"
            rows.append(
                f'<tr><th scope="row">{escape(run.name)}</th>'
                f'<td style="text-align:left">{escape(group.name)}</td>'
                f"<td>{escape(run.stated('seed') or '—')}</td><td>{minutes}</td>"
                '<td style="text-align:left;white-space:normal;min-width:280px">'
                f"<code>{escape(run.stated('command') or '—')}</code></td></tr>"
            )
    problems = [f"{run.name}: {line}" for run in runs for line in run.problems]
    left_out = "".join(f"<li>{escape(line)}</li>" for line in problems)
    return (
        '<h2>Runs</h2><div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Run</th>'
        '<th scope="col" style="text-align:left">Method</th><th scope="col">Seed</th>'
        '<th scope="col">Trained</th><th scope="col" style="text-align:left">Command</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
        + (f"<footer><p>Left out:</p><ul>{left_out}</ul></footer>" if left_out else "")
    )
