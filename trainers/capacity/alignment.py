"""What an alignment needs: its processes, their memory, seconds a round, disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainers.alignment.config import AlignConfig
from trainers.alignment.system import resources
from trainers.capacity.cluster import GB, Cluster, Node
from trainers.capacity.memory import (
    BASES,
    FLOAT,
    HALF,
    ModelSize,
    Need,
    answering_need,
    model_configuration,
    model_size,
    training_need,
)
from trainers.capacity.placement import Processes

CPU_BANDWIDTH = 10e9
"""Bytes a second between a CPU and its memory [assumed]."""


def configuration_of(config: AlignConfig) -> Any:
    """transformers' configuration of the model that a run would train."""
    if config.model != "tiny":
        return model_configuration(config.model)
    from transformers import LlamaConfig

    tiny = config.tiny
    return LlamaConfig(
        vocab_size=tiny.vocabulary, hidden_size=tiny.width, intermediate_size=tiny.inner,
        num_hidden_layers=tiny.layers, num_attention_heads=tiny.heads,
        max_position_embeddings=tiny.context, tie_word_embeddings=True,
    )  # fmt: skip


def size_of(config: AlignConfig, tokens: int) -> ModelSize:
    return model_size(
        configuration_of(config), tokens, config.lora_rank, config.activation_checkpointing
    )


def processes(config: AlignConfig, size: ModelSize) -> list[Processes]:
    """The command itself, training workers, actors and the parts of vLLM's engines.

    Training and answering take turns, so a process that does both needs the larger of the two. On
    GPUs, workers, actors and engines take turns on the same ones, but for engines that are kept.
    """
    gpu = config.device == "cuda"
    world = max(1, config.workers)
    sequences = 2 * config.batch // (world * config.accumulate)
    training = training_need(size, sequences, world, config.shard, gpu)
    answering = actor_need(config, size)
    reserved = resources(config)
    own = Need({"programs": BASES.driver}, {})
    if not config.workers:
        own = _larger(own, training)
    if not config.actors:
        own = _larger(own, answering)
    found = [Processes("the command", 1, reserved.bundles[0], own)]
    worker = {"CPU": 1.0, **({"GPU": 1.0} if gpu else {})}
    others = training_need(size, sequences, world, config.shard, gpu, first=False)
    alike = config.workers
    if config.workers and others != training:
        found.append(Processes("first worker", 1, worker, training))
        alike -= 1
    if alike:
        found.append(Processes("training worker", alike, worker, others))
    kinds = [
        ("actor", config.actors, answering),
        ("part of an engine", config.engine_places, engine_need(config, size)),
    ]
    for name, count, need in kinds:
        if gpu and not (name == "part of an engine" and config.keep_engines):
            count = _in_turns(found, count, need)
        if count:
            found.append(Processes(name, count, worker, need))
    return found


def _in_turns(found: list[Processes], count: int, need: Need) -> int:
    """How many of `count` places are needed beside those that are there: a place that both use in
    turns is counted for the process that needs more of the GPU, and taken from the other."""
    left = count
    for row, one in reversed(list(enumerate(found))):
        shared = min(left, one.count)
        if "GPU" not in one.bundle or one.name == "the command" or not shared:
            continue
        left -= shared
        if one.need.gpu_bytes >= need.gpu_bytes:
            count -= shared
        else:
            found[row] = replace(one, count=one.count - shared)
    found[:] = [one for one in found if one.count]
    return count


def actor_need(config: AlignConfig, size: ModelSize) -> Need:
    """Memory of an actor: it scores, and answers where no engine does. Scoring keeps no keys and
    values of earlier tokens."""
    gpu = config.device == "cuda"
    scoring = answering_need(replace(size, cache_width=0), config.scoring_batch, gpu, config.half)
    if config.generator == "vllm" and config.actors:
        return scoring
    answers = config.generation_batch * (config.samples if config.generates else 1)
    return _larger(scoring, answering_need(size, answers, gpu, config.half))


def engine_need(config: AlignConfig, size: ModelSize) -> Need:
    """The least that a part of a vLLM engine needs: its share of the weights and of the keys and
    values of the answers under way. vLLM takes what else its card has as more room for those."""
    answers = config.generation_batch * config.samples
    whole = answering_need(size, answers, config.device == "cuda", config.half)
    parts = config.tensor_parallel

    def share(memory: dict[str, float]) -> dict[str, float]:
        fixed = ("programs", "CUDA")
        return {name: held if name in fixed else held / parts for name, held in memory.items()}

    return Need(share(whole.host), share(whole.gpu))


def _larger(one: Need, other: Need) -> Need:
    return Need(
        other.host if other.host_bytes > one.host_bytes else one.host,
        other.gpu if other.gpu_bytes > one.gpu_bytes else one.gpu,
    )


