"""Roll-outs on 1 to 8 nodes, measured; to a thousand runners, from what that cost.

    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 python -m benchmarks.scaling --out runs/scaling

The nodes are Ray's own (`ray.cluster_utils.Cluster`), all on this machine, a runner on each; the
variable keeps them on loopback (docs/jobs.md). Beyond its processors they share what there is, so
efficiency counts per second of a processor: environment steps for each that runners, driver and
Ray's processes take. The same rounds give the costs of `trainers.capacity.rollouts`, which must
predict the clock's time of the small end, and then says where learner, driver, network, object
store and head saturate. Writes scaling.json and a page with the curves, scaling.html.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import statistics
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
from ray.experimental.internal_kv import _internal_kv_get
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from scipy.optimize import nnls

from envs.houses.dataset import write_houses
from rayforge.reports.page import report_page, write_page
from rayforge.reports.plots import Series, line_chart
from rayforge.reports.section import Pictures, Section
from trainers.capacity.rollouts import Costs, Site, efficiency, half_efficient, limits, round_of
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.chunks import CHUNK
from trainers.irl.config import IRLConfig
from trainers.irl.dispatch import hand_out
from trainers.irl.runner import Chunk
from trainers.irl.task import Task, read_task
from trainers.runs.folder import hardware

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
NODE = {"object_store_memory": 128 * 2**20}
PULLED = 32 * 2**20
"""Bytes of the object that is pulled to measure the object manager."""
CALLS = 3000
"""Calls of the head's control store that are timed."""


@dataclass(frozen=True)
class Sample:
    """One round of roll-outs: seconds on the clock, and of processors."""

    runners: int
    chunks: int
    steps: int
    clock: float
    driver: float
    each: tuple[float, ...]
    """Of every runner."""
    ray: float
    """Of Ray's processes on all nodes: node managers, control store."""
    head: float
    """Of the control store."""

    @property
    def work(self) -> float:
        return sum(self.each)

    @property
    def processors(self) -> float:
        return self.driver + self.work + self.ray


@dataclass(frozen=True)
class Scaling:
    """Measure 1 to 8 nodes and model a thousand runners."""

    out: Path
    """Folder for scaling.json and scaling.html."""
    runners: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of nodes, with a runner each; rising, from 1."""
    rounds: int = 3
    """Rounds measured of each number of runners and of chunks."""
    chunks: tuple[int, ...] = (1, 4)
    """Chunks a runner in a round; the last is what efficiency is measured and modelled with."""
    iterations: int = 2
    """Iterations of training from which the learner's update is timed."""

    def __call__(self) -> None:
        if os.environ.get(LOOPBACK) != "0":  # read by Ray when it is imported
            raise SystemExit(f"scaling: its nodes ask for no token: give it {LOOPBACK}=0")
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        began, load = time.perf_counter(), os.getloadavg()[0]
        config, task = _task(self.out / "houses")
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **NODE},
        )
        samples: list[Sample] = []
        measured: dict[str, Any] = {}
        try:
            ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
            cluster.add_node(num_cpus=1, resources={"rollout": 1}, **NODE)
            cluster.wait_for_nodes(timeout=300)
            algorithm = LangGoalIRLConfig().for_task(config, task).build_algo().start(task)
            _round(cluster, algorithm, 1)  # imports, first weights: not measured
            measured |= _sizes(algorithm)
            measured["update_s"] = _update(algorithm, self.iterations)
            for count in self.runners:
                measured["start_s"] = _grow(cluster, algorithm, count)
                self._measure(cluster, algorithm, samples)
            algorithm.stop()
            measured |= _pull(cluster)
            measured |= _calls(cluster)
        finally:
            ray.shutdown()
            cluster.shutdown()
        costs = fit(samples, measured)
        context = {
            "hardware": hardware(), "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "minutes": round((time.perf_counter() - began) / 60, 1),
            "episodes a chunk": CHUNK, "updates": config.updates_per_iteration,
            "chunks an iteration": config.episodes_per_iteration // CHUNK, **measured,
        }  # fmt: skip
        document = {
            "context": context, "costs": asdict(costs), "samples": [asdict(s) for s in samples],
        }  # fmt: skip
        (self.out / "scaling.json").write_text(json.dumps(document, indent=1) + "\n")
        print(report(samples, costs, context, self.chunks[-1]))
        print(write_page(self.out / "scaling.html", draw(samples, costs, self.chunks[-1])))

    def _measure(self, cluster: Cluster, algorithm: LangGoalIRL, samples: list[Sample]) -> None:
        """Rounds with the runners that there are go to `samples`."""
        count = algorithm.env_runner_group.num_remote_env_runners()
        for _ in range(self.rounds):
            for each in self.chunks:
                sample = _round(cluster, algorithm, each * count)
                samples.append(sample)
                print(
                    f"{count} runners, {sample.chunks} chunks: {sample.clock:.2f} s, processors "
                    f"{sample.processors:.2f} s",
                    flush=True,
                )


