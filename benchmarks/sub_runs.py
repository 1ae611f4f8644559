"""Several training runs side by side, each a process of its own, resumable."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from rayforge.errors import RunError
from rayforge.evaluation.intervals import bootstrap_interval, paired_difference, seed_interval
from rayforge.files import write_json
from rayforge.readers.json_text import read_json
from trainers.configuration import to_yaml


def training(system: str, runs: Mapping[Path, Any]) -> dict[Path, list[str]]:
    """The command that trains each run under its configuration, which is written beside its folder
    as `RUN.yaml`: `run_all` takes these."""
    commands = {}
    for run, config in runs.items():
        file = run.with_name(f"{run.name}.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(to_yaml(config))
        commands[run] = [system, "train", "--config", str(file)]
    return commands


def same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note the settings of the parts that a benchmark keeps in `folder`; later calls must have them
    too. Raises RunError naming those that differ."""
    file = folder / "settings.json"
    settings = json.loads(json.dumps(settings, default=str))
    if file.is_file():
        before = read_json(file, RunError)
        other = sorted(name for name in settings if before.get(name) != settings[name])
        if other:
            was = ", ".join(f"{name} {before.get(name)}" for name in other)
            raise RunError(
                f"{folder} holds parts made with {was}: ask for that, or name another --out"
            )
    else:
        write_json(file, settings)


def finished(run: Path) -> bool:
    """A run is finished when its report is written."""
    return (run / "report.html").is_file()


def run_all(
    runs: Mapping[Path, Sequence[str]],
    parallel: int,
    after: Mapping[Path, Path] | None = None,
    deadline: float = math.inf,
) -> list[Path]:
    """Make each run folder by its command, `parallel` at a time, one core each; returns those that
    are not finished.

    A command is what comes after `rayforge`, without the folder: "irl", "train" and its settings.
    Finished runs are left alone and broken-off ones resumed. Output goes to `RUN/train.log` and,
    with the run's name before it, to the terminal. A run that `after` names another one for waits
    for it. At `deadline` (of `time.monotonic`) the active ones are stopped, with a checkpoint.
    Raises RuntimeError naming the runs that failed.
    """
    first = after or {}
    waiting = [(run, list(command)) for run, command in runs.items() if not finished(run)]
    active: dict[subprocess.Popen[str], tuple[Path, threading.Thread]] = {}
    failed: list[Path] = []
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        while waiting or active:
            if time.monotonic() > deadline:
                _stop(active)
                break
            while len(active) < parallel:
                ready = (i for i in waiting if i[0] not in first or finished(first[i[0]]))
                if (chosen := next(ready, None)) is None:
                    if not active:  # what is left waits for runs that failed
                        waiting.clear()
                    break
                waiting.remove(chosen)
                run, command = chosen
                process = _start(run, command)
                reader = threading.Thread(target=_relay, args=(process, run), daemon=True)
                reader.start()
                active[process] = (run, reader)
            for process in [p for p in active if p.poll() is not None]:
                run, reader = active.pop(process)
                reader.join()
                if process.returncode:
                    failed.append(run)
            time.sleep(0.5)
    except BaseException:
        _stop(active)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    if failed:
        names = ", ".join(str(run / "train.log") for run in failed)
        raise RuntimeError(f"{len(failed)} runs failed; their output: {names}")
    return [run for run in runs if not finished(run)]


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _stop(active: Mapping[subprocess.Popen[str], tuple[Path, threading.Thread]]) -> None:
    """End runs with a checkpoint each, so that the next call goes on."""
    for process in active:
        process.send_signal(signal.SIGTERM)
    for process in active:
        process.wait()


def _start(run: Path, command: list[str]) -> subprocess.Popen[str]:
    run.mkdir(parents=True, exist_ok=True)
    half, verb, *flags = command
    if verb == "adapt":  # goes on by itself
        told = ["--out", str(run), *flags]
    elif any(run.glob("checkpoints/[0-9]*" if half == "irl" else "rounds/[0-9]*")):
        told = ["--resume", str(run)]
    else:
        (run / "config.yaml").unlink(missing_ok=True)  # broken off before its first checkpoint
        told = ["--run", str(run), "--threads", "1", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "trainers.cli", half, verb, *told], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def _relay(process: subprocess.Popen[str], run: Path) -> None:
    assert process.stdout is not None
    with (run / "train.log").open("a") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            print(f"[{run.name}] {line}", end="", flush=True)


def episodes_of(run: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Success and SPL of each episode of a split, float [n], in the split's order."""
    lines = (run / f"episodes_{split}.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return (
        np.array([r["success"] for r in records], float),
        np.array([r["spl"] for r in records], float),
    )


def print_comparison(groups: Mapping[str, Sequence[Path]], splits: Sequence[str]) -> str:
    """A Markdown table, methods by splits: success and SPL, the mean over seeds with intervals.

    Intervals of a method are over its runs' seeds (t distribution) where there are two or more,
    else over episodes. The last rows are paired differences from the last method, episode by
    episode, averaged over seeds first.
    """
    lines = ["| method | split | seeds | success | SPL |", "|---|---|---|---|---|"]
    means: dict[tuple[str, str], np.ndarray] = {}
    for name, runs in groups.items():
        for split in splits:
            values = [episodes_of(run, split) for run in runs]
            cells = []
            for metric in (0, 1):
                per_run = np.array([v[metric].mean() for v in values])
                if len(per_run) > 1:
                    interval = seed_interval(per_run)
                else:
                    interval = bootstrap_interval(values[0][metric])
                cells.append(f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
            means[name, split] = np.mean([v[0] for v in values], axis=0)
            lines.append(f"| {name} | {split} | {len(runs)} | {cells[0]} | {cells[1]} |")
    *others, last = groups
    for name in others:
        for split in splits:
            difference = paired_difference(means[name, split], means[last, split])
            lines.append(
                f"| {name} minus {last} | {split} | paired over episodes | {difference.mean:+.3f} "
                f"[{difference.low:+.3f}, {difference.high:+.3f}] | |"
            )
    return "\n".join(lines)


def episodes_by_name(run: Path, split: str, metric: str) -> dict[str, float]:
    """A metric of each episode of a split, by the episode's name."""
    lines = (run / f"episodes_{split}.jsonl").read_text().splitlines()
    return {r["episode_id"]: float(r[metric]) for r in map(json.loads, lines)}
