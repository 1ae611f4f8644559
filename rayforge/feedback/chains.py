"""Rewriting by absorbing Markov chains (Ponnusamy et al., IAAI 2020, arXiv 1911.02557).

Everybody's attempts at requests are pooled into one chain. Its states are requests, and it ends in
success (s+) or failure (s-). Solving it gives, for each request, the other request that most likely
ends well. The argmax rule is recalled from the paper; the guards, the solve by component and the
counting of rewritten turns are designed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import splu

Request = TypeVar("Request", bound=Hashable)
GOOD, BAD = "s+", "s-"
_SMALL = 64
"""Requests of a component up to which a dense inverse is quicker."""
_BLOCK = 512
"""Rows of a component solved at once."""


class Step(NamedTuple, Generic[Request]):
    """A turn of a session as the chain sees it."""

    request: Request
    """The raw request, whatever was followed."""
    rewritten: bool = False
    """Whether something else than the request was followed."""


@dataclass(frozen=True)
class Counts(Generic[Request]):
    """How often a request was followed by another, and ended a session well or badly."""

    steps: Mapping[tuple[Request, Request], int]
    good: Mapping[Request, int]
    bad: Mapping[Request, int]

    def __add__(self, other: Counts[Request]) -> Counts[Request]:
        """Counts of both logs; addition reduces counts made in parallel."""
        return Counts(
            Counter(self.steps) + Counter(other.steps),
            Counter(self.good) + Counter(other.good),
            Counter(self.bad) + Counter(other.bad),
        )


def count(paths: Iterable[tuple[Sequence[Step[Request]], bool]]) -> Counts[Request]:
    """Counts of sessions: their steps, and whether they ended well.

    The end of a session whose last request was rewritten says how the rewrite fared, not the
    request, and is not counted. That people went on from it to another request is counted: the
    other request is still what they ended up with. Thus live rewrites do not lock themselves in.
    A request said again in the same words is one step to itself.
    """
    steps: Counter[tuple[Request, Request]] = Counter()
    good: Counter[Request] = Counter()
    bad: Counter[Request] = Counter()
    for path, well in paths:
        for before, after in pairwise(path):
            steps[before.request, after.request] += 1
        if path and not path[-1].rewritten:
            (good if well else bad)[path[-1].request] += 1
    return Counts(steps, good, bad)


@dataclass(frozen=True)
class Chain(Generic[Request]):
    """P = [[Q, R], [0, I]]: Q sparse [n, n] among requests, R [n, 2] into (s+, s-)."""

    requests: tuple[Request, ...]
    q: sparse.csr_matrix
    r: np.ndarray


def chain_of(counts: Counts[Request], least: int = 1) -> Chain[Request]:
    """The chain of counts, without steps that are rarer than `least`; rows sum to 1.

    A request of which no step and no end is left goes to s-.
    """
    kept = {pair: n for pair, n in counts.steps.items() if n >= least}
    names = {r for pair in kept for r in pair} | set(counts.good) | set(counts.bad)
    requests = tuple(sorted(names, key=repr))
    place = {request: row for row, request in enumerate(requests)}
    rows = [place[before] for before, _ in kept]
    columns = [place[after] for _, after in kept]
    size = len(requests)
    ends = np.zeros((size, 2))
    for column, numbers in enumerate((counts.good, counts.bad)):
        for request, number in numbers.items():
            ends[place[request], column] = number
    steps = sparse.csr_matrix((list(kept.values()), (rows, columns)), (size, size), dtype=float)
    total = np.asarray(steps.sum(1)).ravel() + ends.sum(1)
    ends[total == 0, 1] = 1.0
    total = np.where(total == 0, 1.0, total)
    return Chain(
        requests, sparse.csr_matrix(sparse.diags_array(1 / total) @ steps), ends / total[:, None]
    )


def closed(chain: Chain[Request]) -> np.ndarray:
    """Which requests lead to no end at all, bool [n]: there I - Q is singular."""
    size = len(chain.requests)
    ends = sparse.csr_matrix(chain.r.sum(1) > 0, dtype=float)
    # Backwards from one node that stands for every end.
    graph = sparse.block_array([[chain.q.T, None], [ends, sparse.csr_matrix((1, 1))]])
    reached = breadth_first_order(sparse.csr_matrix(graph), size, return_predecessors=False)
    found = np.ones(size + 1, bool)
    found[reached] = False
    return found[:size]


def opened(chain: Chain[Request]) -> Chain[Request]:
    """The chain in which whatever leads nowhere goes to s- at once."""
    stuck = closed(chain)
    if not stuck.any():
        return chain
    kept = sparse.diags_array((~stuck).astype(float))
    ends = chain.r.copy()
    ends[stuck] = (0.0, 1.0)
    return Chain(chain.requests, sparse.csr_matrix(kept @ chain.q), ends)


class Solved(NamedTuple, Generic[Request]):
    """One connected component."""

    requests: tuple[Request, ...]
    visits: np.ndarray
    """N = (I - Q)^-1 [n, n]: expected visits to v from u."""
    absorbed: np.ndarray
    """B = N R [n, 2]: probabilities of ending well and badly."""
    scores: np.ndarray
    """score(u -> v) = N[u, v] R[v, +] [n, n]: to end well with v as the last request."""


def components(chain: Chain[Request]) -> list[Chain[Request]]:
    """The connected components, each a chain of its own; no step leads from one to another."""
    number, label = connected_components(chain.q, directed=False)
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(number + 1)).tolist()
    # Sorted by component the matrix has its blocks on the diagonal: each is cut out of the arrays.
    q, r = chain.q[order][:, order].tocsr(), chain.r[order]
    found = []
    for first, last in pairwise(bounds):
        begin, end = q.indptr[first], q.indptr[last]
        pointers = q.indptr[first : last + 1] - begin
        block = (q.data[begin:end], q.indices[begin:end] - first, pointers)
        names = tuple(chain.requests[k] for k in order[first:last])
        part = sparse.csr_matrix(block, (last - first, last - first))
        found.append(Chain(names, part, r[first:last]))
    return found


def solve(chain: Chain[Request]) -> Solved[Request]:
    """Solve a chain.

    Raises ValueError where a closed class of requests has no exit, naming one: `opened` mends it.
    """
    stuck = closed(chain)
    if stuck.any():
        request = chain.requests[int(np.flatnonzero(stuck)[0])]
        raise ValueError(f"{request!r} leads to no end: a closed class of requests has no exit")
    return _solved(chain)


def _solved(chain: Chain[Request]) -> Solved[Request]:
    """Small chains by their dense inverse, others by sparse LU, `_BLOCK` columns of N at a time."""
    size = len(chain.requests)
    identity = np.eye(size)
    if size <= _SMALL:
        visits = np.linalg.inv(identity - chain.q.toarray())
    else:
        factors = splu(sparse.csc_matrix(sparse.eye_array(size) - chain.q))
        blocks = range(0, size, _BLOCK)
        visits = np.hstack([factors.solve(identity[:, k : k + _BLOCK]) for k in blocks])
    return Solved(chain.requests, visits, visits @ chain.r, visits * chain.r[:, 0])


class Rewrite(NamedTuple, Generic[Request]):
    """One row of the table."""

    request: Request
    rewrite: Request
    score: float
    """P(the session ends well with the rewrite as its last request)."""
    own: float
    """The same with the request itself as the last one."""
    support: int
    """The lesser of how often the request was given and how often the rewrite ended well."""

    @property
    def ratio(self) -> float:
        return self.score / self.own if self.own else float("inf")


@dataclass(frozen=True)
class Guards:
    """What a rewrite needs."""

    least: int = 1
    """Rarer steps are dropped."""
    ratio: float = 1.5
    """rho: how many times likelier the rewrite ends well than the request itself."""
    support: int = 2
    """c: the least support."""
    score: float = 0.2
    """The least score."""


def rewrites(
    counts: Counts[Request], guards: Guards,
    retired: frozenset[tuple[Request, Request]] = frozenset(),
) -> list[Rewrite[Request]]:  # fmt: skip
    """The table: for each request the best other one that passes the guards, if there is one.

    `retired` pairs are passed over: the next best takes their place. Sorted by support and score.
    """
    given: Counter[Request] = Counter()
    for (before, _), number in counts.steps.items():
        given[before] += number
    for ends in (counts.good, counts.bad):
        given.update(ends)
    found = []
    for part in components(opened(chain_of(counts, guards.least))):
        if len(part.requests) > 1:
            found += _best(_solved(part), given, counts.good, guards, retired)
    return sorted(found, key=lambda row: (-row.support, -row.score, repr(row.request)))


def _best(
    solved: Solved[Request], given: Mapping[Request, int], good: Mapping[Request, int],
    guards: Guards, retired: frozenset[tuple[Request, Request]],
) -> list[Rewrite[Request]]:  # fmt: skip
    found = []
    for row, request in enumerate(solved.requests):
        own = float(solved.scores[row, row])
        for column in np.argsort(-solved.scores[row], kind="stable"):
            score, other = float(solved.scores[row, column]), solved.requests[column]
            if column == row or score < guards.score or score <= 0 or score < guards.ratio * own:
                break  # the request itself is best, or what follows is worse
            if (request, other) in retired:
                continue
            support = min(given.get(request, 0), good.get(other, 0))
            if support >= guards.support:
                found.append(Rewrite(request, other, score, own, support))
            break
    return found


class Trial(NamedTuple):
    """How requests fared with a rewrite and without: numbers of turns that ended well and badly."""

    with_good: int
    with_bad: int
    without_good: int
    without_bad: int


def probability_better(trial: Trial, cells: int = 2048) -> float:
    """P(the rewrite does better than the request as it is), both under a uniform Beta prior.

    P(a > b) = int f_a(x) F_b(x) dx by the midpoint rule on `cells` cells.
    """
    from scipy.stats import beta

    x = (np.arange(cells) + 0.5) / cells
    with_ = beta(1 + trial.with_good, 1 + trial.with_bad).pdf(x)
    without = beta(1 + trial.without_good, 1 + trial.without_bad).cdf(x)
    return float(np.clip((with_ * without).sum() / with_.sum(), 0.0, 1.0))


def losing(
    trials: Mapping[tuple[Request, Request], Trial], least: float = 0.2
) -> frozenset[tuple[Request, Request]]:
    """The rewrites whose probability of being better is below `least`: they are retired.

    The decision is made for each rewrite from turns with it and turns without it (Ponnusamy et al.
    2022, arXiv 2205.00029, decide by a Beta model too; the prior and the bound are designed here).
    """
    return frozenset(pair for pair, trial in trials.items() if probability_better(trial) < least)
