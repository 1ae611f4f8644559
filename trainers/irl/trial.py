"""An agent trained part by part in a run folder, evaluated after each part: a trial of a search."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rayforge.files import write_json, write_text
from trainers.configuration import to_dict, to_yaml
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import scores_of
from trainers.irl.run import restore_algorithm, save_algorithm
from trainers.irl.run_folder import data_folder, resolve_split
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import latest, load_checkpoint
from trainers.runs.folder import forget_after, hardware

COMMAND = "a trial of rayforge tune"
"""In a trial's run.json, where other runs have the command that they were started with."""


def train_in_parts(config: IRLConfig, run: Path, reports: range) -> Iterator[dict[str, float]]:
    """Train on the Ray that runs already; a checkpoint and the figures of all splits a report.

    Report k of n comes when k/n of all updates are done, rounded up to whole iterations. `run` is
    then a run folder as `rayforge irl train` leaves one, but for the evaluation at its end.
    """
    began, task = time.perf_counter(), read_trial_task(config)
    path = latest(run / "checkpoints")
    saved = None if path is None else load_checkpoint(path)
    write_about(run, config, task)
    algorithm = LangGoalIRLConfig().for_task(config, task).build_algo()
    algorithm.start(task, fresh=saved is None)
    elapsed = algorithm.seconds_before
    if saved is not None:
        restore_algorithm(algorithm, saved)
        elapsed = float(saved.state["elapsed"])
        forget_after(run / "metrics.jsonl", reports.start - 1)
    try:
        for number in reports:
            phase = algorithm.phase
            train_until(algorithm, number / (reports.stop - 1))
            figures = agent_figures(algorithm)
            seconds = elapsed + time.perf_counter() - began
            record = {
                "iteration": number, "time_s": round(seconds, 2), "phase": phase,
                "generator_updates": algorithm.counts["generator"], **figures,
            }  # fmt: skip
            with (run / "metrics.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
            save_agent(algorithm, run / "checkpoints", number, seconds)
            yield figures
    finally:
        algorithm.stop()


def write_about(run: Path, config: IRLConfig, task: Task[Any]) -> None:
    """What a run folder says of its run, beside checkpoints and metrics."""
    write_text(run / "config.yaml", to_yaml(config))
    write_text(run / "vocabulary.json", task.vocabulary.to_json())
    write_json(run / "objects.json", task.objects)
    write_json(
        run / "run.json",
        {"command": COMMAND, "hardware": hardware(), "data": str(task.folder)},
    )


def read_trial_task(config: IRLConfig) -> Task[Any]:
    """The data of a configuration, with the splits that it is evaluated on."""
    folder = data_folder(config)
    splits = [resolve_split(name, folder, config) for name in config.evaluate]
    return read_task(folder, config, tuple(dict.fromkeys(("train", *splits))))


def updates_in_all(config: IRLConfig) -> int:
    """Updates of cloning and of what follows it; the goal generator's are not counted."""
    cloning = config.cloning_first if config.rolls_out else config.clone_updates
    return cloning + config.updates


def train_until(algorithm: LangGoalIRL, share: float) -> None:
    """Train to this share of all updates, rounded up to whole iterations."""
    wanted = share * updates_in_all(algorithm.irl)
    while not algorithm.finished:
        counts = algorithm.counts
        if algorithm.phase != "generator" and counts["clone"] + counts["irl"] >= wanted:
            return
        algorithm.step()


def agent_figures(algorithm: LangGoalIRL) -> dict[str, float]:
    """The metrics of every split, "SPLIT/METRIC", as `config.evaluate` names the splits; and how
    far training has come."""
    config, task = algorithm.irl, algorithm.task
    agent = algorithm.agent()
    figures: dict[str, float] = {}
    for name in config.evaluate:
        split = resolve_split(name, task.folder, config)
        values = scores_of(agent.policy, task.world, task.splits[split])
        figures |= {f"{name}/{metric}": float(v.mean()) for metric, v in values.items()}
    counts = algorithm.counts
    figures["updates"] = counts["clone"] + counts["irl"]
    figures["env_steps"] = counts["env_steps"]
    return figures


def save_agent(algorithm: LangGoalIRL, folder: Path, number: int, seconds: float) -> None:
    """A checkpoint as `rayforge irl train` writes it, after report `number`."""
    save_algorithm(
        algorithm, folder,
        {
            "iteration": number, "elapsed": seconds, "config": to_dict(algorithm.irl),
            "data": algorithm.task.fingerprint, "clock": {"seconds": {}, "updates": {}},
        },
    )  # fmt: skip
