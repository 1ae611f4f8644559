"""Rounds of roll-outs under way while the learner updates.

A round is rolled out under the weights of a fixed number of updates before its own first update,
not under those that happen to be newest when a runner is free: what a run learns then depends
neither on how fast anything was nor on the number of runners, and a resumed run repeats it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import ray

from trainers.irl.runner import ChunkResult


@dataclass(frozen=True)
class Round:
    """A round that was handed out before its turn."""

    use: int
    """The method's own updates made when its turn comes."""
    number: int
    """Updates, of all phases, that its weights had made."""
    weights: ray.ObjectRef
    results: Future[list[ChunkResult]]


def in_background(work: Callable[[], list[ChunkResult]]) -> Future[list[ChunkResult]]:
    """What `work` returns or raises, by a thread that does not keep the process alive."""
    future: Future[list[ChunkResult]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="roll-outs", daemon=True).start()
    return future


def turns(now: int, updates: int, each: int, staleness: int) -> list[int]:
    """The turns that may be handed out at turn `now`: its own, and later ones whose weights will be
    at most `staleness` updates behind when they begin.

    A turn is the number of the method's own updates made before it: `each` a turn, `updates` in
    all.
    """
    return list(range(now, min(updates, now + staleness // each * each + 1), each))


def pack(rounds: list[Round]) -> tuple[dict[str, Any], list[list[int]]]:
    """The rounds as arrays and numbers for a checkpoint; weights that several share are once in
    it."""
    arrays: dict[str, Any] = {}
    for number, weights in {r.number: r.weights for r in rounds}.items():
        (module,) = ray.get(weights).values()
        arrays |= {f"ahead{number}/{name}": value for name, value in module.items()}
    return arrays, [[r.use, r.number] for r in rounds]


def unpack(arrays: dict[str, Any], number: int) -> dict[str, Any]:
    """The weights of that number from a checkpoint."""
    first = f"ahead{number}/"
    return {name[len(first) :]: v for name, v in arrays.items() if name.startswith(first)}
