"""What training is refused for before anything heavy is imported, which alone takes seconds: a run
folder that is taken, more CPUs than there are, a cluster that cannot be joined or used."""

from __future__ import annotations

import os
from pathlib import Path

from rayforge.errors import ConfigurationError, MachineError, RunError
from trainers.alignment.config import AlignConfig
from trainers.cluster import check_lasting, check_shared, held, join_cluster
from trainers.irl.config import IRLConfig
from trainers.machine import processors


def check_run(config: IRLConfig | AlignConfig, run: Path, resume: bool) -> None:
    """Raises UserError where this cannot start; joins the cluster that RAY_ADDRESS names,
    where the run has places for it to give."""
    if not resume:
        check_free(run)
    with held(run):
        pass  # nobody else trains there
    joins = bool(os.environ.get("RAY_ADDRESS"))
    if isinstance(config, IRLConfig):
        if joins:
            join_for_runners(config.runners, config.runner_resource)
        else:
            check_cpus(config.runners, config.runner_resource)
    elif config.workers or config.actors:
        if not joins:
            check_turns(config.workers, config.actors)
        elif join_for_workers(config.workers, config.actors) and (run.is_dir() or not resume):
            check_shared(str(run.absolute()))  # every node reads models there, and writes them


def check_free(run: Path) -> None:
    """Raises RunError where the run folder is taken, ConfigurationError where it would not last."""
    check_lasting(run)
    if (run / "config.yaml").exists():
        raise RunError(
            f"{run} holds a run already: name another folder, or go on with --resume {run}"
        )


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


def check_turns(workers: int, actors: int) -> None:
    """The same for alignment's workers and actors, which take turns."""
    have, wanted = processors(), max(workers, actors)
    if wanted > have:
        raise ConfigurationError(
            f"workers {workers} and actors {actors} take {wanted} CPUs at a time, but there are "
            f"{have}: ask for at most {have}"
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


def join_for_workers(workers: int, actors: int) -> bool:
    """The same for alignment's workers and actors, which take turns. False where a cluster was
    joined before."""
    import ray

    if ray.is_initialized():
        return False
    join_cluster(log_to_driver=False)
    wanted, free = max(workers, actors), ray.available_resources().get("CPU", 0)
    if wanted > free:
        raise MachineError(
            f"workers {workers} and actors {actors} take {wanted} CPUs at a time, but the cluster "
            f"at {os.environ['RAY_ADDRESS']} has {free:.0f} free: ask for fewer, or wait until "
            "others are done"
        )
    return True
