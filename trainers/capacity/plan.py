"""A plan of a run on a cluster, before anything starts: what fits where, how fast, what to change.

docs/scaling.md has the formulas and what is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayforge.errors import ConfigurationError, MachineError
from trainers.alignment.config import AlignConfig
from trainers.capacity import agents, alignment
from trainers.capacity.cluster import GB, Cluster, Node
from trainers.capacity.placement import Placement, Processes, place
from trainers.configuration import RUN_FILE, fits, from_dict, read_document
from trainers.irl.config import IRLConfig


@dataclass(frozen=True)
class Plan:
    """What a run needs of a cluster."""

    model: str
    """The model in one line."""
    processes: list[Processes]
    placement: Placement
    speed: list[str]
    disk: float
    """Bytes of the run folder at its largest."""
    problems: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    """Settings under which it would fit."""


def read_run_configuration(file: Path) -> IRLConfig | AlignConfig:
    """A configuration of either system; which one, its settings say.

    Raises ConfigurationError where they are of neither, or of both alike.
    """
    if file.is_dir():
        file = file / "config.yaml"
    document = read_document(file)
    fitting = fits(IRLConfig, document) or fits(AlignConfig, document)
    if file.name == RUN_FILE and not fitting:
        raise ConfigurationError(
            f"{file.parent} is the run of neither an agent nor an alignment, and only these are "
            "planned"
        )
    found: list[IRLConfig | AlignConfig] = []
    errors = []
    kinds: tuple[type[IRLConfig] | type[AlignConfig], ...] = (IRLConfig, AlignConfig)
    for kind in kinds:
        try:
            found.append(from_dict(kind, document))
        except ConfigurationError as error:
            errors.append(str(error))
        except ValueError as error:
            raise ConfigurationError(f"configuration {file}: {error}") from None
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(
            f"configuration {file}: its settings are of an agent and of an alignment alike; add "
            "one that only one of them has (env: graph, or rounds: 3)"
        )
    raise ConfigurationError(f"configuration {file}: {errors[0]}, and for an alignment {errors[1]}")


def make_plan(config: IRLConfig | AlignConfig, cluster: Cluster, tokens: int | None) -> Plan:
    """Plan a run. `tokens` is the length of an alignment's sequences, None for its longest."""
    if isinstance(config, AlignConfig):
        return _plan_alignment(config, cluster, tokens or config.max_tokens)
    return _plan_agent(config, cluster)


def _plan_alignment(config: AlignConfig, cluster: Cluster, tokens: int) -> Plan:
    size = alignment.size_of(config, tokens)
    processes = alignment.processes(config, size)
    placement = place(cluster, processes)
    speed = []
    for phase in alignment.phases(config, size, cluster, placement.nodes_used):
        speed.append(
            f"{phase.name:<10} {phase.rate:12,.0f} tokens/s  {_time(phase.seconds):>9} a round, "
            f"limited by {phase.limit}"
        )
    disk = alignment.disk(config, size)
    changes: list[str] = []
    if placement.problems:
        for words, other in alignment.remedies(config, cluster):
            if words.split()[0] in (change.split()[0] for change in changes):
                continue  # a gentler one of its kind fits
            measured = alignment.size_of(other, tokens) if (
                other.activation_checkpointing != config.activation_checkpointing
                or other.lora_rank != config.lora_rank
            ) else size  # fmt: skip
            if not place(cluster, alignment.processes(other, measured)).problems:
                changes.append(words)
            if len(changes) == 3:
                break
    kind = f"{alignment.model_name(config)}: {size.parameters / 1e6:,.1f} M parameters"
    if config.lora_rank:
        kind += f", {size.trained / 1e6:,.1f} M trained"
    return Plan(
        f"{kind}, sequences of {tokens} tokens", processes, placement, speed, disk,
        [*placement.problems, *_storage(cluster, disk)], changes,
    )  # fmt: skip


def _plan_agent(config: IRLConfig, cluster: Cluster) -> Plan:
    size = agents.size_of(config)
    processes = agents.processes(config, size)
    placement = place(cluster, processes)
    rate = agents.rate(config, size, cluster)
    speed = [
        f"roll-outs  {rate.steps:12,.0f} steps/s, efficiency {rate.efficiency:.2f}",
        f"an iteration of {config.episodes_per_iteration} episodes and "
        f"{config.updates_per_iteration} updates: {_time(rate.iteration_s)}, most of it "
        f"{rate.limit}",
    ]
    changes: list[str] = []
    if placement.problems and config.runners:
        for runners in range(config.runners - 1, -1, -1):
            fewer = [
                p if p.name != "runner" else Processes(p.name, runners, p.bundle, p.need)
                for p in processes
            ]
            if not place(cluster, fewer).problems:
                changes.append(f"--runners {runners}")
                break
    disk = agents.disk(size)
    return Plan(
        f"agent {config.method}: {size.parameters / 1e6:,.1f} M parameters, runners hold "
        f"{size.acting / 1e6:,.1f} M", processes, placement, speed, disk,
        [*placement.problems, *_storage(cluster, disk)], changes,
    )  # fmt: skip


