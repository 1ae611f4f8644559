"""What Tune runs: one trial of any system, in a run folder of its own, report by report."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE

from rayforge.errors import RunError
from rayforge.files import write_json
from rayforge.readers.faults import reading
from rayforge.readers.json_text import read_object
from trainers.search.config import Search
from trainers.search.state import Takeover
from trainers.search.storage import Folder

# What stands beside a system's own settings and figures has names that no system would choose.
NUMBER = "rayforge_number"
"""A trial's number, in what Tune takes for its configuration."""
START = "rayforge_start"
"""There too: what it goes on with in place of its own state (`Start`)."""
REPORT, SECONDS = "rayforge_report", "rayforge_seconds"
FINISHED, NAMES = "rayforge_finished", "rayforge_figures"
"""In what Tune takes for a result, beside the figures: which report it is, the trial's seconds up
to it, whether it is the last, and the figures' names; under START the key of what it began with."""
MARK = "trial.json"
"""In a trial's run folder: how far it had come (`Mark`)."""
WORKING = "rayforge-trial-"
"""What a trial's working folder begins with, in the system's folder for temporary files."""
YOUNG_S = 60.0
"""An unlocked working folder younger than this may be one that is being made."""


@dataclass(frozen=True)
class Start:
    """A run folder in the search's that a trial goes on with."""

    key: str
    """Tells one start from another: a restarted process goes on with its own newest snapshot where
    that was made after this start."""
    snapshot: str
    seconds: float
    """The trial's own time so far."""


@dataclass(frozen=True)
class Mark:
    """How far a run folder had come as a trial."""

    report: int = 0
    seconds: float = 0.0
    start: str = ""


def start_of(takeover: Takeover, seconds: float) -> Start:
    return Start(takeover.key, takeover.snapshot, seconds)


def run_trial(
    plan: Search, folder: Folder, starts: Mapping[int, Start], config: Mapping[str, Any]
) -> None:
    """Train one trial and tell Tune of each report, with its run folder as the checkpoint.

    `starts` holds what the trials of a resumed search go on with, by their numbers.
    """
    began = time.perf_counter()
    own = plan.trial(plan.space.values(config))
    start = Start(**config[START]) if START in config else starts.get(config[NUMBER])
    with working_folder() as run:
        mark = fill(run, folder, start)
        last = plan.system.reports(own, plan.settings.reports)
        numbers = range(mark.report + 1, last + 1)
        for number, figures in zip(numbers, plan.system.train(own, run, numbers), strict=True):
            seconds = mark.seconds + time.perf_counter() - began
            write_json(run / MARK, asdict(Mark(number, seconds, mark.start)))
            finished = number == last
            tune.report(
                {
                    **figures, REPORT: number, SECONDS: seconds, FINISHED: finished,
                    NAMES: json.dumps(sorted(figures)), START: mark.start, DONE: finished,
                },
                checkpoint=tune.Checkpoint.from_directory(run),
            )  # fmt: skip


def fill(run: Path, folder: Folder, start: Start | None) -> Mark:
    """Put what the trial goes on with into its working folder, and say how far that had come."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:  # this process took the place of one that died, or was paused
        checkpoint.to_directory(str(run))
        mark = read_mark(run)
        if start is None or mark.start == start.key:
            return mark
        shutil.rmtree(run)
        run.mkdir()
    if start is None:
        return Mark()
    folder.copy(start.snapshot, run)
    return Mark(read_mark(run).report, start.seconds, start.key)


def read_mark(run: Path) -> Mark:
    """How far a trial's run folder had come. Raises RunError for a file of anybody else's."""
    file = run / MARK
    with reading(file, RunError, "remove the trial's folder and resume the search"):
        saved = read_object(file, RunError)
        return Mark(int(saved["report"]), float(saved["seconds"]), str(saved["start"]))


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for as long as the trial's process works."""
    outer = Path(tempfile.mkdtemp(prefix=WORKING))
    try:
        with (outer / "lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            (outer / "run").mkdir()
            yield outer / "run"
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def clear_leftovers() -> None:
    """Remove this user's working folders whose processes were killed."""
    for outer in Path(tempfile.gettempdir()).glob(f"{WORKING}*"):
        try:
            about = outer.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < YOUNG_S:
                continue
            with (outer / "lock").open("r+") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(outer, ignore_errors=True)
        except OSError:  # its process lives, or it is gone already
            continue
