"""One run: a folder, a start, a task, rounds, a report."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rayforge.errors import ConfigurationError, RunError
from rayforge.files import clear_parts, write_json, write_text
from rayforge.readers.faults import reading, shown
from rayforge.readers.json_text import read_object
from rayforge.reports.alignment import write_alignment_report
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import (
    Checkpoint,
    Tokeniser,
    find_model,
    fingerprint,
    load_tokeniser,
    token_notes,
)
from trainers.alignment.named_code import without_commands
from trainers.alignment.outside import placed_score
from trainers.alignment.preflight import (
    check_engine,
    check_run,
    check_turns,
    idle_notes,
    join_for_workers,
    parts_of,
)
from trainers.alignment.reading import Source, read_source
from trainers.alignment.rounds import Rounds
from trainers.alignment.task import Task, make_task
from trainers.cluster import own_ray, start_here
from trainers.configuration import placed, read_configuration, to_yaml
from trainers.runs.folder import hardware, working_in
from trainers.runs.identity import check_settings, going_on
from trainers.runs.pool import Pool
from trainers.runs.result import Result
from trainers.runs.stopping import resume_with, stoppable
from trainers.runs.tracking import check_trackers, tracked


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, checked, before any process is started."""

    source: Source
    initial: Checkpoint
    tokeniser: Tokeniser
    task: Task


def prepare_run(config: AlignConfig) -> Prepared:
    """Read and check data and model; makes the supervised start where the model is "tiny".

    Raises ConfigurationError or DataError for whatever cannot be trained on.
    """
    check_machine(config)
    check_engine(config)
    named = None if config.model == "tiny" else find_model(config.model)
    source = read_source(config)  # may take a while: routes are made at first
    folder = source.start() if named is None else named
    for line in (*idle_notes(config), *token_notes(folder)):
        print(line, file=sys.stderr, flush=True)
    tokeniser = load_tokeniser(folder)
    task = make_task(config, tokeniser, folder, source)
    print(
        f"{len(task.pairs)} pairs, {len(task.held_out)} held out, {len(task.prompts)} prompts; "
        f"model {folder}; judge {task.judge.name if task.judge else 'none'}",
        flush=True,
    )
    return Prepared(source, fingerprint(folder), tokeniser, task)


def check_machine(config: AlignConfig) -> None:
    """Raises ConfigurationError where CPUs or the GPU asked for are not there.

    Ray would wait for them for ever without a word.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    check_turns(config)
    if config.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigurationError("device is cuda, but there is no GPU here: use --device cpu")
    gpus, wanted = torch.cuda.device_count(), config.places
    if wanted > gpus:
        raise ConfigurationError(
            f"{parts_of(config)} take {wanted} GPUs at a time, but there are {gpus}: ask for at "
            f"most {gpus}"
        )


def train(
    config: AlignConfig, run: Path, resume: bool = False,
    command: str = "trainers.alignment.run.train",
) -> Result:  # fmt: skip
    """Train and report into the folder `run`; with `resume` go on with what is missing there.

    `command` is what the run's files say that it was started with. Where the caller has started or
    joined Ray, that is used and left as it is.

    Raises ConfigurationError, DataError or CheckpointError before Ray starts wherever possible, and
    KeyboardInterrupt after SIGTERM or SIGINT.
    """
    if resume:
        config = going_on(run, config)
    else:
        config = replace(placed(config), score=placed_score(config.score))
    with own_ray():
        check_run(config, run, resume)
        check_trackers(config.track)
        if resume:
            check_resumable(run, config)
        prepared = prepare_run(config)
        print(f"learning rate {config.step_size:g} ({_whose(config)})", flush=True)
        with working_in(run, new=not resume), stoppable(resume_with("rayforge align train", run)):
            return _train(config, run, resume, command, prepared)


def _train(
    config: AlignConfig, run: Path, resume: bool, command: str, prepared: Prepared
) -> Result:
    identity = {"model": prepared.initial.hash, "task": prepared.task.fingerprint}
    if resume:
        check_identity(run, identity)
    else:
        write_json(
            run / "run.json",
            {
                "command": without_commands(command, config.judge), "hardware": hardware(),
                "data": config.data, "learning_rate": config.step_size, **identity,
            },
        )  # fmt: skip
    # Of a run that goes on: what may change.
    write_text(run / "config.yaml", to_yaml(config.recorded()))
    clear_leftovers(run)
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    start_ray(config)
    pool = make_pool(config)
    rounds = Rounds(config, run, prepared.task, prepared.initial, prepared.tokeniser, pool)
    try:
        with tracked(config.track, run, config.recorded()):
            rounds.go()
    finally:
        pool.release()
    report = write_alignment_report(run)
    print(f"report: {report}", flush=True)
    return Result(run, report, read_figures(rounds.folder(config.round_count)))


def read_figures(folder: Path) -> dict[str, float]:
    """The review of a round's folder."""
    file = folder / "review.json"
    with reading(file, RunError):
        return {name: float(value) for name, value in read_object(file, RunError).items()}


def _whose(config: AlignConfig) -> str:
    """Where the step size comes from, in words."""
    return "as asked for" if config.learning_rate is not None else f"default of a {config.kind}"


def start_ray(config: AlignConfig) -> None:
    """Join the cluster a job runs on, or start one here; nothing where no process is needed."""
    if not (config.workers or config.actors):
        return
    import ray

    # The trainers' lines come through the run's own records, without Ray's prefixes and notices.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    # On a busy machine a worker takes longer than the minute after which Train starts another.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    if os.environ.get("RAY_ADDRESS"):
        join_for_workers(config)
        return
    if ray.is_initialized():
        return
    # Workers and actors take turns.
    cpus = config.workers + config.actors + config.engine_places + 1
    start_here(cpus, log_to_driver=False)


def make_pool(config: AlignConfig) -> Pool:
    alone = not os.environ.get("RAY_ADDRESS")
    gpu = config.device == "cuda"
    pool = Pool(config.actors, 1.0 if gpu else 0.0, lasting=alone and not gpu)
    if config.generator == "vllm":
        keep = config.keep_engines or pool.lasting
        pool.answering = Pool(config.actors, pool.gpus, keep, config.tensor_parallel)
        if not keep:
            pool.rival, pool.answering.rival = pool.answering, pool
    return pool


def clear_leftovers(run: Path) -> None:
    """Remove what a kill left half-written; everything whole has a name of its own."""
    clear_parts(run, below=True, older_than_s=0.0)
    for parts in run.rglob("*.parts"):
        if parts.with_suffix(".parquet").is_file():  # they were joined, but not yet removed
            shutil.rmtree(parts, ignore_errors=True)


def check_resumable(run: Path, asked: AlignConfig) -> None:
    """Raises ConfigurationError where the folder holds no run, or one with other settings."""
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} holds no run to go on with: it has no config.yaml")
    saved = read_configuration(AlignConfig, run / "config.yaml")
    check_settings(saved.recorded(), asked.recorded(), str(run))
    if asked.rounds != saved.rounds and asked.method == "dpo":
        raise ConfigurationError(
            f"{run} is of method dpo, which takes all its steps in one round: it cannot be given "
            "more rounds; start another run"
        )


def check_identity(run: Path, found: dict[str, str]) -> None:
    """Raises ConfigurationError where model or data are no longer what the run began with."""
    saved = read_object(run / "run.json", RunError)
    for name, value in found.items():
        if saved.get(name) != value:
            raise RunError(
                f"{run} began with another {name} than there is now ({shown(saved.get(name))} "
                f"against {value}): put it back, or start another run"
            )
