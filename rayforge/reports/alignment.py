"""The report of an alignment run: what each round kept, made, learnt, and how well it answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.reports.histogram import histogram_chart
from rayforge.reports.page import page, write_page
from rayforge.reports.plots import Series, line_chart, show
from rayforge.reports.run_folder import RunFolder, curve, interval, number, read_run
from rayforge.reports.tables import cell

METHODS = {
    "sera": "SeRA: selects among given and own pairs by its implicit reward margin",
    "dpo": "DPO, one run of as many steps",
    "iterative": "Iterative DPO: own pairs, no selection",
    "random": "SeRA's sizes, chosen at random",
    "curriculum": "Curriculum: all pairs, largest margin first",
}

_COLUMNS = (
    ("review/greedy_score", "Greedy", "judge's mean score of greedy answers"),
    ("review/sampled_score", "Sampled", "judge's mean score of answers sampled at temperature 1"),
    ("review/win_rate", "Wins", "greedy answers that beat the start's; ties count half"),
    ("review/accuracy", "Accuracy", "held-out pairs that the implicit reward orders as labelled"),
    ("review/margin", "Margin", "mean margin of held-out pairs, nats"),
    ("review/kl_per_token", "KL", "divergence from the start, nats a token"),
    ("review/response_tokens", "Tokens", "mean length of sampled answers"),
    ("review/distinct_2", "Distinct-2", "different bigrams over all, of sampled answers"),
    ("select/kept_share", "Kept", "share of the given pairs that was kept"),
    ("select/generated_share", "Own", "share of the model's own pairs in the training set"),
    ("generate/accuracy", "On-policy", "own pairs that the judge orders as the score does"),
    (
        "select/flip_auc",
        "Flip AUC",
        "area under the curve of the margin as finder of flipped labels",
    ),
    ("select/kept_flipped", "Flipped", "flipped labels among the given pairs that were kept"),
    ("select/kept_longer_chosen", "Longer", "kept pairs whose chosen side is the longer one"),
)
"""(figure, heading, meaning) of the table of rounds."""

_CHARTS = (
    ("Judge's score", (("review/greedy_score", "greedy"), ("review/sampled_score", "sampled")),
     "Success by execution, or a reward model's score.", False),
    ("Win rate against the start", (("review/win_rate", "greedy"),), "Ties count half.", False),
    ("Held-out accuracy", (("review/accuracy", "implicit reward"),), "0.5 is chance.", False),
    ("Kept share", (("select/kept_share", "given pairs"),), "", True),
    ("Generated share", (("select/generated_share", "of the training set"),), "", True),
    ("Length gap", (("select/length_gap", "given"), ("generate/length_gap", "generated")),
     "Tokens of chosen minus rejected in what was kept; rising means length is learnt.", False),
    ("Divergence from the start", (("review/kl_per_token", "KL a token"),), "Nats.", True),
    ("On-policy accuracy", (("generate/accuracy", "score against judge"),),
     "Below 0.5 the model's own pairs teach the wrong thing.", False),
    ("Flip detection", (("select/flip_auc", "AUC"),), "0.5 is chance.", False),
    ("Length of answers", (("review/response_tokens", "tokens"),), "", False),
    ("Diversity of answers", (("review/distinct_2", "distinct-2"),), "", False),
    ("Training loss", (("train/loss", "loss"),), "", False),
    ("Training accuracy", (("train/accuracy", "pairs ordered as labelled"),), "", False),
    ("Log-probability of the sides", (("train/chosen_log_probability", "chosen"),
     ("train/rejected_log_probability", "rejected")), "Nats a response; both may fall.", False),
)  # fmt: skip


def is_alignment_run(folder: Path) -> bool:
    return (folder / "rounds").is_dir()


def write_alignment_report(run: Path) -> Path:
    """Write `report.html` into a run folder from what the folder holds; returns its path.

    Parts that are missing are left out. Raises FileNotFoundError where there is no such folder.
    """
    record = read_run(run)
    body = "".join(
        (
            '<div class="page">', _header(record), _rounds(record), _margins(run),
            _curves(record), _comparisons(record), _samples(run), _settings(record), "</div>",
        )
    )  # fmt: skip
    return write_page(run / "report.html", page(f"{record.name} · RayForge", body))


def _header(run: RunFolder) -> str:
    method = str(run.config.get("method", ""))
    facts = [
        ("Data", run.stated("data")),
        ("Model", str(run.config.get("model", ""))),
        ("Rounds", f"{run.config.get('rounds', '?')} of {run.config.get('steps', '?')} steps"),
        ("Reference model", str(run.config.get("reference", ""))),
        ("Seed", run.stated("seed")),
        ("Hardware", run.stated("hardware")),
        ("Command", run.stated("command")),
    ]
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value) or '—'}</dd>" for name, value in facts)
    return (
        f'<header><p class="over">RayForge alignment run</p><h1>{escape(run.name)}</h1>'
        f'<p class="lead">{escape(METHODS.get(method, method))}</p>'
        f'<dl class="facts">{rows}</dl></header>'
    )


def by_round(run: RunFolder) -> dict[int, dict[str, float]]:
    """{round: {figure: value}} of the selections and reviews that a run recorded."""
    found: dict[int, dict[str, float]] = {}
    for record in run.metrics:
        if record.get("phase") in ("select", "review") and isinstance(record.get("round"), int):
            figures = {k: number(v) for k, v in record.items() if "/" in k}
            found.setdefault(record["round"], {}).update(figures)
    return dict(sorted(found.items()))


def _rounds(run: RunFolder) -> str:
    found = by_round(run)
    if not found:
        return '<h2>Rounds</h2><p class="gone">No round has been reviewed yet.</p>'
    columns = [c for c in _COLUMNS if any(c[0] in figures for figures in found.values())]
    head = "".join(
        f'<th scope="col" title="{escape(meaning)}">{name}</th>' for _, name, meaning in columns
    )
    body = "".join(
        f'<tr><th scope="row">{which or "start"}</th>'
        + "".join(f"<td>{show(figures.get(key, math.nan))}</td>" for key, _, _ in columns)
        + "</tr>"
        for which, figures in found.items()
    )
    meanings = "".join(f"<dt>{name}</dt><dd>{escape(says)}</dd>" for _, name, says in columns)
    return (
        '<h2>Rounds</h2><div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Round'
        f"</th>{head}</tr></thead><tbody>{body}</tbody></table></div><details><summary>What the "
        f'columns mean</summary><dl class="facts">{meanings}</dl></details>'
    )


def _margins(run: Path) -> str:
    charts = []
    for folder in sorted(run.glob("rounds/[0-9]*"), key=lambda path: int(path.name)):
        table = _table(folder / "margins.parquet")
        if table is not None and folder.name != "1":
            margin, kept, made = table["margin"], table["kept"], table["generated"]
            for name, part in (("given pairs", ~made), ("generated pairs", made)):
                groups = [("kept", margin[part & kept]), ("left out", margin[part & ~kept])]
                charts.append(histogram_chart(f"Round {folder.name}: {name}", groups))
        held_out = _table(folder / "held_out.parquet")
        if held_out is not None:
            charts.append(
                histogram_chart(
                    f"After round {folder.name}: held-out pairs", [("pairs", held_out["margin"])]
                )
            )
    drawn = "".join(charts)
    if not drawn:
        return ""
    return (
        '<h2>Margins</h2><p class="muted">Reward of chosen minus rejected; the line marks 0. '
        f'Round 1 keeps everything.</p><div class="charts">{drawn}</div>'
    )


def _table(file: Path) -> dict[str, np.ndarray] | None:
    """The columns of a Parquet file, None where it is not there or cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid):
        return None
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _curves(run: RunFolder) -> str:
    drawn = "".join(
        line_chart(
            title,
            [Series(name, *curve(run, key), colour=i) for i, (key, name) in enumerate(figures)],
            hint=hint,
            from_zero=from_zero,
        )
        for title, figures, hint, from_zero in _CHARTS
    )
    if not drawn:
        return ""
    return (
        '<h2>Learning</h2><p class="muted">Over optimiser steps.</p>'
        f'<div class="charts">{drawn}</div>'
    )


