"""The report of an alignment run: what each round kept, made, learnt, and how well it answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.evaluation.intervals import Interval, bootstrap_interval
from rayforge.evaluation.win_rate import win_rate_from_success
from rayforge.reports.curves import ROUNDS, learning
from rayforge.reports.page import report_page, write_page
from rayforge.reports.plots import histogram_chart, show
from rayforge.reports.report import left_out, settings_section, unfinished
from rayforge.reports.run_folder import RunFolder, interval, number, read_run
from rayforge.reports.section import (
    Cell,
    Code,
    Example,
    Examples,
    Facts,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    Words,
    cell,
    span,
)

METHODS = {
    "sera": "SeRA: selects among given and own pairs by its implicit reward margin",
    "dpo": "DPO, one run of as many steps",
    "iterative": "Iterative DPO: own pairs, no selection",
    "random": "SeRA's sizes, chosen at random",
    "curriculum": "Curriculum: all pairs, largest margin first",
    "acting": "Review by acting: a score from outside checks given labels and ranks own responses",
}

HELD_OUT, ANSWERS = "held-out pairs", "greedy answers"
"""What an alignment run is scored on, as splits of a comparison."""

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
    ("select/flip_auc", "Flip AUC",
     "area under the curve of the margin, or of the review, as finder of flipped labels"),
    ("select/flip_rate", "Flip rate", "share of flipped labels that the review thinks there is"),
    ("select/kept_flipped", "Flipped", "flipped labels among the given pairs that were kept"),
    ("select/kept_longer_chosen", "Longer", "kept pairs whose chosen side is the longer one"),
)  # fmt: skip
"""(figure, heading, meaning) of the table of rounds."""


def is_alignment_run(folder: Path) -> bool:
    """Whether a run aligns a language model, by its rounds or, before the first, its settings."""
    return (folder / "rounds").is_dir() or "rounds" in read_run(folder).config


def write_alignment_report(run: Path) -> Path:
    """Write `report.html` into a run folder from what the folder holds; returns its path.

    Parts that are missing are left out. Raises FileNotFoundError where there is no such folder.
    """
    record = read_run(run)
    text = report_page(record.name, "RayForge alignment run", alignment_sections(record))
    return write_page(run / "report.html", text)


def alignment_sections(run: RunFolder) -> list[Section]:
    """The report of an alignment run."""
    found = by_round(run)
    return [
        _summary(run, found), _rounds(run, found), *_margins(run.folder),
        learning(run, ROUNDS, "optimiser steps", "The figure beside a name is the last value."),
        *(judged([run]) or [Section("Against other runs", [Text(
            ("None yet: ", Code(f"rayforge align evaluate {run.folder} --against OTHER")), "gone")])
        ]),
        *_answers(run.folder), *settings_section(run), *left_out([run]),
    ]  # fmt: skip


def _summary(run: RunFolder, found: Mapping[int, Any]) -> Section:
    method = str(run.config.get("method", ""))
    rounds = number(run.config.get("rounds"))
    last = max((r for r, figures in found.items() if "review/accuracy" in figures), default=0)
    done = last >= rounds or not math.isfinite(rounds)
    command = run.stated("command")
    facts = Facts(
        [
            ("Data", run.stated("data")), ("Model", str(run.config.get("model", ""))),
            ("Rounds", f"{run.config.get('rounds', '?')} of {run.config.get('steps', '?')} steps"),
            ("Reference model", str(run.config.get("reference", ""))), ("Seed", run.stated("seed")),
            ("Hardware", run.stated("hardware")),
            ("Command", Code(command) if command else ""),
        ]
    )  # fmt: skip
    note = [] if done else unfinished(run, "rayforge align train")
    return Section("", [Text(METHODS.get(method, method), "lead"), *note, facts])


def by_round(run: RunFolder) -> dict[int, dict[str, float]]:
    """{round: {figure: value}} of the selections and reviews that a run recorded."""
    found: dict[int, dict[str, float]] = {}
    for record in run.metrics:
        if record.get("phase") in ("select", "review") and isinstance(record.get("round"), int):
            figures = {k: number(v) for k, v in record.items() if "/" in k}
            found.setdefault(record["round"], {}).update(figures)
    return dict(sorted(found.items()))


def _rounds(run: RunFolder, found: Mapping[int, Mapping[str, float]]) -> Section:
    if not found:
        return Section("Rounds", [Text("No round has been reviewed yet.", "gone")])
    spans = {which: _spans(run.folder / "rounds", which) for which in found}
    parts = []
    for title, own in (("What its model is worth", True), ("What it was trained on", False)):
        columns = [
            c for c in _COLUMNS
            if c[0].startswith("review/") == own and any(c[0] in some for some in found.values())
        ]  # fmt: skip
        rows = [
            Row(
                Cell(f"Round {which}" if which else "Start"),
                [
                    Cell(
                        show(figures.get(key, math.nan)),
                        f"{span(i)} n {i.n:,}" if (i := spans[which].get(key)) else "",
                    )
                    for key, _, _ in columns
                ],
            )
            for which, figures in found.items()
            if any(key in figures for key, _, _ in columns)
        ]
        below = "95 % bootstrap intervals over n held-out pairs or prompts." if own else ""
        head = ["Round", *(name for _, name, _ in columns)]
        meanings = [(name, says) for _, name, says in columns]
        if columns:
            parts.append(Section(title, [Table(head, rows, below, meanings)]))
    return Section("Rounds", parts)


def _spans(rounds: Path, which: int) -> dict[str, Interval]:
    """Intervals of a round's figures, from its pairs and answers as far as they can be read."""
    folder, found = rounds / str(which), {}
    if (held_out := _table(folder / "held_out.parquet")) is not None:
        for name, values in _of_pairs(held_out["margin"]).items():
            found[f"review/{name}"] = _mean(values)
    answers, start = (_table(f / "answers.parquet") for f in (folder, rounds / "0"))
    for kind in ("greedy_score", "sampled_score"):
        if answers is not None and kind in answers:
            found[f"review/{kind}"] = _mean(answers[kind])
    if which and answers and start and "greedy_score" in answers and "greedy_score" in start:
        ours, theirs = answers["greedy_score"], start["greedy_score"]
        if len(ours) == len(theirs):
            found["review/win_rate"] = _mean(win_rate_from_success(ours, theirs))
    return found