def _storage(cluster: Cluster, disk: float) -> list[str]:
    rooms = {"the shared storage": cluster.shared_storage_gb}
    if not cluster.shared_storage_gb:
        rooms = {f"the disk of {node.name}": node.disk_gb for node in cluster.nodes}
    return [
        f"{name} has {room:g} GB, the run takes {disk / GB:.1f}"
        for name, room in rooms.items()
        if room and room * GB < disk
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def text_of(plan: Plan) -> str:
    """The plan in lines for a terminal."""
    lines = [
        plan.model,
        "",
        f"{'process':<18}{'count':>6}{'memory':>10}{'GPU memory':>12}  most of it",
    ]
    for kind in plan.processes:
        parts = {**kind.need.host, **kind.need.gpu}
        most = sorted(parts, key=lambda name: -parts[name])[:3]
        held = ", ".join(f"{name} {parts[name] / GB:.2f}" for name in most)
        gpu = f"{kind.need.gpu_bytes / GB:.2f} GB" if kind.need.gpu else "-"
        lines.append(
            f"{kind.name:<18}{kind.count:>6}{kind.need.host_bytes / GB:>7.2f} GB{gpu:>12}  {held}"
        )
    lines.append("")
    for place_ in plan.placement.places:
        if place_.holds:
            held = ", ".join(f"{count} x {name}" for name, count in place_.holds.items())
            lines.append(f"{place_.name}: {held}; {max(0, place_.host) / GB:.1f} GB free")
    lines += ["", *plan.speed, f"disk: {plan.disk / GB:.2f} GB for the run folder"]
    if plan.problems:
        lines += ["", *(f"does not fit: {problem}" for problem in plan.problems)]
        lines += [f"fits with: {change}" for change in plan.changes]
        if not plan.changes:
            lines.append("no change of these settings fits: use a smaller model, or more memory")
    return "\n".join(lines)


def document_of(plan: Plan) -> dict[str, Any]:
    """The plan as JSON holds it."""
    return {
        "model": plan.model,
        "processes": [
            {
                "name": p.name, "count": p.count, "bundle": p.bundle, "memory": p.need.host,
                "gpu_memory": p.need.gpu,
            }
            for p in plan.processes
        ],
        "places": {p.name: dict(p.holds) for p in plan.placement.places if p.holds},
        "speed": plan.speed, "disk": plan.disk, "problems": plan.problems, "changes": plan.changes,
    }  # fmt: skip


def check_live(cluster: Cluster, live: list[dict[str, Any]]) -> None:
    """Compare a description with the nodes that Ray lists (`ray.nodes()`).

    Raises MachineError, naming node and resource, where a described node is missing or smaller.
    """
    free = [node for node in live if node["Alive"]]
    for node in cluster.nodes:
        for number in range(node.count):
            fitting = [one for one in free if not _short(node, one["Resources"])]
            if not fitting:
                short = [_short(node, one["Resources"]) for one in free]
                lacking = min(short, key=len, default=["no node is left"])
                raise MachineError(
                    f"the cluster has no {node.name} {number + 1} of {node.count} as described: "
                    f"{', '.join(lacking)}; start it, or describe what is there"
                )
            free.remove(fitting[0])


def _short(node: Node, there: dict[str, float]) -> list[str]:
    """What a live node has less of than the description says."""
    wanted: dict[str, float] = {"CPU": node.cpus, "GPU": node.gpus, **node.resources}
    found = [
        f"{name} is {there.get(name, 0):g} and not {amount:g}"
        for name, amount in wanted.items()
        if there.get(name, 0.0) < amount
    ]
    # Ray lists what its object store leaves of the memory, which is at least 60 %.
    memory = (there.get("memory", 0.0) + there.get("object_store_memory", 0.0)) / GB
    if memory < 0.8 * node.memory_gb:
        found.append(f"memory is {memory:.0f} GB and not {node.memory_gb:g}")
    return found
