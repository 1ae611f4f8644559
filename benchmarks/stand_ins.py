"""Roll-outs on up to 256 stand-ins that wait instead of computing, through aggregators.

    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 python -m benchmarks.stand_ins --out runs/stand_ins

What this machine's processors cannot show with runners that compute (`benchmarks.scaling`):
whether the driver, its aggregators and Ray keep many runners at work. A stand-in takes a chunk,
waits as long as a chunk took a runner, and returns arrays of a result's size. A process of its own
for each would take 25 GB here: the stand-ins of a node are threads of one actor, each with one
chunk at a time. Everything else is what training uses: `trainers.irl.aggregator.Nodes`, spans,
weights of an agent of the default size, new ones each round. Nodes are Ray's own, all on this
machine, with 32 stand-ins each.

The costs of `trainers.capacity.by_node` are the processor seconds of rounds of up to 128 stand-ins;
256 are forecast from them. Writes stand_ins.json.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import torch
import tyro
from ray.cluster_utils import Cluster
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from scipy.optimize import nnls

from benchmarks.scaling import LOOPBACK
from envs.houses.dataset import write_houses
from rayforge.irl.agent import Agent
from rayforge.irl.labelling import Labels
from rayforge.irl.replay import Replay
from rayforge.irl.rollout import Rollout
from trainers.capacity.by_node import (
    NodeCosts,
    NodeSite,
    efficiency_by_node,
    round_by_node,
    saturated_by,
)
from trainers.capacity.rollouts import MEASURED
from trainers.irl.aggregator import Aggregator, Nodes
from trainers.irl.algorithm import sizes_of
from trainers.irl.chunks import CHUNK, Span
from trainers.irl.config import IRLConfig
from trainers.irl.dispatch import _sample
from trainers.irl.runner import Chunk, ChunkResult
from trainers.irl.task import Task, read_task
from trainers.runs.folder import hardware

NICENESS = "RAY_worker_niceness"
A_NODE = 32
"""Stand-ins of a node."""
RESULT = 17_000
"""Bytes of a chunk's result, as pickled (33 kB of a real run, whose paths are longer)."""
LARGEST = 128
"""Stand-ins of the largest rounds that costs are taken from."""
NODE = {"object_store_memory": 160 * 2**20}


class StandIn:
    """Takes a runner's place for `_sample`."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.turn = threading.Lock()
        self.number = -1

    def holds(self, number: int) -> bool:
        return number == self.number

    def sample(
        self, *, chunks: list[Chunk], weights: dict[str, Any] | None, number: int
    ) -> list[ChunkResult]:
        self.number = number
        with self.turn:  # a runner rolls one chunk out after the other
            found = []
            for chunk in chunks:
                time.sleep(self.wait_s)
                found.append(_result(chunk))
        return found


class StandIns:
    """The stand-ins of a node."""

    def __init__(self, count: int, wait_s: float) -> None:
        self.own = [StandIn(wait_s) for _ in range(count)]

    def apply(self, place: int, function: Any) -> Any:
        return function(self.own[place])

    def where(self) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), os.getpid()


@dataclass(frozen=True)
class Handle:
    """One stand-in, as an aggregator calls a runner: `handle.apply.remote(function)`."""

    actor: Any
    place: int

    @property
    def apply(self) -> Handle:
        return self

    def remote(self, function: Any) -> ray.ObjectRef:
        found: ray.ObjectRef = self.actor.apply.remote(self.place, function)
        return found


def _result(chunk: Chunk) -> ChunkResult:
    """As large as a real one: the demonstrations as if the agent had done the same."""
    paths, count = chunk.demonstrations, len(chunk.demonstrations)
    rows, ones = np.arange(count), np.ones(count, np.float32)
    return ChunkResult(
        chunk.first, chunk.first + rows, rows,
        Rollout(paths, np.ones(paths.action.shape, np.float32), ones),
        np.ones(int(chunk.rephrase.sum()), bool),
        Labels(paths.tokens, np.ones(count, bool), ones, ones), None, (),
    )  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One round, in seconds."""

    stand_ins: int
    nodes: int
    chunks: int
    clock: float
    driver: float
    """Of a processor, the driver's."""
    others: float
    """Of processors: aggregators, stand-ins and Ray's own processes."""
    episodes: int


