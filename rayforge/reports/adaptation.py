"""The part of a run's report that says how it was adapted to new buildings."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from rayforge.reports.run_folder import interval
from rayforge.reports.tables import span

NOTE = (
    "Transductive: the agent walked in these buildings before it was scored in them. Their graphs "
    "and what is seen in them were used, none of their sentences and none of their paths."
)


def adaptation_section(run: Path) -> str:
    """HTML of `adaptation.json`; "" where the run was not adapted.

    A damaged file becomes one line that says so.
    """
    file = run / "adaptation.json"
    if not file.is_file():
        return ""
    try:
        document = json.loads(file.read_text())
        return _section(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f'<h2>Adaptation</h2><p class="gone">{file.name} cannot be read: {error!r}</p>'


def _section(document: dict[str, Any]) -> str:
    settings = document["settings"]
    rows = "".join(
        f"<tr><td>{escape(b['scan'])}{' (in training)' if b['in_training'] else ''}</td>"
        f"<td>{b['walked']:,}</td><td>{b['fit']:,}</td><td>{b['described']:,}</td>"
        f"<td>{b['kept']:,}</td></tr>"
        for b in document["buildings"]
    )
    kept = sum(b["kept"] for b in document["buildings"])
    walks = "the goal-agnostic policy" if settings["walks"] == "policy" else "random walks"
    change = "".join(
        f"<p>Success on {escape(split.replace('_', ' '))}: {found.mean:+.3f} {span(found)} against "
        f"the run before, paired over {found.n:,} episodes.</p>"
        for split, figure in document.get("change", {}).items()
        if (found := interval(figure)).n
    )
    came = f"From <code>{escape(document['run'])}</code>"
    if settings["walks"] == "none":
        return (
            f"<h2>Further training</h2><p>{came}; from the demonstrations alone, no building was "
            f"walked in (a control of adaptation).</p>{change}"
        )
    samples = "".join(
        f"<li><dl><dt>Sentence</dt><dd>{escape(s['sentence'])}</dd></dl>"
        f'<p class="muted small">{escape(b["scan"])} · follower {s["follower"]:.2f} an action · '
        f"generator {s['generator']:.2f} · {'kept' if s['kept'] else 'rejected'}</p></li>"
        for b in document["buildings"]
        for s in b["samples"][:3]
    )
    return (
        f'<h2>Adaptation</h2><p class="note">{NOTE}</p>'
        f"<p>{came}; paths of {walks}; {kept:,} pairs joined "
        f"{document['demonstrations']:,} demonstrations.</p>{change}"
        '<div class="scroll"><table><thead><tr><th>Building</th><th>Walks</th>'
        "<th>Like people's paths</th><th>Described</th><th>Kept</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        "<details><summary>Sentences that the agent wrote for its own walks</summary>"
        f'<ol class="sentences">{samples}</ol></details>'
    )
