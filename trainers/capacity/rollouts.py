"""How roll-outs scale to a thousand runners, from costs measured on a few: a closed form.

A round of roll-outs, as `trainers.irl.dispatch` does it: the driver takes the weights from the
learner and stores them, calls every runner with its chunks, every node pulls the weights, runners
work, and when all are done the driver takes their results in. With N runners on n = ceil(N / p)
nodes and k chunks a runner,

    T(N) = d0 + d1 N + d2 k N                 the driver's own seconds, one after the other
         + n W max(1 / B, x)                  weights out of the driver's node, W bytes to each node
         + k t max(1, N / c) + s sqrt(k) sqrt(2 ln N)     work, and waiting for the slowest
         + k N R max(1 / B, x)                results into the driver's node, R bytes a chunk

and the efficiency against one runner that nobody has to wait for is k t / T(N). All terms are
added up: nothing overlaps, as the dispatch hands every runner all its chunks in one call and every
runner is done at about the same time. B is the network's bandwidth and x the seconds of Ray's
object manager a byte (one core). The slowest of N runners is later than the mean by about
sqrt(2 ln N) standard deviations (normal chunk times, s a chunk).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What one machine measured; seconds are of one processor."""

    round_s: float
    """d0: the driver's, a round."""
    call_s: float
    """d1: the driver's, a runner called."""
    chunk_s: float
    """d2: the driver's, a chunk handed out and taken in."""
    work_s: float
    """t: a runner's, a chunk."""
    spread_s: float
    """s: standard deviation of that."""
    update_s: float
    """The learner's, an update."""
    weights: int
    """W: bytes."""
    result: int
    """R: bytes a chunk."""
    byte_s: float
    """x: the object manager's, a byte that leaves or enters a node."""
    head_share: float
    """Processors that the head's control store is busy with, whatever runs."""
    head_share_runner: float
    """The same, for each further node with a runner."""
    start_s: float
    """The control store's, a runner started with its node."""


MEASURED = Costs(
    round_s=0.0115, call_s=0.0063, chunk_s=0.0040, work_s=0.88, spread_s=0.11, update_s=1.02,
    weights=19_700_000, result=33_000, byte_s=2.4e-9, head_share=0.0075, head_share_runner=0.0008,
    start_s=0.16,
)  # fmt: skip
"""Of the agent with hidden 256, 64 episodes a chunk, a core of an AMD EPYC (docs/scaling.md)."""

STEPS_A_CHUNK = 292
"""Actions in those 64 episodes."""


@dataclass(frozen=True)
class Site:
    """What is assumed of the cluster."""

    bandwidth: float = 1.25e9
    """Bytes a second of each node's network: 10 Gbit/s."""
    runners_per_node: int = 16
    """As `cluster.yaml`'s roll-out nodes hold."""
    chunks_per_runner: int = 4
    """Chunks a runner is given a round."""
    store: float = 9.6e9
    """Bytes of the object store of the driver's node: Ray's 30 % of 32 GB."""
    cores: float = math.inf
    """Processors that all runners share; on a cluster each has its own."""


@dataclass(frozen=True)
class Round:
    """Seconds of the parts of a round."""

    driver: float
    weights_out: float
    work: float
    results_in: float

    @property
    def seconds(self) -> float:
        return self.driver + self.weights_out + self.work + self.results_in


def round_of(costs: Costs, site: Site, runners: int) -> Round:
    """The parts of T(N)."""
    k, nodes = site.chunks_per_runner, math.ceil(runners / site.runners_per_node)
    byte_s = max(1 / site.bandwidth, costs.byte_s)
    waiting = costs.spread_s * math.sqrt(k) * math.sqrt(2 * math.log(runners))
    return Round(
        costs.round_s + costs.call_s * runners + costs.chunk_s * k * runners,
        nodes * costs.weights * byte_s,
        k * costs.work_s * max(1.0, runners / site.cores) + waiting,
        k * runners * costs.result * byte_s,
    )


def efficiency(costs: Costs, site: Site, runners: int) -> float:
    """Of a runner's time, the share in which it works."""
    return site.chunks_per_runner * costs.work_s / round_of(costs, site, runners).seconds


def half_efficient(costs: Costs, site: Site) -> int:
    """The most runners of which each still works half of the time (0: not even one does)."""
    low, high = 0, 1
    while high < 10**7 and efficiency(costs, site, high) >= 0.5:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if efficiency(costs, site, middle) >= 0.5:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class Limit:
    """Runners at which one part of the cluster has no more to give."""

    part: str
    runners: float
    why: str


def limits(costs: Costs, site: Site, updates: int, chunks: int) -> list[Limit]:
    """Where each part saturates by itself, the earliest first.

    `updates` and `chunks` are those of an iteration of training: the learner is saturated where
    rolling `chunks` chunks out takes no longer than the updates that follow.
    """
    k, p = site.chunks_per_runner, site.runners_per_node
    work, byte_s = k * costs.work_s, max(1 / site.bandwidth, costs.byte_s)
    found = [
        Limit(
            "learner", _most(chunks * costs.work_s, updates * costs.update_s),
            f"{updates} updates take as long as {chunks} chunks of roll-outs",
        ),
        Limit(
            "driver", _most(work - costs.round_s, costs.call_s + k * costs.chunk_s),
            "handing out and taking in take as long as the runners' work",
        ),
        Limit(
            "weights out", _most(p * work, costs.weights * byte_s),
            "sending weights to every node takes as long as the work",
        ),
        Limit(
            "results in", _most(work, k * costs.result * byte_s),
            "results take as long to come in as they took to make",
        ),
        Limit(
            "object store", _most(site.store, k * costs.result),
            "the results of one round fill the store of the driver's node",
        ),
        Limit(
            "head", _most(1 - costs.head_share, costs.head_share_runner),
            "the control store, one thread, is busy all the time",
        ),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.runners)


def _most(have: float, each: float) -> float:
    """How many find room; without end where one takes nothing that was measured."""
    return have / each if each else math.inf