def _grow(cluster: Cluster, algorithm: LangGoalIRL, count: int) -> float:
    """Add nodes with a runner each until there are `count`; processor seconds of the control store
    for each."""
    group, head = algorithm.env_runner_group, _head(cluster)
    more = count - group.num_remote_env_runners()
    if not more:
        return 0.0
    before = _seconds(head)
    for _ in range(more):
        cluster.add_node(num_cpus=1, resources={"rollout": 1}, **NODE)
    cluster.wait_for_nodes(timeout=300)
    group.add_workers(more, validate=True)
    _round(cluster, algorithm, count)  # first weights: not measured
    found: float = (_seconds(head) - before) / more
    return found


def _task(folder: Path) -> tuple[IRLConfig, Task[Any]]:
    """The default agent on generated houses."""
    if not folder.exists():
        write_houses(folder, train_houses=4, unseen_houses=0, paths_per_house=60, seed=0)
    # Short generator and clone phases: what is measured is an adversarial iteration.
    base = IRLConfig()
    config = replace(
        base, data=str(folder), clone_updates=1, warm_up=0, threads=1, runners=1,
        runner_resource="rollout",
        generator=replace(base.generator, updates=1),
    )  # fmt: skip
    return config, read_task(folder, config, ("train",))


def _round(cluster: Cluster, algorithm: LangGoalIRL, chunks: int) -> Sample:
    """Roll `chunks` chunks out and see what it took of whom."""
    split = algorithm.train_split
    rows = np.random.default_rng(chunks).integers(len(split), size=chunks * CHUNK)
    pids = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )
    runners, nodes, head = [psutil.Process(p) for p in pids], _nodes(cluster), _head(cluster)
    before = [[_seconds(process) for process in group] for group in (runners, nodes, [head])]
    clock, own = time.perf_counter(), time.process_time()
    results = algorithm.roll_out(split, rows, sample=True, label=True)
    clock, own = time.perf_counter() - clock, time.process_time() - own
    work, managers, (control,) = (
        [_seconds(process) - since for process, since in zip(group, times, strict=True)]
        for group, times in zip((runners, nodes, [head]), before, strict=True)
    )
    steps = sum(int(r.rollout.paths.length.sum()) for r in results if r.rollout is not None)
    system = sum(managers) + control
    return Sample(len(pids), chunks, steps, clock, own, tuple(work), system, control)


def _seconds(process: psutil.Process) -> float:
    """Processor seconds that a process has taken since it began."""
    return float(sum(process.cpu_times()[:2]))


def _nodes(cluster: Cluster) -> list[psutil.Process]:
    """The node managers, which hold the object managers, too; the driver's node first."""
    return [
        psutil.Process(node.all_processes["raylet"][0].process.pid)
        for node in (cluster.head_node, *cluster.worker_nodes)
    ]


def _head(cluster: Cluster) -> psutil.Process:
    return psutil.Process(cluster.head_node.all_processes["gcs_server"][0].process.pid)


