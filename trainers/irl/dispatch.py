"""Handing chunks of episodes out to runners, and again when a runner is lost."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rayforge.irl.demonstrations import Demonstrations
from trainers.irl.aggregator import Nodes
from trainers.irl.chunks import Span, gaps
from trainers.irl.runner import Chunk, ChunkResult, PathRunner

ATTEMPTS = 5
"""Times a chunk is handed out before its loss ends the run."""

RESTART_S = 120.0
"""How long a round waits, once every runner is lost, for Ray to start one again."""

MACHINE_S = 900.0
"""The same in a cluster, which may have to start a machine first."""

PROBE_S = 0.2
"""How long a round waits for a restarted runner to answer while others are at work."""


def hand_out(
    group: EnvRunnerGroup, chunks: Sequence[Chunk], weights: ray.ObjectRef, number: int
) -> list[ChunkResult]:
    """Each chunk's result, in order, rolled out under `weights` (a module's state) of that number.

    A chunk lost with its runner is given to another one and gives the same episodes there, and a
    result is taken once, so that no episode is lost or doubled. Without runners the chunks are
    rolled out in this process.

    Raises:
        RuntimeError: a chunk was lost `ATTEMPTS` times, no runner came back in time,
            or a runner raised something else than a failing episode; names building and episode.
    """
    if not group.num_remote_env_runners():
        found: list[ChunkResult] = group.local_env_runner.sample(
            chunks=chunks, weights=ray.get(weights), number=number
        )
        return found
    done: dict[int, ChunkResult] = {}
    for _ in range(ATTEMPTS):
        waiting = [chunk for chunk in chunks if chunk.first not in done]
        if not waiting:
            break
        workers = _healthy(group, waiting[0].names[0])[: len(waiting)]
        calls = [
            partial(_sample, chunks=waiting[i :: len(workers)], weights=weights, number=number)
            for i in range(len(workers))
        ]
        for answer in group.foreach_env_runner(
            calls, remote_worker_ids=workers, local_env_runner=False
        ):
            if isinstance(answer, str):
                raise RuntimeError(answer)
            done |= {result.first: result for result in answer}
    missing = [chunk for chunk in chunks if chunk.first not in done]
    if missing:
        raise RuntimeError(_lost(len(missing), len(chunks), missing[0].names[0]))
    return [done[chunk.first] for chunk in chunks]


def hand_out_by_node(
    nodes: Nodes, group: EnvRunnerGroup, span: Span, split: Demonstrations,
    weights: ray.ObjectRef, number: int,
) -> list[ChunkResult]:  # fmt: skip
    """As `hand_out`, through an aggregator on each node: results of consecutive chunks come as one.

    Raises RuntimeError as `hand_out` does.
    """
    done: list[ChunkResult] = []
    missing = [span]
    for _ in range(ATTEMPTS):
        for part in missing:
            (first,) = split.names(part.rows[:1])
            runners = _by_node(nodes, group, _healthy(group, first))
            if not runners:
                continue
            found = nodes.gather(runners, part, split, _sample, weights, number)
            if found.fault:
                raise RuntimeError(found.fault)
            for runner in found.lost:
                group._worker_manager.set_actor_state(runner, healthy=False)
                nodes.homes.pop(runner, None)
            done += found.results
        missing = gaps(span, done)
        if not missing:
            return sorted(done, key=lambda result: result.first)
    (first,) = split.names(missing[0].rows[:1])
    raise RuntimeError(_lost(sum(m.chunks for m in missing), span.chunks, first))


def _by_node(nodes: Nodes, group: EnvRunnerGroup, runners: list[int]) -> dict[str, dict[int, Any]]:
    """The runners' handles, by the node that each is on."""
    unknown = [runner for runner in runners if runner not in nodes.homes]
    if unknown:
        nodes.homes |= group.foreach_env_runner(
            _home, remote_worker_ids=unknown, local_env_runner=False
        )
    handles = group._worker_manager.actors()
    found: dict[str, dict[int, Any]] = {}
    for runner in runners:
        if runner in nodes.homes:  # else it has ended since
            found.setdefault(nodes.homes[runner], {})[runner] = handles[runner]
    return found


def _home(runner: PathRunner) -> tuple[int, str]:
    return runner.worker_index, ray.get_runtime_context().get_node_id()


def _lost(missing: int, chunks: int, first: str) -> str:
    return (
        f"{missing} of {chunks} chunks were lost with their runners {ATTEMPTS} times over, the "
        f"first with {first}; look for the runners' own errors above (out of memory?), or train "
        "with --runners 0"
    )


def bring_back(group: EnvRunnerGroup, timeout_s: float = PROBE_S) -> list[int]:
    """Take runners that Ray has restarted into service again; returns their numbers.

    They need nothing from here: weights come with the chunks.
    """
    restored: list[int] = group.probe_unhealthy_env_runners(timeout_seconds=timeout_s)
    return restored


def ask_for_more(group: EnvRunnerGroup, runners: int) -> None:
    """Ask for runners up to that number. Those that there is no room for yet are in service when a
    node has come; until then they tell the cluster's autoscaler that one is wanted."""
    there = group.num_remote_env_runners()
    if runners > there:
        group.add_workers(runners - there, validate=False)
        for runner in group._worker_manager.actor_ids()[there:]:
            group._worker_manager.set_actor_state(runner, healthy=False)


def let_go(group: EnvRunnerGroup) -> None:
    """End runners that are not in service: RLlib would wait for their answer, for ever where they
    wait for a node."""
    handles = group._worker_manager.actors()
    for runner in set(handles) - set(group.healthy_env_runner_ids()):
        ray.kill(handles[runner])


def _healthy(group: EnvRunnerGroup, first: str) -> list[int]:
    """Runners to use now; where there are none, waits for one to be restarted. `first`: the episode
    that waits, for the message."""
    bring_back(group)
    patience = MACHINE_S if os.environ.get("RAY_ADDRESS") else RESTART_S
    deadline = time.monotonic() + patience
    if not group.healthy_env_runner_ids():
        print(f"every runner is lost; waiting {patience:.0f} s at most for another", flush=True)
    while not group.healthy_env_runner_ids():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"all {group.num_remote_env_runners()} runners were lost and none came back within "
                f"{patience:.0f} s, the first chunk waiting with {first}; look for "
                "the runners' own errors above (out of memory?), or train with --runners 0"
            )
        time.sleep(PROBE_S)  # a runner that is not up yet refuses at once
        bring_back(group, 1.0)
    workers: list[int] = group.healthy_env_runner_ids()
    return workers


def _sample(
    runner: PathRunner, chunks: list[Chunk], weights: ray.ObjectRef | None, number: int
) -> list[ChunkResult] | str | None:
    """The chunks' results, or the message of a fault that repeating would not heal; None where no
    weights are given and the runner does not have those of that number.

    Raised here, it would end the actor, and RLlib would tell the user no more than that.
    """
    try:
        if weights is None and not runner.holds(number):
            return None
        given = None if weights is None else ray.get(weights)
        return runner.sample(chunks=chunks, weights=given, number=number)
    except Exception:
        first, last = chunks[0].names[0], chunks[-1].names[-1]
        return f"a runner failed between {first} and {last}:\n{traceback.format_exc()}"
