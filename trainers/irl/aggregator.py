"""An actor on each node that hands chunks to its runners and joins what they return.

The driver then makes one call and takes one result a node and round, however many runners it has.
"""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayforge.irl.demonstrations import Demonstrations
from trainers.irl.chunks import Span, chunks_of, in_runs
from trainers.irl.runner import Chunk, ChunkResult

QUEUED = 2
"""Calls at a runner: one that it is at, and one that waits for it."""

ROUNDS = 8
"""Calls that an aggregator takes at a time: several rounds may be under way."""

Call = Callable[..., Any]
"""What a runner is asked to apply to itself: (runner, chunks=, weights=, number=)."""


@dataclass(frozen=True)
class Gathered:
    """What came back from a node."""

    results: tuple[ChunkResult, ...]
    """Of consecutive chunks, joined; several where some in between were lost."""
    lost: tuple[int, ...]
    """Runners that ended."""
    fault: str = ""
    """A fault that repeating would not heal."""


class Aggregator:
    """Hands each runner of its node the next chunk when it is free."""

    def __init__(self) -> None:
        self.held: tuple[str, Demonstrations] | None = None

    def fetch(self, weights: list[ray.ObjectRef], parent: bool) -> bool:
        """Have the weights on this node, once its `parent` has them."""
        ray.wait(weights)
        return True

    def gather(
        self, span: Span, split: list[ray.ObjectRef], runners: dict[int, Any], call: Call,
        weights: list[ray.ObjectRef], number: int, fetched: bool,
    ) -> Gathered:  # fmt: skip
        """Roll a span out on `runners`. References come in lists, lest Ray resolve them."""
        try:
            chunks = deque(chunks_of(span, self._split(split[0])))
            return self._gather(chunks, runners, call, weights, number)
        except Exception:
            return Gathered((), (), f"an aggregator failed:\n{traceback.format_exc()}")

    def _split(self, reference: ray.ObjectRef) -> Demonstrations:
        if self.held is None or self.held[0] != reference.hex():
            self.held = (reference.hex(), ray.get(reference))
        return self.held[1]

    def _gather(
        self, waiting: deque[Chunk], runners: dict[int, Any], call: Call,
        weights: list[ray.ObjectRef], number: int,
    ) -> Gathered:  # fmt: skip
        going: dict[ray.ObjectRef, tuple[int, list[Chunk]]] = {}
        sent_to: set[int] = set()  # who has the weights: a reference costs with every call
        done: list[ChunkResult] = []
        lost: list[int] = []
        while True:
            for given in range(QUEUED):  # a first call for everybody before anybody's second
                busy = Counter(runner for runner, _ in going.values())
                for runner in runners:
                    if not waiting or busy[runner] > given:
                        continue
                    # Half of an equal share at a time: few calls, and small ones at the end.
                    share = max(1, len(waiting) // (2 * len(runners)))
                    chunks = [waiting.popleft() for _ in range(share)]
                    sent = None if runner in sent_to else weights[0]
                    asked = partial(call, chunks=chunks, weights=sent, number=number)
                    going[runners[runner].apply.remote(asked)] = (runner, chunks)
                    sent_to.add(runner)
            if not going:
                return Gathered(tuple(in_runs(done)), tuple(lost))
            ready, others = ray.wait(list(going), num_returns=1)
            if others:  # all that are ready by now, at once
                ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
            for reference in ready:
                runner, chunks = going.pop(reference)
                try:
                    answer = ray.get(reference)
                except RayError:
                    waiting.extend(chunks)
                    if runners.pop(runner, None) is not None:
                        lost.append(runner)
                    continue
                if answer is None:  # restarted since, or another round's weights came between
                    waiting.extend(chunks)
                    sent_to.discard(runner)
                    continue
                if isinstance(answer, str):
                    return Gathered((), tuple(lost), answer)
                done += answer


class Nodes:
    """The aggregators of a run, made where its runners are."""

    def __init__(self) -> None:
        self.actors: dict[str, Any] = {}
        self.homes: dict[int, str] = {}
        """The node of each runner."""
        self.split: tuple[Demonstrations, ray.ObjectRef] | None = None

    def gather(
        self, runners: Mapping[str, Mapping[int, Any]], span: Span, split: Demonstrations,
        call: Call, weights: ray.ObjectRef, number: int,
    ) -> Gathered:  # fmt: skip
        """Roll a span out on runners (by node, then by number): a call and a result for each node.

        What an aggregator that ends was doing is missing from the results; the next call makes
        another one.
        """
        if self.split is None or self.split[0] is not split:
            self.split = (split, ray.put(split))
        parts = span.split_for([len(own) for own in runners.values()])
        fetched: list[Any] = [True]  # the driver's node has them
        asked = {}
        for place, (node, part) in enumerate(zip(runners, parts, strict=True)):
            # A node asks for the weights when another one has them: sources double at each step.
            parent = fetched[(place + 1) // 2]
            fetched.append(self._on(node).fetch.remote([weights], parent))
            if len(part):
                reference = self._on(node).gather.remote(
                    part, [self.split[1]], dict(runners[node]), call, [weights], number,
                    fetched[-1],
                )  # fmt: skip
                asked[reference] = node
        results: list[ChunkResult] = []
        lost: list[int] = []
        fault = ""
        for reference, node in asked.items():
            try:
                found = ray.get(reference)
            except RayError as error:
                self._forget(node, error)
                continue
            results += found.results
            lost += found.lost
            fault = fault or found.fault
        return Gathered(tuple(results), tuple(lost), fault)

    def _forget(self, node: str, error: RayError) -> None:
        """Let another aggregator take the place of a lost one. One that could not have the weights
        from a lost one fails with the same error."""
        whose, held = getattr(error, "actor_id", None), self.actors.get(node)
        # With several rounds under way another one may have seen to it already.
        if held is not None and whose in (None, held._actor_id.hex()):
            self.actors.pop(node, None)
            print(f"the aggregator of node {node[:8]} was lost and is replaced", flush=True)

    def _on(self, node: str) -> Any:
        if node not in self.actors:
            place = NodeAffinitySchedulingStrategy(node, soft=True)
            remote = ray.remote(num_cpus=0, scheduling_strategy=place, max_concurrency=ROUNDS)(
                Aggregator
            )
            self.actors[node] = remote.remote()
        return self.actors[node]
