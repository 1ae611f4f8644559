"""How roll-outs scale through an aggregator on each node (`trainers.irl.aggregator`), by a model.

With N runners on n = ceil(N / p) nodes and k chunks a runner, a round takes

    T(N) = d0 + d1 n + d2 k N                 the driver's own seconds, one after the other
         + h W max(1 / B, x)                  weights out, W bytes: h = ceil(log2(n + 1)) steps of a
                                              tree, for a node sends them on when it has them
         + k t + s sqrt(k) sqrt(2 ln N)       work, and waiting for the slowest
         + c min(p, N) / q                    a node hands out its runners' first chunks and takes
                                              in their last ones: the others while runners work
         + k N R / B                          results into the driver's node, R bytes a chunk

c is the processor seconds of a chunk that are not the runner's or the driver's: the aggregator's
and Ray's, on the q processors that a node has for them. Where all nodes are on one machine they
share its processors: the chunks of all nodes then count, and instead of the network what a node
takes a round beside its chunks (weights that come in, Ray's daemons).

With two rounds under way (a `staleness` of two iterations) a runner waits for no other one, and of
a round nothing is waited for but its longest part: work, or what the driver does, or the network.
The efficiency is k t over the round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class NodeCosts:
    """What one machine measured; seconds are of one processor."""

    round_s: float
    """d0: the driver's, a round."""
    node_s: float
    """d1: the driver's, a node."""
    chunk_s: float
    """d2: the driver's, a chunk."""
    gather_s: float
    """c: the aggregator's and Ray's, a chunk."""
    others_s: float
    """What a node takes a round beside chunks; of nodes on one machine alone."""
    weights: int
    """W: bytes."""
    result: int
    """R: bytes a chunk."""
    byte_s: float
    """x: the object manager's, a byte that leaves or enters a node."""


MEASURED = NodeCosts(
    round_s=0.015, node_s=0.039, chunk_s=0.0, gather_s=0.0055, others_s=0.33, weights=19_600_000,
    result=17_000, byte_s=2.4e-9,
)  # fmt: skip
"""By `benchmarks.stand_ins`, of the agent with hidden 256 (docs/scaling.md)."""


@dataclass(frozen=True)
class NodeSite:
    """The cluster, and the work."""

    work_s: float
    """t: of a chunk."""
    spread_s: float = 0.0
    """s: standard deviation of that."""
    chunks_per_runner: int = 4
    runners_per_node: int = 32
    bandwidth: float = 1.25e9
    """Bytes a second of each node's network: 10 Gbit/s."""
    spare: float = 1.0
    """q: processors of a node that no runner takes."""
    shared: float = 0.0
    """Processors that all nodes and the driver share; 0: each node has its own."""


@dataclass(frozen=True)
class NodeRound:
    """Seconds of the parts of a round."""

    driver: float
    weights: float
    work: float
    waiting: float
    gather: float
    results: float

    @property
    def seconds(self) -> float:
        """With runners and learner in turn."""
        taken = self.driver + self.weights + self.work + self.waiting + self.gather
        return taken + self.results

    @property
    def beside(self) -> float:
        """With two rounds under way beside the updates."""
        return max(self.driver, self.weights, self.work + self.gather, self.results)


def round_by_node(costs: NodeCosts, site: NodeSite, runners: int) -> NodeRound:
    """The parts of T(N)."""
    k, nodes = site.chunks_per_runner, math.ceil(runners / site.runners_per_node)
    driver = costs.round_s + costs.node_s * nodes + costs.chunk_s * k * runners
    waiting = site.spread_s * math.sqrt(k) * math.sqrt(2 * math.log(runners))
    work = k * site.work_s
    if site.shared:
        others = nodes * costs.others_s / site.shared
        gather = costs.gather_s * runners / site.shared
        return NodeRound(driver, others, work, waiting, gather, 0.0)
    byte_s = max(1 / site.bandwidth, costs.byte_s)
    return NodeRound(
        driver,
        math.ceil(math.log2(nodes + 1)) * costs.weights * byte_s,
        work,
        waiting,
        costs.gather_s * min(site.runners_per_node, runners) / site.spare,
        k * runners * costs.result / site.bandwidth,
    )


def efficiency_by_node(
    costs: NodeCosts, site: NodeSite, runners: int, beside: bool = False
) -> float:
    """Of a runner's time, the share in which it works."""
    taken = round_by_node(costs, site, runners)
    return site.chunks_per_runner * site.work_s / (taken.beside if beside else taken.seconds)


def saturated_by(costs: NodeCosts, site: NodeSite) -> dict[str, float]:
    """Runners from which each part alone takes as long as the work."""
    work, k = site.chunks_per_runner * site.work_s, site.chunks_per_runner
    driver = costs.node_s / site.runners_per_node + k * costs.chunk_s
    results = k * costs.result / site.bandwidth
    return {
        "driver": (work - costs.round_s) / driver if driver else math.inf,
        "results": work / results if results else math.inf,
    }
