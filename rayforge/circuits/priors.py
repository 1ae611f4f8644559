"""Graphs that a wiring is drawn towards: matrices of link probabilities, and the distance to one.

Five graphons after Rahaman, Weiss et al. (NeurIPS 2022). The diagonal says how likely a module is
linked with itself; the kernel says 1 there whatever is learnt, so the loss leaves it out.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rayforge.circuits.config import Prior

WITHIN, BETWEEN, NEXT = 0.9, 0.05, 0.5
"""Link probabilities inside a cluster, between two, and between neighbours on the ring (the last
designed here)."""
EDGES = 2
"""Edges that a new node of a scale-free graph brings."""
NEIGHBOURS, REWIRED = 4, 0.1
"""Neighbours on the ring of a small world, and the share of edges that lead elsewhere."""
DENSITY = 0.135
"""Link probability of the Erdős-Rényi prior: that of the planted partition of ten clusters."""
ROUNDS = 10
"""Matchings at most; three are usually enough."""


def clusters_of(modules: int) -> int:
    """Clusters of a planted partition: ten of 320 modules and more, about the square root of
    fewer."""
    return int(min(10, max(1, round(modules**0.5))))


def target(prior: Prior, modules: int, clusters: int | None = None) -> np.ndarray:
    """Link probabilities float64 [U, U] of a prior, symmetric.

    Raises ValueError for "none", which has no target.
    """
    number = np.arange(modules)
    if prior in ("planted-partition", "ring-of-cliques"):
        count = clusters or clusters_of(modules)
        cluster = number * count // modules
        same = cluster[:, None] == cluster
        found = np.where(same, WITHIN, BETWEEN)
        if prior == "ring-of-cliques":
            step = (cluster[:, None] - cluster) % count
            found = np.where(~same & ((step == 1) | (step == count - 1)), NEXT, found)
        return found
    if prior == "scale-free":
        # The limit of preferential attachment: node j links with i < j with m / (2 sqrt(i j)).
        rank = np.sqrt(number + 1.0)
        limit: np.ndarray = np.minimum(1.0, EDGES / (2.0 * rank[:, None] * rank))
        return limit
    if prior == "small-world":
        apart = np.abs(number[:, None] - number)
        apart = np.minimum(apart, modules - apart)
        elsewhere = REWIRED * NEIGHBOURS / max(1, modules - 1)
        return np.where(apart <= NEIGHBOURS // 2, 1.0 - REWIRED + elsewhere, elsewhere)
    if prior == "erdos-renyi":
        return np.full((modules, modules), DENSITY)
    raise ValueError(f"the prior {prior!r} has no target")


def match(links: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Which node of the goal each module is, int64 [U]: `goal[order][:, order]` is near `links`.

    Rows are matched by the Hungarian method on their distance, again and again, since a row can
    only be compared in an order of its columns. It begins from two orders: the modules' own, and
    that of a clustering of the rows of each. The nearer end counts.
    """
    best, nearest = np.arange(len(links)), np.inf
    for order in _beginnings(links, goal):
        for _ in range(ROUNDS):
            cost = ((links[:, None, :] - goal[:, order][None]) ** 2).sum(-1)
            _, found = linear_sum_assignment(cost)
            apart = float(((links - goal[np.ix_(found, found)]) ** 2).sum())
            if apart < nearest:
                best, nearest = found, apart
            if (found == order).all():
                break
            order = found
    return best


def _beginnings(links: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
    if len(links) < 3:
        return [np.arange(len(links))]
    # Modules of one cluster stand side by side in either order.
    ours, theirs = (leaves_list(linkage(m, "average")) for m in (links, goal))
    clustered = np.empty(len(links), np.int64)
    clustered[ours] = theirs
    return [np.arange(len(links)), clustered]


def prior_loss(links: Tensor, goal: Tensor) -> Tensor:
    """Mean squared distance of link probabilities [N, U, U] from a goal [U, U], once their modules
    are matched to its nodes (by the mean wiring of the N); without the diagonal."""
    modules = links.shape[-1]
    if modules < 2:
        return links.sum() * 0.0
    order = torch.from_numpy(
        match(links.detach().mean(0).double().cpu().numpy(), goal.cpu().numpy())
    )
    order = order.to(links.device)
    matched = goal.to(links)[order][:, order]
    off = 1.0 - torch.eye(modules, dtype=links.dtype, device=links.device)
    return ((links - matched).square() * off).sum() / (len(links) * modules * (modules - 1))
