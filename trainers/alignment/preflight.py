"""What alignment is refused for before anything heavy is imported, which alone takes seconds: a run
folder that is taken, data that are not there, more CPUs than there are, a cluster that cannot be
joined or used."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from rayforge.alignment.preferences import check_source
from rayforge.errors import ConfigurationError, MachineError, RunError
from trainers.alignment.config import SCORES, AlignConfig
from trainers.alignment.named_code import COMMAND, FOLLOWER, is_function
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
    check_named(config)
    check_engine(config)
    if not (config.workers or config.actors):
        return
    if not os.environ.get("RAY_ADDRESS"):
        check_turns(config)
    elif join_for_workers(config) and (run.is_dir() or not resume):
        check_shared(str(run.absolute()))  # every node reads models there, and writes them


def idle_notes(config: AlignConfig) -> list[str]:
    """A line for each setting that was given and that this run has no use for."""
    notes = []
    if config.shard and not config.workers:
        notes.append("shard splits a model among workers, and workers is 0: nothing is split")
    if config.method in ("dpo", "random", "iterative"):
        notes += [
            f"method {config.method} chooses nothing by its margins: {name} changes nothing"
            for name in ("length_control", "length_head")
            if getattr(config, name)
        ]
    return [f"note: {note}" for note in notes]


def check_named(config: AlignConfig) -> None:
    """Raises UserError where a score or judge is written as nothing that there is, or names a
    follower that is not there: data and models are made or read before either is tried."""
    if config.score.startswith(FOLLOWER):
        from trainers.runs.checkpoint import latest

        for name in config.score.split(","):
            run = Path(name.removeprefix(FOLLOWER))
            if not (run / "config.yaml").is_file():
                raise RunError(
                    f"follower {run} is no run of `rayforge irl train`: it has no config.yaml"
                )
            if not (run / "vocabulary.json").is_file():
                raise RunError(
                    f"follower {run} is the run of another system, or not begun: name a finished "
                    "run of `rayforge irl train` (it has a vocabulary.json)"
                )
            if latest(run / "checkpoints") is None:
                raise RunError(f"follower {run} has no checkpoint yet; train it first")
    elif not (config.score in SCORES or is_function(config.score) or Path(config.score).is_dir()):
        raise ConfigurationError(
            f"score {config.score[:80]!r} is none of {', '.join(SCORES)}, follower:RUN, a reward "
            "model's folder or a Python function, MODULE:FUNCTION"
        )
    judge = config.judge
    known = judge in ("", "execution") or judge.startswith(COMMAND) or is_function(judge)
    if not (known or Path(judge).is_dir()):
        raise ConfigurationError(
            f"judge {judge[:80]!r} is neither execution, a reward model's folder, "
            '"command: ..." nor a Python function, MODULE:FUNCTION'
        )


def check_engine(config: AlignConfig) -> None:
    """Raises MachineError where what answers prompts is not installed."""
    if config.generator == "vllm" and find_spec("vllm") is None:
        raise MachineError(
            "generator is vllm, which is not installed: pip install 'rayforge[vllm]', or use "
            "--generator transformers"
        )


def parts_of(config: AlignConfig) -> str:
    """Who takes places, in words."""
    found = f"workers {config.workers} and actors {config.actors}"
    if config.generator == "vllm":
        found += f" with engines of tensor_parallel {config.tensor_parallel}"
    return found


def check_turns(config: AlignConfig) -> None:
    """Raises ConfigurationError where this machine has too few CPUs for workers and actors, which
    take turns."""
    have, wanted = processors(), cpus_of(config)
    if wanted > have:
        raise ConfigurationError(
            f"{parts_of(config)} take {wanted} CPUs at a time, but there are {have}: ask for at "
            f"most {have}"
        )


def cpus_of(config: AlignConfig) -> int:
    """CPUs at a time: on GPUs an engine takes one for all its places."""
    return config.places if config.device == "cpu" else max(config.workers, config.actors)


def join_for_workers(config: AlignConfig) -> bool:
    """Join the cluster of RAY_ADDRESS; False where a cluster was joined before.

    Raises MachineError where that cannot be done, or it has too few free CPUs or GPUs, or no node
    with as many GPUs as an engine is split among: Ray would wait for them without a word.
    """
    import ray

    if ray.is_initialized():
        return False
    join_cluster(log_to_driver=False)
    free = ray.available_resources()
    needs = {"CPU": cpus_of(config), "GPU": config.places if config.device == "cuda" else 0}
    for kind, wanted in needs.items():
        if wanted > free.get(kind, 0):
            raise MachineError(
                f"{parts_of(config)} take {wanted} {kind}s at a time, but the cluster at "
                f"{os.environ['RAY_ADDRESS']} has {free.get(kind, 0):.0f} free: ask for fewer, or "
                "wait until others are done"
            )
    if config.tensor_parallel > 1:
        check_nodes(config, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    return True


def check_nodes(config: AlignConfig, nodes: list[dict[str, float]]) -> None:
    """Raises MachineError where no node can hold an engine whole."""
    kind = "GPU" if config.device == "cuda" else "CPU"
    most = max((node.get(kind, 0.0) for node in nodes), default=0.0)
    if config.tensor_parallel > most:
        raise MachineError(
            f"tensor_parallel is {config.tensor_parallel}, but the largest node has {most:.0f} "
            f"{kind}s: an engine lies on one node, so ask for at most {most:.0f}"
        )
