"""A language model's trial: rounds of alignment in a function that Tune runs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rayforge.evaluation.win_rate import over_orders
from rayforge.files import write_text
from trainers.alignment.config import AlignConfig
from trainers.alignment.rounds import Rounds
from trainers.alignment.run import Prepared, make_pool, prepare_run
from trainers.alignment.task import Task
from trainers.configuration import to_yaml
from trainers.search.config import Search

Reached = Callable[[int, dict[str, float]], None]
"""Called after each round with its number and figures."""


class ReportedRounds(Rounds):
    """Rounds that tell what each came to; those of an earlier attempt are not told again."""

    reached: Reached

    def _review(self, number: int) -> None:
        known = (self.folder(number) / "review.json").is_file()
        super()._review(number)
        if number and not known:
            self.reached(number, language_figures(self.folder(0), self.folder(number), self.task))


def language_figures(start: Path, folder: Path, task: Task) -> dict[str, float]:
    """A round's review, and its win rate: its greedy answers against those of the start."""
    figures: dict[str, float] = json.loads((folder / "review.json").read_text())
    if task.judge is not None and len(task.evaluation):
        ours, theirs = (
            pq.read_table(f / "answers.parquet")["greedy"].to_pylist() for f in (folder, start)
        )
        wins = task.judge.wins(task.evaluation.asked, ours, theirs)
        figures["win_rate"] = float(np.mean(over_orders(wins)))
    return figures


def align_in(run: Path, config: AlignConfig, prepared: Prepared, reached: Reached) -> None:
    """All rounds of a configuration in the folder `run`, going on with what it holds."""
    write_text(run / "config.yaml", to_yaml(config.recorded()))
    pool = make_pool(config)
    rounds = ReportedRounds(
        config, run, prepared.task, prepared.initial, prepared.tokeniser, pool
    )  # fmt: skip
    rounds.reached = reached
    try:
        rounds.go()
    finally:
        pool.release()


@contextmanager
def trial_folder() -> Iterator[Path]:
    """A folder for as long as the trial's process works, with what its checkpoint holds."""
    from ray import tune

    folder = Path(tempfile.mkdtemp(prefix="rayforge-trial-"))
    try:
        checkpoint = tune.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as saved:
                shutil.copytree(saved, folder, dirs_exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def language_trial(config: Mapping[str, Any]) -> None:
    """Align one language model, reporting each round; its run folder is the checkpoint.

    Reports come between the rounds, when no Ray Train workers are there: a trial that is stopped
    there leaves nothing behind.
    """
    from ray import tune

    search: Search = config["search"]
    own: AlignConfig = search.trial(search.space.values(config))
    prepared = prepare_run(own)
    with trial_folder() as run:

        def report(number: int, figures: dict[str, float]) -> None:
            tune.report(
                {**figures, "round": number, "finished": number == own.round_count},
                checkpoint=tune.Checkpoint.from_directory(run),
            )

        align_in(run, own, prepared, report)