def _comparisons(run: RunFolder) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}<span class="span">{escape(kind)}</span></th>'
        + "".join(f"<td>{cell(interval(figures.get(key)))}</td>" for key, _ in _WINS)
        + "</tr>"
        for name, document in run.evaluations.items()
        for kind, figures in _kinds(document)
    )
    if not rows:
        return (
            '<h2>Against other runs</h2><p class="muted">None yet: '
            "<code>rayforge align evaluate RUN --against OTHER</code></p>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for _, name in _WINS)
    return (
        '<h2>Against other runs</h2><div class="scroll" tabindex="0"><table><thead><tr>'
        f'<th scope="col">Other</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="under">Ties count half; 95 % bootstrap intervals, paired by prompt.</p>'
    )


_WINS = (("win_rate", "Win rate"), ("length_controlled", "Length-controlled"), ("ties", "Ties"))


def _kinds(document: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    answers = document.get("answers")
    pairs = answers.items() if isinstance(answers, dict) else ()
    return [(str(kind), figures) for kind, figures in pairs if isinstance(figures, dict)]


def _samples(run: Path) -> str:
    folders = sorted(run.glob("rounds/[0-9]*"), key=lambda path: int(path.name))
    tables = [(f.name, t) for f in folders if (t := _table(f / "answers.parquet")) is not None]
    if not tables:
        return ""
    items = []
    for row in range(min(8, len(tables[0][1]["prompt"]))):
        answers = "".join(
            f"<dt>{'Start' if name == '0' else f'Round {name}'}</dt>"
            f"<dd>{escape(str(table['greedy'][row]).strip())}{_judged(table, row)}</dd>"
            for name, table in tables
        )
        prompt = escape(str(tables[0][1]["prompt"][row]))
        items.append(f"<li><dl><dt>Prompt</dt><dd>{prompt}</dd>{answers}</dl></li>")
    return (
        f'<h2>Answers</h2><p class="muted">Greedy.</p><ol class="sentences">{"".join(items)}</ol>'
    )


def _judged(table: Mapping[str, np.ndarray], row: int) -> str:
    if "greedy_score" not in table:
        return ""
    return f' <b class="muted small">({show(float(table["greedy_score"][row]))})</b>'


def _settings(run: RunFolder) -> str:
    if not run.config:
        return ""
    text = json.dumps(run.config, indent=1)
    return (
        "<h2>Settings</h2><details><summary>All settings of the run</summary>"
        f'<div class="scroll"><pre style="padding:0 14px">{escape(text)}</pre></div></details>'
    )
