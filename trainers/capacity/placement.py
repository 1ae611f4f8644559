"""Which node holds which process: bundles and memory, placed before anything starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from trainers.capacity.cluster import GB, Cluster, Node
from trainers.capacity.memory import Need


@dataclass(frozen=True)
class Processes:
    """Equal processes of a run."""

    name: str
    count: int
    bundle: dict[str, float]
    """What Ray reserves for one: {"CPU": 1.0, "GPU": 1.0}."""
    need: Need


@dataclass
class Place:
    """What is left of one node."""

    node: Node
    number: int
    free: dict[str, float]
    host: float
    gpus: list[float]
    """Free bytes of each GPU."""
    holds: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return f"{self.node.name} {self.number + 1}" if self.node.count > 1 else self.node.name


@dataclass(frozen=True)
class Placement:
    """Where everything goes, and what does not fit."""

    places: tuple[Place, ...]
    problems: tuple[str, ...]

    @property
    def nodes_used(self) -> int:
        return sum(1 for place in self.places if place.holds)


def place(cluster: Cluster, processes: list[Processes]) -> Placement:
    """Fill nodes one after the other, processes that need a GPU first.

    A node's memory is what Ray's object store leaves of it.
    """
    places = [
        Place(
            node, number,
            {"CPU": float(node.cpus), "GPU": float(node.gpus), **node.resources},
            node.memory_gb * GB * (1 - cluster.object_store_share),
            [node.gpu_memory_gb * GB] * node.gpus,
        )
        for node in cluster.nodes for number in range(node.count)
    ]  # fmt: skip
    problems = []
    order = sorted(processes, key=lambda p: (-p.bundle.get("GPU", 0), -p.need.host_bytes))
    for kind in order:
        for number in range(kind.count):
            fitting = [p for p in places if not _lacks(p, kind)]
            if fitting:
                _take(fitting[0], kind)
                continue
            nearest = min(places, key=lambda p: len(_lacks(p, kind)))
            problems.append(
                f"{kind.name} {number + 1} of {kind.count} has no place: "
                f"{nearest.name} lacks {', '.join(_lacks(nearest, kind))}"
            )
            break
    return Placement(tuple(places), tuple(problems))


def _lacks(place: Place, kind: Processes) -> list[str]:
    """What a node has too little of for one more such process, in words."""
    found = []
    for name, amount in kind.bundle.items():
        free = place.free.get(name, 0.0)
        if free < amount - 1e-9:
            found.append(f"{name} (needs {amount:g}, {free:g} free)")
    if place.host < kind.need.host_bytes:
        found.append(
            f"memory (needs {kind.need.host_bytes / GB:.1f} GB, {max(0, place.host) / GB:.1f} free)"
        )
    if kind.need.gpu_bytes and max(place.gpus, default=0.0) < kind.need.gpu_bytes:
        most = max(place.gpus, default=0.0) / GB
        found.append(f"GPU memory (needs {kind.need.gpu_bytes / GB:.1f} GB, {most:.1f} free)")
    return found


def _take(place: Place, kind: Processes) -> None:
    for name, amount in kind.bundle.items():
        place.free[name] -= amount
    place.host -= kind.need.host_bytes
    if kind.need.gpu_bytes:
        place.gpus[place.gpus.index(max(place.gpus))] -= kind.need.gpu_bytes
    place.holds[kind.name] += 1
