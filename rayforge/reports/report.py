"""The report of one run: a page that a reader understands the next morning, without the run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from rayforge.evaluation.intervals import Interval, bootstrap_interval
from rayforge.reports.adaptation import adaptation_section
from rayforge.reports.comparison import write_comparison
from rayforge.reports.curves import learning_curves
from rayforge.reports.page import page, write_page
from rayforge.reports.plots import interval_chart
from rayforge.reports.run_folder import RunFolder, interval, number, read_run
from rayforge.reports.tables import AGENTS, cell, meanings, metric_table, ordered_agents, span

__all__ = ["SEMANTIC_NOTE", "write_comparison", "write_report"]

SEMANTIC_NOTE = (
    "Semantic observations: the agent sees room labels, object names and geometry instead of "
    "images. These figures are not comparable with published image-based ones."
)

_SAMPLES = 12  # sentences shown; the file holds more


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder from what the folder holds; returns its path.

    Parts that are missing or damaged are left out, with a line that says so. The page needs no
    network and no other file. Raises FileNotFoundError where there is no such folder.
    """
    record = read_run(run)
    body = "".join(
        (
            '<div class="page">',
            _header(record),
            _evaluations(record),
            adaptation_section(run),
            _episodes(record),
            _evidence(record),
            _curves(record),
            _sentences(record),
            _settings(record),
            _footer(record),
            "</div>",
        )
    )
    return write_page(run / "report.html", page(f"{record.name} · RayForge", body))


def duration(seconds: float) -> str:
    """Seconds as a person says them; "" where unknown."""
    if not math.isfinite(seconds):
        return ""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _header(run: RunFolder) -> str:
    last = run.metrics[-1] if run.metrics else {}
    counted = [
        f"{number(last[key]):,.0f} {name}"
        for key, name in (("updates", "updates"), ("env_steps", "environment steps"))
        if math.isfinite(number(last.get(key)))
    ]
    facts = [
        ("Data", escape(run.stated("data"))),
        ("Observations", escape(run.stated("features"))),
        ("Seed", escape(run.stated("seed"))),
        ("Trained", escape(", ".join([*filter(None, [duration(run.seconds)]), *counted]))),
        ("Hardware", escape(run.stated("hardware"))),
        ("Command", f"<code>{escape(c)}</code>" if (c := run.stated("command")) else ""),
    ]
    rows = "".join(
        f"<dt>{name}</dt><dd>{value or '<span class=gone>not recorded</span>'}</dd>"
        for name, value in facts
    )
    cards = "".join(_card(run, split) for split in run.evaluations)
    semantic = run.stated("features").startswith("semantic")
    return (
        f'<header><p class="over">RayForge run</p><h1>{escape(run.name)}</h1>'
        f'<p class="lead">{escape(run.method)}</p>'
        f'<dl class="facts">{rows}</dl>'
        + (f'<div class="cards">{cards}</div>' if cards else "")
        + (f'<p class="note">{SEMANTIC_NOTE}</p>' if semantic else "")
        + "</header>"
    )


def _card(run: RunFolder, split: str) -> str:
    agents = run.agents(split)
    found = interval(agents.get("agent", {}).get("success"))
    if not math.isfinite(found.mean):
        return ""
    return (
        f'<div class="card"><p>Success on {escape(_spoken(split))}</p>'
        f'<div class="figure">{found.mean:.3f}</div>'
        f"<p>{span(found)} · {found.n:,} episodes</p></div>"
    )


def _evaluations(run: RunFolder) -> str:
    parts = ["<h2>Evaluation</h2>"]
    if not run.evaluations:
        parts.append(
            '<p class="gone">There is no evaluation_*.json: the run has not been evaluated. '
            "Score it with: rayforge irl evaluate RUN --split SPLIT</p>"
        )
    for split, document in run.evaluations.items():
        agents = run.agents(split)
        names = ordered_agents(agents)
        labels = {name: run.method if name == "agent" else name for name in names}
        rows = [(labels[n], AGENTS.get(n, ""), agents[n], n == "agent") for n in names]
        counts = [interval(figure).n for figures in agents.values() for figure in figures.values()]
        charts = "".join(
            interval_chart(
                f"{title}, {_spoken(split)}",
                [(labels[n], interval(agents[n].get(key)), n == "agent") for n in names],
            )
            for key, title in (("success", "Success"), ("spl", "SPL"), ("ndtw", "nDTW"))
        )
        caption = (
            f"{max(counts, default=0):,} episodes an agent. Means with 95 % bootstrap intervals "
            "over episodes."
        )
        parts.append(
            f"<h3>{escape(_spoken(split))}</h3>{_other_data(run, document)}"
            f'{metric_table(rows, caption)}<div class="charts">{charts}</div>'
        )
    return "".join(parts) + (meanings() if run.evaluations else "")


def _other_data(run: RunFolder, document: dict[str, Any]) -> str:
    """A line where a split was scored on other data than the run was trained on."""
    trained = run.about.get("data")
    if not trained or document.get("data") in (None, trained):
        return ""
    return f'<p class="muted small">Scored on {escape(str(document["data"]))}.</p>'


def _episodes(run: RunFolder) -> str:
    parts = ["<h2>Episodes</h2>"]
    splits = sorted({*run.episodes, *run.evaluations})
    if not splits:
        return parts[0] + '<p class="gone">There is no episodes_*.jsonl: nothing to watch.</p>'
    for split in splits:
        file = f"watch_{split}.html"
        if (run.folder / file).is_file():
            link = f'<a href="{quote(file)}">Watch episodes, step by step</a>'
        else:
            link = (
                "Watch them step by step: "
                f"<code>rayforge irl watch {escape(str(run.folder))} --split {escape(split)}</code>"
            )
        parts.append(f"<h3>{escape(_spoken(split))}</h3><p>{link}</p>")
        parts.append(_by_building(run.episodes.get(split, ())))
    return "".join(parts)