@dataclass(frozen=True)
class StandInScaling:
    """Measure 8 to 256 stand-ins on 1 to 8 nodes."""

    out: Path
    """Folder for stand_ins.json."""
    stand_ins: tuple[int, ...] = (8, 32, 64, 128, 256)
    rounds: int = 3
    chunks: int = 4
    """Chunks a stand-in and round."""
    wait_s: float = 0.88
    """Seconds a chunk: what one took a runner (docs/scaling.md)."""
    without: tuple[int, ...] = (64,)
    """Numbers of stand-ins that are measured without aggregators as well: the driver calls each."""

    def __call__(self) -> None:
        if os.environ.get(LOOPBACK) != "0":
            raise SystemExit(f"stand_ins: its nodes ask for no token: give it {LOOPBACK}=0")
        os.environ[NICENESS] = "0"  # else all that computes goes before aggregators
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        if not (self.out / "houses").exists():
            write_houses(
                self.out / "houses", train_houses=4, unseen_houses=0, paths_per_house=60, seed=0
            )
        config = replace(IRLConfig(), data=str(self.out / "houses"))
        task = read_task(self.out / "houses", config, ("train",))
        weights = _weights(config, task)
        load = os.getloadavg()[0]
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **NODE},
        )
        samples: list[Sample] = []
        direct: list[Sample] = []
        try:
            ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
            actors: list[Any] = []
            nodes = Nodes()
            told = Replay(config.replay, config.step_limit, config.max_words)
            for count in self.stand_ins:
                runners = self._runners(cluster, actors, count)
                rounds = _Rounds(nodes, runners, task, weights, told, count * 1000)
                for number in range(self.rounds + 1):  # the first: processes start, not counted
                    sample = rounds.one(self.chunks if number else 1)
                    if number:
                        samples.append(sample)
                        _say(sample, self)
                if count in self.without:
                    direct += [rounds.one(self.chunks, direct=True) for _ in range(self.rounds)]
        finally:
            ray.shutdown()
            cluster.shutdown()
        costs = fit([s for s in samples if s.stand_ins <= LARGEST], weights)
        context = {
            "hardware": hardware(), "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "wait_s": self.wait_s, "chunks": self.chunks,
        }  # fmt: skip
        document = {
            "context": context, "costs": asdict(costs), "samples": [asdict(s) for s in samples],
            "without": [asdict(s) for s in direct],
        }  # fmt: skip
        (self.out / "stand_ins.json").write_text(json.dumps(document, indent=1) + "\n")
        print(report(samples, direct, costs, context))

    def _runners(
        self, cluster: Cluster, actors: list[Any], count: int
    ) -> dict[str, dict[int, Handle]]:
        """So many stand-ins by node; nodes that are not there yet are added."""
        while len(actors) * A_NODE < count:
            node = cluster.add_node(num_cpus=1, **NODE)
            cluster.wait_for_nodes(timeout=300)
            place = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            remote = ray.remote(
                num_cpus=0, max_concurrency=2 * A_NODE + 1, scheduling_strategy=place
            )(StandIns)
            actors.append(remote.remote(A_NODE, self.wait_s))
        homes = ray.get([actor.where.remote() for actor in actors])
        return {
            home: {
                first + place: Handle(actor, place) for place in range(min(A_NODE, count - first))
            }
            for first, actor, (home, _) in zip(range(0, count, A_NODE), actors, homes, strict=False)
        }


@dataclass
class _Rounds:
    nodes: Nodes
    runners: dict[str, dict[int, Handle]]
    task: Task[Any]
    weights: dict[str, Any]
    told: Replay[Any]
    number: int

    def one(self, chunks: int, direct: bool = False) -> Sample:
        """Roll a round out and take it in as training does: into the replay, and which of them
        reached their goals. Without aggregators where it is `direct`."""
        count, split = sum(len(own) for own in self.runners.values()), self.task.splits["train"]
        rows = np.random.default_rng(self.number).integers(len(split), size=count * chunks * CHUNK)
        self.number += 1
        others = _others()
        before = {process: _seconds(process) for process in others}
        clock, own = time.perf_counter(), time.process_time()
        span = Span(self.number * 10**6, rows, 0, True, rows % 2 == 0, True)
        shared = ray.put(self.weights)
        if direct:
            everybody = {n: h for handles in self.runners.values() for n, h in handles.items()}
            found = Aggregator().gather(
                span, [ray.put(split)], everybody, _sample, [shared], self.number, True
            )
        else:
            found = self.nodes.gather(self.runners, span, split, _sample, shared, self.number)
        for result in found.results:
            if result.rollout is not None:
                paths = result.rollout.paths
                self.told.add(paths, result.numbers)
                answered = rows[result.first - span.first + result.rows]
                self.task.world.reached(split, answered, paths)
        clock, own = time.perf_counter() - clock, time.process_time() - own
        taken = sum(_seconds(process) - before.get(process, 0.0) for process in _others())
        if found.fault or found.lost:
            raise RuntimeError(found.fault or f"stand-ins {found.lost} were lost")
        episodes = sum(len(result.numbers) for result in found.results)
        assert episodes == len(rows)
        return Sample(count, len(self.runners), count * chunks, clock, own, taken, episodes)


