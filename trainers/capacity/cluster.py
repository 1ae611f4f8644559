"""The description of a cluster: kinds of nodes, what each has, and what joins them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rayforge.errors import ConfigurationError
from rayforge.settings import Above, AtLeast, Within, check_limits
from trainers.configuration import read_configuration
from trainers.machine import processors

GB = 1e9


@dataclass(frozen=True)
class Node:
    """Nodes of one kind. Memory and disk are in GB (1e9 bytes)."""

    name: str = "node"
    count: Annotated[int, AtLeast(1)] = 1
    cpus: Annotated[int, AtLeast(1)] = 1
    memory_gb: Annotated[float, AtLeast(0)] = 0.0
    """Main memory of a node; must be given."""
    gpus: Annotated[int, AtLeast(0)] = 0
    gpu_memory_gb: Annotated[float, AtLeast(0)] = 0.0
    """Memory of one GPU; must be given where there are GPUs."""
    gpu_tflops: Annotated[float, AtLeast(0)] = 0.0
    """Peak of one GPU in bfloat16 without sparsity, TFLOP/s; must be given where there are GPUs."""
    gpu_bandwidth_gb: Annotated[float, AtLeast(0)] = 0.0
    """GB/s between a GPU and its memory; must be given where there are GPUs."""
    core_gflops: Annotated[float, Above(0)] = 30.0
    """What one CPU core reaches in float32 matrix products, GFLOP/s (`rayforge plan --measure`)."""
    network_gbit: Annotated[float, Above(0)] = 10.0
    """Network of a node, Gbit/s."""
    disk_gb: Annotated[float, AtLeast(0)] = 0.0
    """Free disk of a node; 0 says nothing."""
    resources: dict[str, float] = field(default_factory=dict)
    """Resources of its own that the node offers in Ray, such as rollout: 16."""

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.memory_gb:
            raise ValueError(f"node {self.name!r}: memory_gb is missing: say how much a node has")
        missing = [name for name in ("gpu_memory_gb", "gpu_tflops", "gpu_bandwidth_gb")
                   if self.gpus and not getattr(self, name)]  # fmt: skip
        if missing:
            raise ValueError(f"node {self.name!r} has GPUs: say {', '.join(missing)} of one")


@dataclass(frozen=True)
class Cluster:
    """All nodes of a cluster, and what is assumed of them."""

    nodes: tuple[Node, ...] = ()
    shared_storage_gb: Annotated[float, AtLeast(0)] = 0.0
    """Free room of the storage that all nodes see; 0 says nothing."""
    object_store_share: Annotated[float, Within(0, 1)] = 0.3
    """Share of a node's memory that Ray gives to its object store (Ray's own default)."""
    peak_share: Annotated[float, Within(0, 1, "(]")] = 0.4
    """Share of a GPU's peak that training reaches; 0.4 is what well-made training does [design]."""

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.nodes:
            raise ValueError("nodes is empty: name at least one kind of node")
        names = [node.name for node in self.nodes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"two kinds of nodes are named {twice!r}: give each a name, or one kind a count"
            )


def read_cluster(file: Path) -> Cluster:
    """Read a description. Raises ConfigurationError naming file, node and what is missing."""
    try:
        return read_configuration(Cluster, file)
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"cluster {file}: {error}") from None


def this_machine() -> Cluster:
    """This machine as a cluster of one node: CPUs that may be used, memory, free disk."""
    import shutil

    import psutil

    memory = psutil.virtual_memory().total / GB
    disk = shutil.disk_usage(Path.cwd()).free / GB
    return Cluster((Node("this machine", 1, processors(), round(memory, 1), disk_gb=round(disk)),))
