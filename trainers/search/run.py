"""One search from its file to its report. What can be refused is, before Ray is even imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rayforge.errors import ConfigurationError, RunError
from rayforge.settings import MAY_CHANGE, settings_with
from trainers.cluster import check_shared, check_storage, join_cluster, start_here
from trainers.configuration import to_dict
from trainers.machine import processors
from trainers.runs.folder import check_lasting, held
from trainers.runs.tracking import check_trackers
from trainers.search.config import Search, SearchConfig, read_search
from trainers.search.resources import concurrency, largest, need
from trainers.search.storage import Folder

FILE = "search.yaml"
"""The search as it was started, in its own folder; a resumed one goes by it."""
SPARE = 1
"""CPUs that the Ray started here has on paper beyond the machine's: for trials that only wait for
their workers, a hundredth each."""


def search(file: Path, changes: Mapping[str, Any], resume: bool, command: str) -> Folder:
    """Search as `file` says, with `changes` of its settings; returns the folder of results.

    Raises ConfigurationError or DataError before Ray starts wherever possible.
    """
    plan = read_search(file, changes)
    check_trackers(plan.settings.track)
    folder = Folder(plan.settings.storage, plan.settings.name)
    alone = not os.environ.get("RAY_ADDRESS")
    if alone:
        cpus = plan.settings.cpus or processors()
        at_once = concurrency(plan, cpus, _gpus(plan), "this machine", SPARE)
    if not folder.remote:
        check_lasting(Path(plan.settings.storage))
    check_storage(plan.settings.storage)
    check_folder(folder, plan, resume, file)
    if not alone:
        _start_ray(0)  # what cannot be joined or placed is told before anything is made
        at_once = _places(plan)
    if folder.remote:
        _go(plan, folder, at_once, resume, file, command)
    else:
        Path(str(folder)).mkdir(parents=True, exist_ok=True)
        with held(Path(str(folder))):
            _go(plan, folder, at_once, resume, file, command)
    return folder


def _go(plan: Search, folder: Folder, at_once: int, resume: bool, file: Path, command: str) -> None:
    """Take the folder, make what the trials read, and run them."""
    if not resume:
        folder.write(FILE, yaml.safe_dump(to_dict(plan.settings), sort_keys=False))
    try:
        _prepare(plan)
    except BaseException:
        if not resume:
            folder.remove_file(FILE)  # nothing has begun: the name is free again
        raise
    if not os.environ.get("RAY_ADDRESS"):
        _start_ray((plan.settings.cpus or processors()) + SPARE)
    import ray

    from trainers.search.tuning import tune_all

    try:
        _say(plan, folder, at_once)
        tune_all(plan, folder, at_once, resume, file, command)
    finally:
        ray.shutdown()


def _places(plan: Search) -> int:
    """Trials at a time on the joined cluster, whose nodes must share the storage."""
    import ray

    check_shared(plan.settings.storage)
    there = ray.cluster_resources()
    return concurrency(plan, there.get("CPU", 0), there.get("GPU", 0), "the cluster")


def _gpus(plan: Search) -> int:
    if not largest(plan).gpus:
        return 0
    import torch

    return torch.cuda.device_count()


def check_folder(folder: Folder, plan: Search, resume: bool, file: Path) -> None:
    """Raises ConfigurationError where the folder is taken, or holds no such search to resume."""
    text = folder.read(FILE)
    if not resume:
        if text is not None:
            raise RunError(
                f"{folder} holds a search already: go on with --resume, or give this one another "
                "name (--name)"
            )
        return
    if text is None:
        raise RunError(f"{folder} holds no search to go on with: drop --resume")
    saved, asked = yaml.safe_load(text), to_dict(plan.settings)
    for key in asked:
        if key not in settings_with(SearchConfig, MAY_CHANGE) and saved.get(key) != asked[key]:
            raise ConfigurationError(
                f"{folder} was started with {key} {saved.get(key)!r}, now {file} has "
                f"{asked[key]!r}: go on under the search's own settings, or start another one"
            )


def _prepare(plan: Search) -> None:
    """What all trials read is made once, here: houses, and the tiny model's start."""
    half, base = plan.settings.half, plan.trial({})
    if half != "alignment":
        from trainers.irl.run_folder import data_folder, resolve_split

        irl = base if half == "irl" else base.irl
        folder = data_folder(irl)
        for name in irl.evaluate:
            split = resolve_split(name, folder, irl)
            if irl.env == "graph" and split != "held_out":
                _check_split(folder, split)
    if half != "irl":
        from trainers.alignment.run import prepare_run

        prepare_run(base if half == "alignment" else base.align)


def _check_split(folder: Path, split: str) -> None:
    from envs.episodes.split_files import split_file

    if not split_file(folder, split).is_file():
        raise ConfigurationError(
            f"evaluate: {folder} has no split {split}: there is no R2R_{split}.json"
        )


def _start_ray(cpus: int) -> None:
    """Join the cluster, or start Ray here, with its dashboard on loopback.

    The dashboard is not for looks alone: without it Ray leaks the workers of trials that a
    scheduler ends, and the next trial waits for them for ever.
    """
    # Trials read the paths of their settings from where the command was given.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    # What a killed search had finished by then is not done again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    # On a busy machine a worker takes longer than the minute after which Train starts another.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables; a line a report says it all
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        join_cluster(log_to_driver=False)
        return
    start_here(cpus, dashboard=True, log_to_driver=False)


def _say(plan: Search, folder: Folder, at_once: int) -> None:
    settings, wanted = plan.settings, need(plan.settings.half, plan.trial({}))
    print(
        f"{plan.trials} trials of {settings.half}, {at_once} at a time; a trial takes "
        f"{max(1, int(wanted.cpus))} CPUs ({wanted.parts})"
        + (f" and {wanted.gpus:g} GPUs" if wanted.gpus else "")
        + f"; searcher {settings.searcher}, scheduler {settings.scheduler}; results in {folder}",
        flush=True,
    )
    print(f"watch: tensorboard --logdir {folder}", flush=True)