def _sizes(algorithm: LangGoalIRL) -> dict[str, int]:
    """Bytes, as pickled, of the weights, of a chunk that goes out, and of its result."""
    rows, split = np.arange(CHUNK), algorithm.train_split
    plain = np.zeros(CHUNK, bool)
    chunk = Chunk(0, 0, split.paths[rows], split.names(rows), True, plain, label=True)
    weights = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
    )[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
    (result,) = hand_out(algorithm.env_runner_group, [chunk], ray.put(weights), -2)
    names = ("weights", "chunk", "result")
    return {
        name: len(pickle.dumps(value))
        for name, value in zip(names, (weights, chunk, result), strict=True)
    }


def _update(algorithm: LangGoalIRL, iterations: int) -> float:
    """Processor seconds of an adversarial update in the driver's process, the learner's."""
    while algorithm.phase != "irl":
        algorithm.train()
    algorithm.train()
    began, updates = time.process_time(), algorithm.counts["irl"]
    for _ in range(iterations):
        algorithm.train()
    return (time.process_time() - began) / (algorithm.counts["irl"] - updates)


def _pull(cluster: Cluster) -> dict[str, float]:
    """What it takes of the object managers to send an object from the driver's node to the others:
    of the sender or a receiver, whichever is more."""

    @ray.remote(num_cpus=0)
    def touch(array: np.ndarray) -> int:
        return int(array[-1])

    def send(array: np.ndarray) -> None:
        kept = ray.put(array)
        places = [NodeAffinitySchedulingStrategy(n.node_id, soft=False) for n in others]
        ray.get([touch.options(scheduling_strategy=place).remote(kept) for place in places])

    others = list(cluster.worker_nodes)
    send(np.zeros(10**6, np.uint8))  # starts the workers
    nodes = _nodes(cluster)
    before, clock = [_seconds(node) for node in nodes], time.perf_counter()
    send(np.zeros(PULLED, np.uint8))
    clock = time.perf_counter() - clock
    sender, *receivers = (_seconds(n) - since for n, since in zip(nodes, before, strict=True))
    byte_s = max(sender / len(others), max(receivers)) / PULLED
    return {"byte_s": byte_s, "pull_bytes_a_second": PULLED * len(others) / clock}


def _calls(cluster: Cluster) -> dict[str, float]:
    """How many calls a second the control store answers one caller, and what one takes of it."""
    head = _head(cluster)
    before, clock = _seconds(head), time.perf_counter()
    for _ in range(CALLS):
        _internal_kv_get(b"nothing")
    clock = time.perf_counter() - clock
    return {"calls_a_second": CALLS / clock, "call_head_s": (_seconds(head) - before) / CALLS}


def fit(samples: Sequence[Sample], measured: dict[str, Any]) -> Costs:
    """The model's costs: least squares over all rounds, none below zero."""
    sizes = np.array([[1.0, s.runners, s.chunks] for s in samples])
    (round_s, call_s, chunk_s), _ = nnls(sizes, np.array([s.driver for s in samples]))
    (base, each), _ = nnls(sizes[:, :2], np.array([s.head / s.clock for s in samples]))
    single = [s for s in samples if s.runners == 1]
    alone = [work for s in samples if s.chunks == s.runners for work in s.each]
    return Costs(
        round_s=float(round_s), call_s=float(call_s), chunk_s=float(chunk_s),
        work_s=sum(s.work for s in single) / sum(s.chunks for s in single),
        spread_s=float(np.std(alone)) if alone else 0.0,
        update_s=measured["update_s"], weights=measured["weights"], result=measured["result"],
        byte_s=measured["byte_s"], head_share=float(base), head_share_runner=float(each),
        start_s=measured["start_s"],
    )  # fmt: skip


def _pick(samples: Sequence[Sample], each: int) -> dict[int, list[Sample]]:
    """The rounds of so many chunks a runner, by the number of runners."""
    found: dict[int, list[Sample]] = {}
    for s in samples:
        if s.chunks == each * s.runners:
            found.setdefault(s.runners, []).append(s)
    return found


def report(samples: Sequence[Sample], costs: Costs, context: dict[str, Any], each: int) -> str:
    """The measured small end beside the model's, then the model's large end, as Markdown."""
    here = Site(
        bandwidth=math.inf, runners_per_node=1, chunks_per_runner=each, cores=os.cpu_count() or 1
    )
    by_runners = _pick(samples, each)
    speeds = {
        n: sum(s.steps for s in rounds) / sum(s.processors for s in rounds)
        for n, rounds in by_runners.items()
    }
    lines = [
        f"{context['hardware']}; load {context['load'][0]} before, {context['load'][1]} after; "
        f"{context['minutes']} minutes",
        "",
        "| nodes | steps a processor second | efficiency | steps/s, clock | round, clock: median "
        "(least) | model | measured / model |",
        "|---|---|---|---|---|---|---|",
    ]
    for n, rounds in by_runners.items():
        clocks = [s.clock for s in rounds]
        middle, model = statistics.median(clocks), round_of(costs, here, n).seconds
        lines.append(
            f"| {n} | {speeds[n]:,.0f} | {speeds[n] / speeds[min(speeds)]:.2f} "
            f"| {statistics.median(s.steps / s.clock for s in rounds):,.0f} "
            f"| {middle:.2f} s ({min(clocks):.2f}) | {model:.2f} s | {middle / model:.2f} |"
        )
    site = Site(chunks_per_runner=each)
    steps = sum(s.steps for s in samples) / sum(s.chunks for s in samples)
    lines += [
        "", "| costs | |", "|---|---|",
        *(f"| {name} | {value:.3g} |" for name, value in asdict(costs).items()),
        f"| chunk, bytes | {context['chunk']} |",
        f"| head, calls a second of one caller | {context['calls_a_second']:,.0f} |",
        f"| head, calls a second of a busy processor | {1 / context['call_head_s']:,.0f} |"
        if context["call_head_s"] else "| head, seconds a call | too few to see |",
        f"| pulled bytes a second, all nodes | {context['pull_bytes_a_second']:.3g} |",
        "", f"Model: {site}", "",
        "| runners | steps/s | efficiency | driver s | weights out s | work s | results in s |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for n in (1, 2, 8, 32, 128, 256, 512, 1000):
        parts = round_of(costs, site, n)
        lines.append(
            f"| {n:,} | {steps * each * n / parts.seconds:,.0f} "
            f"| {efficiency(costs, site, n):.2f} | {parts.driver:.2f} | {parts.weights_out:.3f} "
            f"| {parts.work:.2f} | {parts.results_in:.3f} |"
        )
    lines += [
        "", f"Half of the runners' time is lost from {half_efficient(costs, site):,} on.", "",
        "| saturates | at runners | where |", "|---|---|---|",
        *(
            f"| {limit.part} | {limit.runners:,.1f} | {limit.why} |"
            for limit in limits(costs, site, context["updates"], context["chunks an iteration"])
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def draw(samples: Sequence[Sample], costs: Costs, each: int) -> str:
    """A page of three charts."""
    runners = np.unique(np.geomspace(1, 1000, 60).astype(int))
    steps = sum(s.steps for s in samples) / sum(s.chunks for s in samples)
    shares, speeds, parts = [], [], {}
    for colour, chunks in enumerate((1, each, 4 * each)):
        site = Site(chunks_per_runner=chunks)
        name = f"{chunks} chunks a runner and round"
        shares.append(
            Series(name, runners, np.array([efficiency(costs, site, n) for n in runners]), colour)
        )
        rates = [steps * chunks * n / round_of(costs, site, n).seconds for n in runners]
        speeds.append(Series(name, runners, np.array(rates), colour))
    site = Site(chunks_per_runner=each)
    for name in ("driver", "weights_out", "work", "results_in"):
        parts[name] = np.array([getattr(round_of(costs, site, n), name) for n in runners])
    pictures = [
        *line_chart("Efficiency", shares, x="runners", y="share", from_zero=True),
        *line_chart("Environment steps a second", speeds, x="runners", y="steps", from_zero=True),
        *line_chart(
            f"A round of {each} chunks a runner",
            [
                Series(name.replace("_", " "), runners, values, colour)
                for colour, (name, values) in enumerate(parts.items())
            ],
            x="runners", y="seconds", from_zero=True,
        ),
    ]  # fmt: skip
    title = "Roll-outs on up to 1,000 runners"
    return report_page(title, "RayForge benchmark", [Section("", [Pictures(pictures)])])


if __name__ == "__main__":
    tyro.cli(Scaling)()
