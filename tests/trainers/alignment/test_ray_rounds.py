"""On Ray: as many workers and actors as one likes, and any of them killed, change nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from trainers.alignment.config import AlignConfig
from trainers.alignment.models import fingerprint
from trainers.alignment.run import train
from trainers.alignment.scoring import Scores
from trainers.alignment.tokens import Completion, TokenPairs, pair_columns, write_table
from trainers.alignment.training import TrainingJob, train_on_ray, train_round
from trainers.runs.pool import Pool

pytestmark = pytest.mark.ray


def job(config: AlignConfig, run: Path, model: Path) -> TrainingJob:
    """A round of training with its pairs laid out."""
    made = TrainingJob(run, 1, model, config, 6, 0)
    made.folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def some() -> list[tuple[int, ...]]:
        return [tuple(rng.integers(5, 20, rng.integers(3, 9)).tolist()) for _ in range(48)]

    pairs = TokenPairs(some(), some(), some(), np.zeros(48, bool))
    columns = pair_columns(pairs)
    columns |= {n: np.full(48, -20, np.float32) for n in ("ref_chosen_logps", "ref_rejected_logps")}
    write_table(made.pairs, columns)
    return made


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/loss"] for line in lines]


def processes(title: str) -> list[int]:
    """Processes of this test's own Ray cluster whose title begins so."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            named = (entry / "cmdline").read_bytes().startswith(title.encode())
        except OSError:
            continue
        if named and os.getpid() in ancestors(int(entry.name)):
            found.append(int(entry.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def test_two_workers_train_as_one_and_a_killed_one_is_replaced(
    cluster: None, small: AlignConfig, model_folder: Path, tmp_path: Path
) -> None:
    config = replace(small, checkpoint_steps=2)
    train_round(job(config, tmp_path / "here", model_folder))
    two = job(replace(config, workers=2), tmp_path / "two", model_folder)
    killed: list[int] = []

    def kill() -> None:
        while not list(two.checkpoints.glob("checkpoint-2/whole")):
            time.sleep(0.001)
        killed.extend(processes("ray::RayTrainWorker")[:1])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    train_on_ray(two)
    killer.join(1)
    assert killed, "no worker was there to be killed"
    one, both = losses(tmp_path / "here"), losses(tmp_path / "two")
    assert len(one) == len(both) == 6
    np.testing.assert_allclose(both, one, rtol=2e-4)


def test_actors_score_as_this_process_does_though_one_is_killed(
    cluster: None, model_folder: Path, tmp_path: Path
) -> None:

    class WhoAmI:  # inside, so that actors get it by value
        """A job whose answer is the actor's process."""

        def load(self) -> Any:
            return lambda batch: os.getpid()

    rng = np.random.default_rng(0)
    some = [
        Completion(tuple(rng.integers(5, 20, 4).tolist()), tuple(rng.integers(5, 20, 6).tolist()))
        for _ in range(60)
    ]
    start = fingerprint(model_folder)
    alone = Scores(tmp_path / "alone", "cpu", False, 3).of(start, some, Pool(0))
    pool = Pool(2)
    try:
        pids = {pid for _, pid in pool.run(WhoAmI(), range(8))}
        assert os.getpid() not in pids
        victim = pids.pop()

        def show(done: int, total: int) -> None:
            if done == 3:
                os.kill(victim, signal.SIGKILL)

        found = Scores(tmp_path / "actors", "cpu", False, 3).of(start, some, pool, show)
    finally:
        pool.release()
    np.testing.assert_allclose(found, alone, rtol=1e-6)


def test_a_run_on_ray_selects_what_a_run_without_it_selects(
    cluster: None, small: AlignConfig, tmp_path: Path
) -> None:
    config = replace(small, rounds=2)
    train(config, tmp_path / "here", False, "test")
    train(replace(config, actors=2), tmp_path / "ray", False, "test")
    for name in ("responses", "pairs", "order"):
        mine, theirs = (
            pq.read_table(tmp_path / run / "rounds/2" / f"{name}.parquet")
            for run in ("here", "ray")
        )
        for column in mine.column_names:
            if column.endswith("_ids"):
                assert mine[column].to_pylist() == theirs[column].to_pylist(), (name, column)