def _weights(config: IRLConfig, task: Any) -> dict[str, Any]:
    agent = Agent(**sizes_of(config, task), acting_only=True)
    return {DEFAULT_MODULE_ID: {name: v.numpy() for name, v in agent.state_dict().items()}}


def _others() -> list[psutil.Process]:
    """Every process of the cluster but this one."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def _seconds(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.Error:
        return 0.0


def _say(sample: Sample, settings: StandInScaling) -> None:
    ideal = settings.chunks * settings.wait_s
    print(
        f"{sample.stand_ins} stand-ins on {sample.nodes} nodes: {sample.clock:.2f} s of "
        f"{ideal:.2f}, driver {sample.driver:.3f} s, others {sample.others:.2f} s",
        flush=True,
    )


def fit(samples: Sequence[Sample], weights: dict[str, Any]) -> NodeCosts:
    """Costs by least squares, none below zero; a byte's is that of `benchmarks.scaling`."""
    sizes = np.array([[1.0, s.nodes, s.chunks] for s in samples])
    (round_s, node_s, chunk_s), _ = nnls(sizes, np.array([s.driver for s in samples]))
    (_, node, chunk), _ = nnls(sizes, np.array([s.others for s in samples]))
    size = sum(array.nbytes for array in weights[DEFAULT_MODULE_ID].values())
    return NodeCosts(
        round_s=float(round_s), node_s=float(node_s), chunk_s=float(chunk_s),
        gather_s=float(chunk), others_s=float(node), weights=size, result=RESULT,
        byte_s=MEASURED.byte_s,
    )  # fmt: skip


def report(
    samples: Sequence[Sample], direct: Sequence[Sample], costs: NodeCosts, context: dict[str, Any]
) -> str:
    """What was measured beside the model, and the model to 1,000 runners, as Markdown."""
    chunks, wait = context["chunks"], context["wait_s"]
    here = NodeSite(wait, 0.0, chunks, A_NODE, shared=float(os.cpu_count() or 1))
    lines = [
        f"{context['hardware']}; load {context['load'][0]} before, {context['load'][1]} after",
        "",
        "| stand-ins | nodes | round, clock: median (least) | efficiency: median (best) | driver "
        "| driver's share | others, processor | model | measured / model |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in (("", samples), (", each called by the driver", direct)):
        for count in dict.fromkeys(s.stand_ins for s in found):
            own = [s for s in found if s.stand_ins == count]
            clock, least = statistics.median(s.clock for s in own), min(s.clock for s in own)
            driver = statistics.median(s.driver for s in own)
            model = round_by_node(costs, here, count).seconds
            modelled = f"{model:.2f} s | {clock / model:.2f}" if not name else "| "
            lines.append(
                f"| {count}{name} | {own[0].nodes} | {clock:.2f} s ({least:.2f}) "
                f"| {chunks * wait / clock:.2f} ({chunks * wait / least:.2f}) | {driver:.3f} s "
                f"| {driver / clock:.1%} | {statistics.median(s.others for s in own):.2f} s "
                f"| {modelled} |"
            )
    lines += ["", "| costs | |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in asdict(costs).items()]
    lines += [
        "", "| runners | chunks a runner | efficiency, in turn | with a spread of 0.11 s a chunk "
        "| two rounds under way beside updates | driver | weights | results |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for each in (chunks, 2 * chunks):
        for count in (8, 64, 256, 1000):
            site = NodeSite(wait, 0.0, each)
            uneven = replace(site, spread_s=0.11)
            parts = round_by_node(costs, site, count)
            lines.append(
                f"| {count:,} | {each} | {efficiency_by_node(costs, site, count):.2f} "
                f"| {efficiency_by_node(costs, uneven, count):.2f} "
                f"| {efficiency_by_node(costs, uneven, count, beside=True):.2f} "
                f"| {parts.driver:.2f} s | {parts.weights:.2f} s | {parts.results:.2f} s |"
            )
    most = saturated_by(costs, NodeSite(wait, 0.0, chunks))
    lines += ["", *(f"{part} takes as long as the work at {n:,.0f} runners, {chunks} chunks each"
                    for part, n in most.items())]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(StandInScaling)()
