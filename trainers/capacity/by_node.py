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
share its processors: every node's weights and chunks then count.

With roll-outs beside updates (`staleness`) nothing of a round is waited for but its longest part:
work, or what the driver does, or the network. The efficiency is k t over the round.
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
    weights: int
    """W: bytes."""
    result: int
    """R: bytes a chunk."""
    byte_s: float
    """x: the object managers', a byte that leaves a node and enters another."""


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
    gather: float
    results: float

    @property
    def seconds(self) -> float:
        """With runners and learner in turn."""
        return self.driver + self.weights + self.work + self.gather + self.results

    @property
    def beside(self) -> float:
        """With roll-outs beside updates, and the next round handed out before this one ends."""
        return max(self.driver, self.weights, self.work + self.gather, self.results)


def round_by_node(costs: NodeCosts, site: NodeSite, runners: int) -> NodeRound:
    """The parts of T(N)."""
    k, nodes = site.chunks_per_runner, math.ceil(runners / site.runners_per_node)
    driver = costs.round_s + costs.node_s * nodes + costs.chunk_s * k * runners
    waiting = site.spread_s * math.sqrt(k) * math.sqrt(2 * math.log(runners))
    work = k * site.work_s + waiting
    if site.shared:
        weights = nodes * costs.weights * costs.byte_s / site.shared
        gather = costs.gather_s * runners / site.shared
        return NodeRound(driver, weights, work, gather, 0.0)
    byte_s = max(1 / site.bandwidth, costs.byte_s)
    return NodeRound(
        driver,
        math.ceil(math.log2(nodes + 1)) * costs.weights * byte_s,
        work,
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
