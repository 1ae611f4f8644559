"""What a search leaves: results.csv, trials.jsonl, the best configurations, the Pareto front."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rayforge.evaluation.pareto import pareto_front
from rayforge.reports.search import search_page
from trainers.configuration import to_yaml
from trainers.runs.folder import hardware
from trainers.search.config import Search
from trainers.search.importance import importances
from trainers.search.state import State
from trainers.search.storage import Folder

SETTLED = ("finished", "stopped")


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it came."""

    number: int
    status: str
    """"finished", "stopped" (early, by the scheduler), "failed", or "unfinished"."""
    settings: dict[str, Any]
    """The labels of what it tried."""
    figures: dict[str, float]
    """Its last report; empty where it made none."""
    reports: int
    seconds: float
    """Of training and evaluation, over all its attempts."""
    curve: tuple[dict[str, float], ...]
    """The optimised metrics of each report."""
    error: str = ""
    """The last line of what went wrong."""
    run: str = ""
    """Its run folder, within the search's; empty where it made no report."""


def trials_of(state: State, plan: Search) -> list[Trial]:
    """The trials of a search by their numbers."""
    return [
        Trial(
            record.number, record.status, record.settings,
            record.reports[-1].figures if record.reports else {},
            record.reports[-1].number if record.reports else 0, record.seconds,
            tuple(
                {"report": float(r.number),
                 **{m: r.figures[m] for m in plan.metrics if m in r.figures}}
                for r in record.reports
            ),
            record.error, record.snapshot,
        )
        for _, record in sorted(state.trials.items())
    ]  # fmt: skip


def ranked(trials: Sequence[Trial], metrics: Mapping[str, str]) -> list[Trial]:
    """Trials with a figure of the first metric, best first; the other metrics break ties.

    Trials that ran to their end come before those stopped early: figures of other lengths of
    training do not compare.
    """
    first = next(iter(metrics))
    signs = {metric: -1 if direction == "max" else 1 for metric, direction in metrics.items()}

    def place(trial: Trial) -> tuple[float, ...]:
        values = [sign * trial.figures.get(metric, math.nan) for metric, sign in signs.items()]
        return (trial.status != "finished", *(v if math.isfinite(v) else math.inf for v in values))

    return sorted([t for t in trials if math.isfinite(t.figures.get(first, math.nan))], key=place)


def front(trials: Sequence[Trial], metrics: Mapping[str, str]) -> list[Trial]:
    """The trials that no other beats in one metric without losing in another.

    Of the finished ones, where there are any.
    """
    known = [t for t in trials if all(math.isfinite(t.figures.get(m, math.nan)) for m in metrics)]
    known = [t for t in known if t.status == "finished"] or known
    signs = [1.0 if direction == "max" else -1.0 for direction in metrics.values()]
    points = [[s * t.figures[m] for s, m in zip(signs, metrics, strict=True)] for t in known]
    return [known[row] for row in pareto_front(points)]


def write_results(folder: Folder, plan: Search, trials: list[Trial], command: str) -> None:
    """Write everything into the search's folder, and print the best trials."""
    best, metrics = ranked(trials, plan.metrics), plan.metrics
    on_front = front(trials, metrics) if len(metrics) > 1 else []
    folder.write("results.csv", _table(plan, trials, on_front))
    folder.write("trials.jsonl", "".join(json.dumps(asdict(t)) + "\n" for t in trials))
    if best:
        _write_best(folder, plan, best[0], "best")
    for trial in on_front:
        _write_best(folder, plan, trial, f"pareto/trial-{trial.number}")
    weights = {
        metric: importances(
            plan.space, [(t.settings, t.figures.get(metric)) for t in trials], direction
        )
        for metric, direction in metrics.items()
    }
    document = {
        "name": folder.name, "system": plan.settings.system, "metrics": metrics, "command": command,
        "searcher": plan.settings.searcher, "scheduler": plan.settings.scheduler,
        "hardware": hardware(), "importance": weights, "best": best[0].number if best else None,
        "front": [t.number for t in on_front],
        "space": [
            {"key": r.key, "kind": r.kind, "low": r.low, "high": r.high,
             "choices": [str(plan.space.labels({r.key: c})[r.key]) for c in r.choices]}
            for r in plan.space.ranges
        ],
    }  # fmt: skip
    folder.write("search.json", json.dumps(document, indent=1) + "\n")
    folder.write("report.html", search_page(document, [asdict(t) for t in trials]))
    print(_summary(plan, trials, best))
    if best and best[0].run:
        for command in plan.system.use:
            print(f"the best: {command.format(run=f'{folder}/{best[0].run}')}")


def _write_best(folder: Folder, plan: Search, trial: Trial, name: str) -> None:
    """The configuration that the commands take as it is: one file, or one for each part."""
    config = plan.trial(plan.space.values(trial.settings))
    for part, own in plan.system.parts(config).items():
        folder.write(f"{name}{part}.yaml", to_yaml(own))


def _table(plan: Search, trials: Sequence[Trial], on_front: Sequence[Trial]) -> str:
    """results.csv: a row a trial; what a trial did not have is empty."""
    settings = [r.key for r in plan.space.ranges]
    figures = [*plan.metrics, *sorted({k for t in trials for k in t.figures} - set(plan.metrics))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    front_column = ["pareto"] if len(plan.metrics) > 1 else []
    rows.writerow(
        ["trial", "status", "reports", "seconds", *front_column, *settings, *figures, "error"]
    )
    numbers = {t.number for t in on_front}
    for trial in trials:
        rows.writerow(
            [
                trial.number, trial.status, trial.reports, round(trial.seconds, 1),
                *([int(trial.number in numbers)] if front_column else []),
                *(trial.settings.get(key, "") for key in settings),
                *(trial.figures.get(key, "") for key in figures), trial.error,
            ]
        )  # fmt: skip
    return text.getvalue()


def _summary(plan: Search, trials: Sequence[Trial], best: Sequence[Trial]) -> str:
    counts = {s: sum(t.status == s for t in trials) for s in (*SETTLED, "failed", "unfinished")}
    lines = [", ".join(f"{count} {status}" for status, count in counts.items() if count)]
    for trial in best[:5]:
        figures = "  ".join(f"{m} {trial.figures.get(m, math.nan):.4g}" for m in plan.metrics)
        chosen = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in trial.settings.items()
        )
        lines.append(f"  trial {trial.number:3d}  {trial.status:8}  {figures}  {chosen}")
    return "\n".join(lines)
