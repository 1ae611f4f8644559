"""Trials fanned out over Ray: independent tasks, one row each on the disk, resumable.

Tasks and not actors: when a node dies, Ray runs its tasks again on the nodes that are left. An
actor would wait for a place of its own. What a task loads it keeps in its process, so the next
trial of the same data begins at once (`functools.cache` in the work functions).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rayforge.errors import ConfigurationError, MachineError
from rayforge.files import write_json, write_text
from rayforge.readers.faults import shown
from rayforge.readers.json_text import read_json_lines, read_object
from trainers.analysis.results import plain
from trainers.cluster import need_ray, own_ray
from trainers.runs.folder import held
from trainers.runs.stopping import stoppable

Work = Callable[[Any], dict[str, Any]]

ROWS = "rows.jsonl"
ASKED = "asked.json"
"""What the rows of a folder have in common."""
RETRIES = 5
"""Times a trial is begun again where its process or node died."""


def run_trials(
    work: Work, trials: Mapping[str, Any], folder: Path, processes: int, say: str = "trial"
) -> dict[str, dict[str, Any]]:
    """The row of every trial by its name, in the order given; those on the disk are not run again.

    Args:
        work: a module's function that takes one trial and returns its row; its randomness comes
            from the trial alone.
        trials: by a name that says all that sets the trial apart: it is the key on the disk.
        folder: rows are appended to `rows.jsonl` there, each flushed to the disk.
        processes: Ray tasks at a time; 0 runs them in this process, where a breakpoint works.

    What is not finite in a row is null, on the disk and in what comes back. Raises whatever a trial
    raises, and MachineError where its process died again and again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        rows = read_rows(folder / ROWS)
        todo = {name: trial for name, trial in trials.items() if name not in rows}
        if len(todo) < len(trials):
            print(f"{folder}: {len(trials) - len(todo)} of {len(trials)} are there", flush=True)
        done = len(trials) - len(todo)
        with (folder / ROWS).open("a") as stream:
            for name, row in _run(work, todo, processes):
                rows[name] = plain({"trial": name, **row})
                stream.write(json.dumps(rows[name], allow_nan=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
                done += 1
                if done == len(trials) or done % max(1, len(trials) // 20) == 0:
                    print(f"{say} {done}/{len(trials)}: {name}", flush=True)
    return {name: rows[name] for name in trials}


def keep_asked(folder: Path, asked: Mapping[str, Any]) -> None:
    """Note in a folder what its rows are of; raises ConfigurationError where those that it holds
    are of something else: they would be taken for the new ones."""
    file = folder / ASKED
    if not file.is_file() and (folder / ROWS).is_file():
        raise ConfigurationError(
            f"{folder} holds rows of an older version of RayForge: name another folder with --out"
        )
    before = read_object(file, ConfigurationError) if file.is_file() else {}
    asked = plain(dict(asked))
    for name, value in asked.items():
        if name in before and before[name] != value:
            raise ConfigurationError(
                f"{folder} holds rows of which {name} was {shown(before[name])}, and now it is "
                f"{shown(value)}: name another folder with --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {**before, **asked})


def read_rows(file: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file by trial; a line that a kill cut short is removed from it."""
    found: dict[str, dict[str, Any]] = {}
    if not file.is_file():
        return found
    whole = file.read_bytes().endswith(b"\n")
    try:
        for _, row in read_json_lines(file, ConfigurationError):
            if isinstance(row, dict) and isinstance(row.get("trial"), str):
                found.setdefault(row["trial"], row)
    except ConfigurationError:
        whole = False
    if not whole:
        write_text(file, "".join(json.dumps(row) + "\n" for row in found.values()))
    return found


def _run(
    work: Work, trials: Mapping[str, Any], processes: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    if processes == 0 or not trials:
        for name, trial in trials.items():
            yield name, work(trial)
        return
    import ray
    from ray.exceptions import RayTaskError, WorkerCrashedError

    remote = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(work)
    waiting = list(trials.items())[::-1]
    going: dict[Any, str] = {}
    while waiting or going:
        # Two for each process: the next one is there when the last one ends.
        while waiting and len(going) < 2 * processes:
            name, trial = waiting.pop()
            going[remote.remote(trial)] = name
        (ended,), _ = ray.wait(list(going), num_returns=1)
        name = going.pop(ended)
        try:
            yield name, ray.get(ended)
        except RayTaskError as error:
            raise error.cause from error
        except WorkerCrashedError as error:
            raise MachineError(
                f"the process of trial {name} died {RETRIES + 1} times: most often memory ran out; "
                "use fewer processes, and start the same command again: it goes on"
            ) from error


def fan_out(
    work: Work, trials: Mapping[str, Any], folder: Path, processes: int, say: str = "trial"
) -> dict[str, dict[str, Any]]:
    """`run_trials` with Ray for as long as it takes; a stop says how to go on."""
    rows = f"the rows so far are in {folder / ROWS}: the same command goes on"
    with own_ray():
        if processes:
            need_ray(processes, log_to_driver=True)
        with stoppable(lambda: rows):
            return run_trials(work, trials, folder, processes, say)


def check_processes(processes: int) -> None:
    """Raises ConfigurationError for a number of processes that cannot be."""
    if processes < 0:
        raise ConfigurationError(f"processes must be at least 0, got {processes}")