def _by_building(episodes: Sequence[dict[str, Any]]) -> str:
    groups: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        value = number(episode.get("success"))
        if math.isfinite(value):
            groups[str(episode.get("scan", "?"))].append(value)
    if len(groups) < 2:
        return ""
    found = {scan: bootstrap_interval(np.array(v), samples=2000) for scan, v in groups.items()}
    order = sorted(found, key=lambda scan: (-found[scan].mean, scan))
    rows: list[tuple[str, Interval, bool]] = [
        (f"{scan} ({found[scan].n})", found[scan], True) for scan in order
    ]
    middle = (len(rows) + 1) // 2 if len(rows) > 12 else len(rows)
    charts = [
        interval_chart(f"Success by building{' (continued)' if start else ''}", part)
        for start in range(0, len(rows), middle)
        if (part := rows[start : start + middle])
    ]
    return (
        f"<details><summary>Success by building ({len(rows)} buildings, episodes in brackets)"
        f'</summary><div class="charts">{"".join(charts)}</div></details>'
    )


def _evidence(run: RunFolder) -> str:
    tables = evidence_tables(run)
    return f"<h2>What the reward knows</h2>{tables}" if tables else ""


def evidence_tables(run: RunFolder) -> str:
    """What `rayforge irl evidence` found, a table a split; "" where nobody asked."""
    parts = []
    for split, document in run.evidence.items():
        found = document.get("figures")
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{cell(interval(figure))}</td>'
            f"<td>{interval(figure).n:,}</td></tr>"
            for name, figure in (found.items() if isinstance(found, dict) else ())
        )
        parts.append(
            f"<h3>{escape(_spoken(split))}</h3>"
            '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Figure</th>'
            '<th scope="col">Value</th><th scope="col">Of</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    if not parts:
        return ""
    return (
        '<p class="muted">Pairs told apart: 0.5 is chance. Scores of '
        "a path are sums over its steps. Roll-outs are sampled.</p>" + "".join(parts)
    )


def _curves(run: RunFolder) -> str:
    sections = learning_curves(run)
    if not sections:
        return (
            '<h2>Learning</h2><p class="gone">There is no figure in metrics.jsonl: '
            "no learning curves.</p>"
        )
    drawn = "".join(
        f'<h3>{escape(heading)}</h3><div class="charts">{figures}</div>'
        for heading, figures in sections
    )
    return (
        '<h2>Learning</h2><p class="muted">Over updates of all phases; dotted lines mark where a '
        "phase begins. Of long curves the faint line is every iteration and the strong one its "
        f"running mean; the figure beside a name is the last value.</p>{drawn}"
    )


def _sentences(run: RunFolder) -> str:
    if not run.sentences:
        return (
            '<h2>Sentences of the goal generator</h2><p class="gone">There is no sentences.jsonl: '
            "the run has no goal generator, or has not finished.</p>"
        )
    kinds = (("human", "Human"), ("paraphrase", "Paraphrase"), ("free", "Free, from the path"))
    items = [
        "<li><dl>"
        + "".join(
            f"<dt>{name}</dt><dd>{escape(str(s.get(key, '—')))}{_judged(s, key)}</dd>"
            for key, name in kinds
        )
        + f'</dl><p class="muted small">{escape(str(s.get("scan", "")))}</p></li>'
        for s in run.sentences
    ]
    shown = f'<ol class="sentences">{"".join(items[:_SAMPLES])}</ol>'
    if items[_SAMPLES:]:
        shown += (
            f"<details><summary>{len(items) - _SAMPLES} more</summary>"
            f'<ol class="sentences">{"".join(items[_SAMPLES:])}</ol></details>'
        )
    return (
        '<h2>Sentences of the goal generator</h2><p class="muted">A paraphrase reads the human '
        "sentence and its path; a free sentence is made from the path alone. Behind each: how "
        "likely the follower finds the path, an action, and how likely the generator finds it "
        "among other ways from the same start.</p>" + shown
    )


def _judged(sentence: dict[str, Any], key: str) -> str:
    """What follower and generator say of a sentence, where the file holds it."""
    scores = sentence.get("scores")
    told = scores.get(key) if isinstance(scores, dict) else None
    if not isinstance(told, dict):
        return ""
    likely = [number(told.get(name)) for name in ("follower", "generator")]
    if not all(map(math.isfinite, likely)):
        return ""
    rejected = "" if told.get("kept", True) else ", rejected"
    return f' <span class="muted small">({likely[0]:.2f}, {likely[1]:.2f}{rejected})</span>'


def _settings(run: RunFolder) -> str:
    if not run.config:
        return ""
    lines = "\n".join(f"{key}: {value}" for key, value in _flat(run.config))
    return (
        "<h2>Settings</h2><details><summary>All settings of the run</summary>"
        f'<div class="scroll"><pre style="padding:0 14px">{escape(lines)}</pre></div></details>'
    )


def _footer(run: RunFolder) -> str:
    if not run.problems:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in run.problems)
    return f"<footer><p>Left out of this report:</p><ul>{items}</ul></footer>"


def _flat(values: dict[str, Any], place: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{place}{key}.")
        else:
            flat.append((f"{place}{key}", value))
    return flat


def _spoken(split: str) -> str:
    return split.replace("_", " ")
