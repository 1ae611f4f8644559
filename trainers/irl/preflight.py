"""What an agent's training is refused for before anything heavy is imported, which alone takes
seconds: a run folder that is taken, data that are not there, more CPUs than there are, a cluster
that cannot be joined or used."""

from __future__ import annotations

import os
from pathlib import Path

from rayforge.errors import ConfigurationError, DataError, MachineError
from trainers.cluster import join_cluster
from trainers.irl.config import IRLConfig
from trainers.machine import processors
from trainers.runs.folder import check_place


def check_run(config: IRLConfig, run: Path, resume: bool) -> None:
    """Raises UserError where this cannot start; joins the cluster that RAY_ADDRESS names."""
    check_place(run, resume)
    check_data(None if config.data == "houses" else Path(config.data))
    check_device(config.device)
    if os.environ.get("RAY_ADDRESS"):
        join_for_runners(config.runners, config.runner_resource)
    else:
        check_cpus(config.runners, config.runner_resource)


def check_data(folder: Path | None) -> None:
    """Raises DataError where a data folder that was named is not there."""
    if folder is not None and folder.is_file():
        raise DataError(f"data {folder} is a file; name the folder that holds it and connectivity/")
    if folder is not None and not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; `rayforge houses DIR` makes one")


def check_device(device: str) -> None:
    """Raises ConfigurationError where a GPU is asked for and this process has none."""
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigurationError("device is cuda, but there is no GPU here: use --device cpu")


def check_cpus(runners: int, resource: str) -> None:
    """Raises ConfigurationError where this machine has too few CPUs for the runners asked for, or
    is asked for what only a cluster has.

    Ray would let them wait for ever without a word.
    """
    have = processors()
    if runners + 1 > have:
        raise ConfigurationError(
            f"runners is {runners}, which takes {runners + 1} CPUs with the learner's, but there "
            f"are {have}: ask for at most {have - 1}"
        )
    if resource:
        raise ConfigurationError(
            f"runner_resource is {resource!r}, but there is no cluster to join (RAY_ADDRESS is not "
            "set): leave it out on one machine"
        )


def join_for_runners(runners: int, resource: str) -> None:
    """Join the cluster of RAY_ADDRESS. Raises MachineError where that cannot be done, or it
    has too few free CPUs, or too little of `resource`, for the runners asked for."""
    import ray

    if ray.is_initialized():
        return
    join_cluster(log_to_driver=True)
    available = ray.available_resources()
    for name in ("CPU", resource) if resource else ("CPU",):
        free = int(available.get(name, 0))
        if runners > free:
            raise MachineError(
                f"runners is {runners}, but the cluster at {os.environ['RAY_ADDRESS']} has "
                f"{free} {'CPUs' if name == 'CPU' else name} free: ask for fewer, or wait "
                "until others are done"
            )
