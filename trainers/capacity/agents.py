"""What a run of an agent needs: learner and runners, their memory, steps a second, disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil
import torch

from envs.continuous.images import channels
from rayforge.irl.agent import Agent
from trainers.capacity.by_node import MEASURED as BY_NODE
from trainers.capacity.by_node import NodeSite, round_by_node
from trainers.capacity.cluster import GB, Cluster
from trainers.capacity.memory import BASES, FLOAT, Need
from trainers.capacity.placement import Processes
from trainers.capacity.rollouts import MEASURED, STEPS_A_CHUNK, Costs, Site, round_of
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes
from trainers.irl.run_folder import data_folder
from trainers.irl.system import resources
from trainers.irl.task import read_task

KEPT_A_STEP = 60
"""Numbers that autograd keeps for each step of a trajectory and hidden unit of the networks,
all of them together (langgoal, hidden 128; measured)."""
MEASURED_PARAMETERS = 4_925_000
"""Of the agent that `rollouts.MEASURED` is of: its 19.7 MB of acting weights are float32."""


@dataclass(frozen=True)
class AgentSize:
    """What memory and speed need to know of an agent and its data."""

    parameters: int
    acting: int
    """Parameters of policy and generator, which runners hold."""
    data: float
    """Resident bytes that reading the data took."""
    steps: int
    """Actions of a trajectory at most."""


def size_of(config: IRLConfig) -> AgentSize:
    """Read the data, whose words and features the networks' sizes come from; build no weights.

    Raises DataError as the readers do.
    """
    before = psutil.Process().memory_info().rss
    task = read_task(data_folder(config), config, ("train",))
    data = max(0, psutil.Process().memory_info().rss - before)
    sizes = agent_sizes(config, len(task.vocabulary), task.world.dimension)
    with torch.device("meta"):
        whole, acting = Agent(**sizes), Agent(**sizes, acting_only=True)
    steps = task.splits["train"].paths.length.max(initial=1)
    return AgentSize(_count(whole), _count(acting), float(data), int(steps))


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def processes(config: IRLConfig, size: AgentSize) -> list[Processes]:
    """The learner, in the command's process, or that process and several; and the runners."""
    gpu, learners = config.device == "cuda", config.learners
    pairs = config.batch * (3 if config.adversarial else 1) / max(1, learners)
    tensors = {
        "weights": size.parameters * FLOAT,
        "gradients": size.parameters * FLOAT,
        "Adam's moments": 2 * size.parameters * FLOAT,
        "activations": pairs * size.steps * config.network.hidden * KEPT_A_STEP * FLOAT,
    }
    replay = config.replay * size.steps * 8 if config.adversarial else 0
    base: dict[str, float] = {"programs": BASES.agent, "data": size.data}
    command = {**base, "replay": float(replay)}
    host = base if learners else command
    if config.env == "continuous" and config.adversarial:
        # Learners of one node share them; each is given its own here.
        camera = config.simulation.camera
        walk = size.steps * camera.height * camera.width * channels(camera)
        host = {
            **host,
            "images of roll-outs": float(min(config.replay, config.replay_window) * walk),
        }
    learner = Need(host, {"CUDA": BASES.cuda, **tensors}) if gpu else Need({**host, **tensors}, {})
    runner = Need(
        {"programs": BASES.runner, "data": size.data, "weights": size.acting * FLOAT * 2.0}, {}
    )
    reserved = resources(config)
    found = [Processes("the learner", 1, reserved.bundles[0], learner)]
    if learners:
        found = [
            Processes("the command", 1, reserved.bundles[0], Need(command, {})),
            Processes("learner", learners, reserved.bundles[1], learner),
        ]
    if config.runners:
        found.append(Processes("runner", config.runners, reserved.bundles[-1], runner))
    return found


def costs_of(size: AgentSize, core_gflops: float) -> Costs:
    """The measured costs at this agent's size: work and updates go with its parameters, bytes of
    weights with those that runners hold."""
    factor = size.acting / MEASURED_PARAMETERS * 30.0 / core_gflops
    return replace(
        MEASURED, work_s=MEASURED.work_s * factor, spread_s=MEASURED.spread_s * factor,
        update_s=MEASURED.update_s * factor, weights=size.acting * FLOAT,
    )  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Roll-outs of a run by the model of docs/scaling.md."""

    steps: float
    """Actions a second."""
    efficiency: float
    iteration_s: float
    limit: str


def rate(config: IRLConfig, size: AgentSize, cluster: Cluster) -> Rate:
    """Steps a second of roll-outs, seconds of an iteration, and the part that takes longest.

    Several learners divide an update's work and exchange its gradients, there and back.
    """
    node = min(cluster.nodes, key=lambda n: n.core_gflops)
    costs, bandwidth = costs_of(size, node.core_gflops), node.network_gbit * 1e9 / 8
    runners, learners = max(1, config.runners), max(1, config.learners)
    chunks = max(1, -(-config.episodes_per_iteration // 64))
    each = max(1, -(-chunks // runners))
    exchange = 2 * size.parameters * FLOAT / bandwidth if learners > 1 else 0.0
    updates = config.updates_per_iteration * (costs.update_s / learners + exchange)
    if 0 < config.aggregate_from <= runners:
        uneven = NodeSite(costs.work_s, costs.spread_s, each, node.cpus, bandwidth)
        taken = round_by_node(replace(BY_NODE, weights=costs.weights), uneven, runners)
        seconds, driver, weights = taken.seconds, taken.driver, taken.weights
        work, results = taken.work + taken.waiting + taken.gather, taken.results
    else:
        direct = round_of(costs, Site(bandwidth, node.cpus, each), runners)
        seconds, driver, weights = direct.seconds, direct.driver, direct.weights_out
        work, results = direct.work, direct.results_in
    parts = {
        "the runners' work": work, "the driver": driver, "weights to the nodes": weights,
        "results": results, "the learner's updates": updates,
    }  # fmt: skip
    iteration = max(seconds, updates) if config.staleness else seconds + updates
    return Rate(
        chunks * STEPS_A_CHUNK / seconds,
        each * costs.work_s / seconds,
        iteration,
        max(parts, key=lambda name: parts[name]),
    )


def disk(size: AgentSize) -> float:
    """Bytes of a run folder: two checkpoints while one takes the place of the other."""
    return 2 * 3 * size.parameters * FLOAT + 0.05 * GB
