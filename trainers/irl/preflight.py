"""What an agent's training is refused for before anything heavy is imported, which alone takes
seconds: a run folder that is taken, data that are not there, runs of another system, more CPUs
than there are, a cluster that cannot be joined or used."""

from __future__ import annotations

import os
from pathlib import Path

from rayforge.errors import ConfigurationError, DataError, MachineError
from rayforge.readers.faults import looked_in
from trainers.cluster import join_cluster
from trainers.configuration import read_configuration
from trainers.irl.config import IRLConfig
from trainers.machine import processors
from trainers.runs.folder import check_place


def check_run(config: IRLConfig, run: Path, resume: bool) -> None:
    """Raises UserError where this cannot start; joins the cluster that RAY_ADDRESS names."""
    check_place(run, resume)
    check_data(None if config.data == "houses" else Path(config.data))
    check_named(config)
    gpus = config.learners if config.device == "cuda" else 0
    if not config.learners:  # others may be on other nodes
        check_device(config.device)
    if os.environ.get("RAY_ADDRESS"):
        first = config.fewest_runners or config.runners
        join_for_runners(first, config.runner_resource, config.learners, gpus)
    else:
        check_cpus(config.runners, config.runner_resource, config.learners)
        check_gpus(gpus)


def check_data(folder: Path | None) -> None:
    """Raises DataError where a data folder that was named is not there."""
    if folder is not None and folder.is_file():
        raise DataError(f"data {folder} is a file; name the folder that holds it and connectivity/")
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"data folder {folder} does not exist{looked_in(folder)}; `rayforge houses DIR` makes "
            "one"
        )


def check_named(config: IRLConfig) -> None:
    """Raises UserError where a run that a setting names is none of the system that is needed: data
    are read, for minutes in 3-D, before it is opened."""
    for name in (config.start_from, config.reward_from):
        if name:
            read_configuration(IRLConfig, Path(name) / "config.yaml")
    if config.network.completed_mask:
        from trainers.irl.completing import completing_network

        completing_network(config)


def check_device(device: str) -> None:
    """Raises ConfigurationError where a GPU is asked for and this process has none."""
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigurationError("device is cuda, but there is no GPU here: use --device cpu")


def check_cpus(runners: int, resource: str, learners: int = 0) -> None:
    """Raises ConfigurationError where this machine has too few CPUs for the runners and learners
    asked for, or is asked for what only a cluster has.

    Ray would let them wait for ever without a word. The command's own process waits while learners
    of their own work, and is not counted beside them.
    """
    have, learning = processors(), max(1, learners)
    if learners > have:
        raise ConfigurationError(
            f"learners is {learners}, a CPU each, but there are {have}: ask for at most {have}"
        )
    if runners + learning > have:
        whose = "the learner's" if learning == 1 else f"those of {learners} learners"
        fewer = f"at most {have - learning}" if have > learning else "none, or for fewer learners"
        raise ConfigurationError(
            f"runners is {runners}, which takes {runners + learning} CPUs with {whose}, but there "
            f"are {have}: ask for {fewer}"
        )
    if resource:
        raise ConfigurationError(
            f"runner_resource is {resource!r}, but there is no cluster to join (RAY_ADDRESS is not "
            "set): leave it out on one machine"
        )


def check_gpus(learners: int) -> None:
    """Raises ConfigurationError where this machine has fewer GPUs than learners that want one."""
    if not learners:
        return
    import torch

    have = torch.cuda.device_count()
    if learners > have:
        fewer = f", or ask for at most {have} learners" if have else ""
        raise ConfigurationError(
            f"learners is {learners} and device is cuda, a GPU each, but there are {have}: use "
            f"--device cpu{fewer}"
        )


def join_for_runners(runners: int, resource: str, learners: int = 0, gpus: int = 0) -> None:
    """Join the cluster of RAY_ADDRESS. Raises MachineError where that cannot be done, or it
    has too few free CPUs, GPUs, or too little of `resource`, for the runners and learners asked
    for."""
    import ray

    if ray.is_initialized():
        return
    join_cluster(log_to_driver=True)
    available = ray.available_resources()
    wanted = {"CPU": runners + learners, "GPU": gpus}
    if resource:
        wanted[resource] = runners
    for name, count in wanted.items():
        free = int(available.get(name, 0))
        if count > free:
            asked = f"runners is {runners}" + (f" and learners {learners}" if learners else "")
            raise MachineError(
                f"{asked}, but the cluster at {os.environ['RAY_ADDRESS']} has {free} "
                f"{name + 's' if name in ('CPU', 'GPU') else name} free: ask for fewer, or wait "
                "until others are done"
            )