@dataclass(frozen=True)
class Phase:
    """A part of a round: how long, and what it waits for."""

    name: str
    seconds: float
    limit: str
    rate: float
    """Tokens a second."""


def phases(config: AlignConfig, size: ModelSize, cluster: Cluster, nodes: int) -> list[Phase]:
    """Seconds of a round's parts by a roofline: the slowest of arithmetic, memory and network.

    Arithmetic: 6 operations a parameter and token of training (8 where activations are computed
    again, 4 where an adapter alone is trained), 2 of answering and scoring. Memory: a sampled token
    reads all weights once for the whole batch. Network: twice the bytes of the gradients, or, where
    the model is split, its weights twice and its gradients once.
    """
    gpu = config.device == "cuda"
    node = _slowest(cluster, gpu)
    world = max(1, config.workers)
    flops = node.gpu_tflops * 1e12 * cluster.peak_share if gpu else node.core_gflops * 1e9
    bandwidth = node.gpu_bandwidth_gb * GB if gpu else CPU_BANDWIDTH
    number = HALF if config.half else FLOAT
    each = 4 if config.lora_rank else (8 if config.activation_checkpointing else 6)
    tokens = 2 * config.batch * size.tokens
    arithmetic = each * size.parameters * tokens / (flops * world)
    sent = (
        3 * size.parameters * number * config.accumulate if config.shard
        else 2 * size.trained * FLOAT
    ) * (world - 1) / world  # fmt: skip
    network = sent / (node.network_gbit * 1e9 / 8) if nodes > 1 else 0.0
    step = max(arithmetic, network)
    found = [
        Phase(
            "training", step * config.round_steps,
            "network" if network > arithmetic else "arithmetic", tokens / step,
        )
    ]  # fmt: skip
    helpers = max(1, config.actors)
    if config.generates:
        at_once = config.generation_batch * config.samples
        reading = size.parameters * number / bandwidth
        computing = 2 * size.parameters * at_once / flops
        answers = config.prompts * config.samples
        batches = -(-answers // (at_once * helpers))
        token = max(reading, computing)
        found.append(
            Phase(
                "answering", batches * config.max_new_tokens * token,
                "memory" if reading > computing else "arithmetic", at_once * helpers / token,
            )
        )  # fmt: skip
    scored = 2 * config.batch * config.round_steps * size.tokens
    rate = flops * helpers / (2 * size.parameters)
    found.append(Phase("scoring", scored / rate, "arithmetic", rate))
    return found


def _slowest(cluster: Cluster, gpu: bool) -> Node:
    with_them = [node for node in cluster.nodes if node.gpus] if gpu else []
    nodes = with_them or list(cluster.nodes)
    return min(nodes, key=lambda n: n.gpu_tflops if with_them else n.core_gflops)


def disk(config: AlignConfig, size: ModelSize) -> float:
    """Bytes of a run folder at its largest: a model a round, and one checkpoint inside a round."""
    models = config.round_count * size.parameters * FLOAT
    return models + (3 * size.trained * FLOAT if config.checkpoint_steps else 0)


def remedies(config: AlignConfig, cluster: Cluster) -> Iterator[tuple[str, AlignConfig]]:
    """Changes that need less memory, the gentlest first, in the words of the command line."""
    world = max(1, config.workers)
    share = config.batch // world
    for parts in (2, 4, 8, 16, 32):
        if parts > config.accumulate and share % parts == 0:
            yield f"--accumulate {parts}", replace(config, accumulate=parts)
    if not config.activation_checkpointing:
        most = max((p for p in (1, 2, 4, 8, 16, 32) if share % p == 0), default=1)
        yield (
            f"--activation-checkpointing --accumulate {most}",
            replace(config, activation_checkpointing=True, accumulate=most),
        )
    gpu = config.device == "cuda"
    places = sum(node.count * (node.gpus if gpu else node.cpus) for node in cluster.nodes)
    for workers in (2, 4, 8, 16, 32, 64, 128, 256):
        if workers <= places and config.batch % workers == 0 and workers >= world:
            yield (
                f"--workers {workers} --shard --activation-checkpointing",
                replace(
                    config, workers=workers, shard=True, activation_checkpointing=True,
                    accumulate=1, actors=config.actors if config.generator == "vllm" else 0,
                ),
            )  # fmt: skip
    for parts in (2, 4, 8):
        if config.generator == "vllm" and parts > config.tensor_parallel:
            yield f"--tensor-parallel {parts}", replace(config, tensor_parallel=parts)
    if not config.lora_rank:
        yield "--lora-rank 16", replace(config, lora_rank=16)


def model_name(config: AlignConfig) -> str:
    return config.model if config.model == "tiny" else Path(config.model).name
