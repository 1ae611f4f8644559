"""Reading a run folder, however much of it there is: what cannot be read becomes one line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.evaluation.intervals import Interval
from rayforge.readers.json_text import parse_json, read_json
from rayforge.readers.yaml_text import read_yaml


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind; parts that are missing are empty and named in `problems`."""

    folder: Path
    config: dict[str, Any]  # config.yaml
    about: dict[str, Any]  # run.json: command, hardware, data
    metrics: tuple[dict[str, Any], ...]  # metrics.jsonl, one record an iteration
    evaluations: dict[str, dict[str, Any]]  # evaluation_<split>.json by split
    episodes: dict[str, tuple[dict[str, Any], ...]]  # episodes_<split>.jsonl by split
    reward: dict[str, dict[str, Any]]  # reward_<split>.json by split
    instructions: tuple[dict[str, Any], ...]  # sentences.jsonl
    problems: tuple[str, ...]  # one line each
    given_name: str = ""  # instead of the folder's

    @property
    def name(self) -> str:
        return self.given_name or self.folder.resolve().name

    @property
    def method(self) -> str:
        """The method's name as the evaluations have it, else as the configuration has it."""
        for document in self.evaluations.values():
            if document.get("method"):
                return str(document["method"])
        return str(self.config.get("method", "method unknown"))

    def stated(self, key: str) -> str:
        """A fact as the run, its evaluations or its configuration state it; "" where none does."""
        for source in (self.about, *self.evaluations.values(), self.config):
            if source.get(key) not in (None, ""):
                return str(source[key])
        return ""

    def agents(self, split: str) -> dict[str, dict[str, Any]]:
        """{agent: {metric: figure}} of a split, as far as it can be read."""
        found = self.evaluations.get(split, {}).get("agents")
        pairs = found.items() if isinstance(found, dict) else ()
        return {str(name): figures for name, figures in pairs if isinstance(figures, dict)}

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, NaN where unknown."""
        stated = [d.get("train_seconds") for d in self.evaluations.values()]
        logged = [record.get("time_s") for record in self.metrics[-1:]]
        return next((number(v) for v in (*stated, *logged) if v is not None), math.nan)


def read_run(folder: Path) -> RunFolder:
    """Read a run folder. Raises FileNotFoundError where there is no such folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"run folder {folder} does not exist")
    problems: list[str] = []
    return RunFolder(
        folder=folder,
        config=_document(folder / "config.yaml", problems),
        about=_document(
            folder / "run.json", [] if not (folder / "run.json").exists() else problems
        ),
        metrics=_records(folder / "metrics.jsonl", problems),
        evaluations={
            file.stem.removeprefix("evaluation_"): document
            for file in sorted(folder.glob("evaluation_*.json"))
            if (document := _document(file, problems))
        },
        episodes={
            file.stem.removeprefix("episodes_"): _records(file, problems)
            for file in sorted(folder.glob("episodes_*.jsonl"))
        },
        reward={
            file.stem.partition("_")[2]: document
            # RayForge before 0.2 called it evidence.
            for before in ("evidence", "reward")
            for file in sorted(folder.glob(f"{before}_*.json"))
            if (document := _document(file, problems))
        },
        instructions=_records(folder / "sentences.jsonl", problems)
        if (folder / "sentences.jsonl").exists()
        else (),
        problems=tuple(problems),
    )


def number(value: Any) -> float:
    """A figure as float; NaN for what is none (null, text)."""
    return float(value) if isinstance(value, int | float | np.number) else math.nan


def interval(figure: Any) -> Interval:
    """`{"mean", "low", "high", "count"}` as an interval; NaN and 0 for what it lacks."""
    if not isinstance(figure, dict):
        return Interval(number(figure), math.nan, math.nan, 0)
    mean, low, high = (number(figure.get(key)) for key in ("mean", "low", "high"))
    count = number(figure.get("count"))
    return Interval(mean, low, high, int(count) if math.isfinite(count) else 0)


def curve(run: RunFolder, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(updates, values) of a figure, float64 [n] each, at the iterations that state it."""
    records = [record for record in run.metrics if name in record]
    updates = [number(record.get("updates", record.get("iteration"))) for record in records]
    return np.array(updates, float), np.array([number(record[name]) for record in records], float)


def policy_curve(run: RunFolder, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`curve` over updates of the policy alone: runs with and without a goal generator compare."""
    updates, values = curve(run, name)
    records = (record for record in run.metrics if name in record)
    others = [number(record.get("generator_updates", 0)) for record in records]
    return updates - np.array(others, float), values


def flat(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found


def phases(run: RunFolder) -> list[tuple[float, str]]:
    """(updates done before it, name) of each phase, in the order they ran."""
    found: list[tuple[float, str]] = []
    done = 0.0
    for record in run.metrics:
        name = str(record.get("phase", ""))
        if name and (not found or found[-1][1] != name):
            found.append((done, name))
        done = number(record.get("updates", record.get("iteration")))
    return found


def _document(file: Path, problems: list[str]) -> dict[str, Any]:
    """A YAML or JSON mapping; empty, with a line in `problems`, where there is none."""
    try:
        value = read_yaml(file, RunError) if file.suffix == ".yaml" else read_json(file, RunError)
    except RunError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        said = str(error).removeprefix(f"{file}: ")
        problems.append(
            f"{file.name} is missing." if missing else f"{file.name} cannot be read ({said})."
        )
        return {}
    if not isinstance(value, dict):
        problems.append(f"{file.name} holds no settings or figures.")
        return {}
    return value


def _records(file: Path, problems: list[str]) -> tuple[dict[str, Any], ...]:
    """The JSON objects of a .jsonl file; a broken last line is one still being written."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")
    except OSError:
        problems.append(f"{file.name} is missing or cannot be read.")
        return ()
    found, broken = [], []
    for place, line in enumerate(lines, 1):
        try:
            value = parse_json(line, file.name, RunError)
        except RunError:
            value = None
        if isinstance(value, dict):
            found.append(value)
        elif line.strip() and place < len(lines):
            broken.append(place)
    if broken:
        problems.append(
            f"{file.name}: {len(broken)} of {len(lines)} lines are no records and were left out "
            f"(the first is line {broken[0]})."
        )
    return tuple(found)
