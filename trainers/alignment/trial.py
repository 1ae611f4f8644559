"""A language model aligned round by round in a run folder: a trial of a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from rayforge.evaluation.win_rate import over_orders
from rayforge.files import write_json, write_text
from trainers.alignment.config import AlignConfig
from trainers.alignment.rounds import Rounds
from trainers.alignment.run import clear_leftovers, make_pool, prepare_run, read_figures
from trainers.alignment.task import Task
from trainers.configuration import to_yaml
from trainers.runs.folder import hardware

COMMAND = "a trial of rayforge tune"
"""In a trial's run.json, where other runs have the command that they were started with."""


def train_in_rounds(config: AlignConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """All rounds of a configuration in the run folder, going on with what it holds; the figures
    of each round in `reports`.

    Reports come between the rounds, when no Ray Train workers are there: a trial that is stopped
    there leaves nothing behind.
    """
    prepared = prepare_run(config)
    task = prepared.task
    clear_leftovers(run)
    write_text(run / "config.yaml", to_yaml(config.recorded()))
    identity = {"model": prepared.initial.hash, "task": task.fingerprint}
    write_json(
        run / "run.json",
        {"command": COMMAND, "hardware": hardware(), "data": config.data, **identity},
    )
    pool = make_pool(config)
    rounds = Rounds(config, run, task, prepared.initial, prepared.tokeniser, pool)
    try:
        for number in rounds.each():
            if number in reports:
                yield language_figures(rounds.folder(0), rounds.folder(number), task)
    finally:
        pool.release()


def language_figures(start: Path, folder: Path, task: Task) -> dict[str, float]:
    """A round's review, and its win rate: its greedy answers against those of the start."""
    figures = read_figures(folder)
    if task.judge is not None and len(task.evaluation):
        ours, theirs = (
            pq.read_table(f / "answers.parquet")["greedy"].to_pylist() for f in (folder, start)
        )
        wins = task.judge.wins(task.evaluation.asked, ours, theirs)
        figures["win_rate"] = float(np.mean(over_orders(wins)))
    return figures