def _of_pairs(margins: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy (a tie is half right) and margin of each held-out pair, float64 [n]."""
    values = np.asarray(margins, np.float64)
    right = np.where(values == 0, 0.5, values > 0)
    return {"accuracy": np.where(np.isfinite(values), right, np.nan), "margin": values}


def _mean(values: Any) -> Interval:
    """The mean of what is finite, with its interval."""
    found = np.asarray(values, np.float64)
    return bootstrap_interval(found[np.isfinite(found)])


def as_scored(run: RunFolder) -> RunFolder:
    """An alignment run with its last round's held-out pairs, and its answers where a judge gave
    them scores, as splits that `rayforge.reports.comparison` compares item by item.

    A pair's name holds the fingerprint of the held-out pairs, so that runs which hold out others,
    or read them with another tokeniser, share none.
    """
    last = max((f for f in _folders(run.folder) if (f / "held_out.parquet").is_file()),
               key=lambda f: int(f.name), default=None)  # fmt: skip
    if last is None:
        return replace(run, evaluations={}, episodes={})
    held_out, answers = (_table(last / f"{name}.parquet") for name in ("held_out", "answers"))
    pairs = str(run.about.get("task", run.folder.resolve())).rpartition("-")[2]
    items: dict[str, list[dict[str, Any]]] = {}
    if held_out is not None:
        values = _of_pairs(held_out["margin"])
        items[HELD_OUT] = [
            {"episode_id": f"{pairs}/{n}", "accuracy": float(right), "margin": float(margin)}
            for n, (right, margin) in enumerate(zip(*values.values(), strict=True))
        ]
    if answers is not None and "greedy_score" in answers:
        items[ANSWERS] = [
            {"episode_id": str(prompt), "score": float(score)}
            for prompt, score in zip(answers["prompt"], answers["greedy_score"], strict=True)
        ]
    evaluations = {
        split: {
            "agents": {
                "agent": {
                    key: _mean([item[key] for item in some]).as_dict()
                    for key in ("accuracy", "margin", "score")
                    if key in some[0]
                }
            }
        }
        for split, some in items.items()
        if some
    }
    scored = {split: tuple(some) for split, some in items.items()}
    return replace(run, evaluations={**run.evaluations, **evaluations}, episodes=scored)


def judged(runs: Sequence[RunFolder]) -> list[Section]:
    """What judges said of answers of these runs against others' (`evaluation_OTHER.json`)."""
    rows = [
        Row(
            Cell(f"{run.name} against {name}", f"{kind}, judge {document.get('judge', 'unknown')}"),
            [cell(interval(figures.get(key))) for key, _ in _WINS],
        )
        for run in runs
        for name, document in run.evaluations.items()
        for kind, figures in _kinds(document)
    ]
    below = "Ties count half; 95 % bootstrap intervals, paired by prompt."
    table = Table(["Runs", *(name for _, name in _WINS)], rows, below)
    return [Section("Against other runs, judged", [table])] if rows else []


_WINS = (("win_rate", "Win rate"), ("length_controlled", "Length-controlled"), ("ties", "Ties"))


def _kinds(document: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    answers = document.get("answers")
    pairs = answers.items() if isinstance(answers, dict) else ()
    return [(str(kind), figures) for kind, figures in pairs if isinstance(figures, dict)]


def _folders(run: Path) -> list[Path]:
    return sorted(run.glob("rounds/[0-9]*"), key=lambda path: int(path.name))


def _margins(run: Path) -> list[Section]:
    pictures = []
    for folder in _folders(run):
        table = _table(folder / "margins.parquet")
        if table is not None and folder.name != "1":
            margin, kept, made = table["margin"], table["kept"], table["generated"]
            for name, part in (("given pairs", ~made), ("generated pairs", made)):
                groups = [("kept", margin[part & kept]), ("left out", margin[part & ~kept])]
                title = f"Round {folder.name}: {name}"
                pictures += histogram_chart(title, groups, "margin, nats")
        held_out = _table(folder / "held_out.parquet")
        if held_out is not None:
            title = f"After round {folder.name}: held-out pairs"
            pictures += histogram_chart(title, [("pairs", held_out["margin"])], "margin, nats")
    note = "Reward of chosen minus rejected; the line marks 0. Round 1 keeps everything."
    return [Section("Margins", [Text(note, "muted"), Pictures(pictures)])] if pictures else []


def _table(file: Path) -> dict[str, np.ndarray] | None:
    """The columns of a Parquet file, None where it is not there or cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid):
        return None
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _answers(run: Path) -> list[Section]:
    """What each round's model answers to the first prompts, greedily."""
    tables = [(f.name, t) for f in _folders(run) if (t := _table(f / "answers.parquet"))]
    if not tables:
        return []
    items = []
    for row in range(min(8, len(tables[0][1]["prompt"]))):
        facts: list[tuple[str, Words]] = spoken_prompt(str(tables[0][1]["prompt"][row]))
        for name, table in tables:
            score = (
                f" ({show(float(table['greedy_score'][row]))})" if "greedy_score" in table else ""
            )
            told = "Start" if name == "0" else f"Round {name}"
            facts.append((told, f"{str(table['greedy'][row]).strip() or '(empty)'}{score}"))
        items.append(Example(facts))
    note = "Greedy answers; the judge's score in brackets, where it gives one."
    return [Section("Answers", [Text(note, "muted"), Examples(items)])]


def spoken_prompt(prompt: str) -> list[tuple[str, Words]]:
    """A prompt as text: of a conversation, kept as JSON, each message under who says it."""
    try:
        messages = json.loads(prompt)
        said = [(str(m["role"]).capitalize(), str(m["content"])) for m in messages]
    except (ValueError, TypeError, KeyError, RecursionError):
        said = []
    return list(said) or [("Prompt", prompt)]
