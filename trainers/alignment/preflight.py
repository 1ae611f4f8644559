"""What alignment is refused for before anything heavy is imported, which alone takes seconds: a run
folder that is taken, data that are not there, more CPUs than there are, a cluster that cannot be
joined or used."""

from __future__ import annotations

import os
from pathlib import Path

from rayforge.alignment.preferences import check_source
from rayforge.errors import ConfigurationError, MachineError
from trainers.alignment.config import AlignConfig
from trainers.cluster import check_shared, join_cluster
from trainers.machine import processors
from trainers.runs.folder import check_place


def check_run(config: AlignConfig, run: Path, resume: bool) -> None:
    """Raises UserError where this cannot start; joins the cluster that RAY_ADDRESS names, where the
    run has places for it to give."""
    check_place(run, resume)
    for source in (config.data, config.evaluation):
        if source and source != "routes":
            check_source(source)
    if not (config.workers or config.actors):
        return
    if not os.environ.get("RAY_ADDRESS"):
        check_turns(config.workers, config.actors)
    elif join_for_workers(config.workers, config.actors) and (run.is_dir() or not resume):
        check_shared(str(run.absolute()))  # every node reads models there, and writes them


def check_turns(workers: int, actors: int) -> None:
    """Raises ConfigurationError where this machine has too few CPUs for workers and actors, which
    take turns."""
    have, wanted = processors(), max(workers, actors)
    if wanted > have:
        raise ConfigurationError(
            f"workers {workers} and actors {actors} take {wanted} CPUs at a time, but there are "
            f"{have}: ask for at most {have}"
        )


def join_for_workers(workers: int, actors: int) -> bool:
    """Join the cluster of RAY_ADDRESS; False where a cluster was joined before.

    Raises MachineError where that cannot be done, or it has too few free CPUs.
    """
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
