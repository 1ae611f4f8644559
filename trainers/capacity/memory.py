"""Memory of a language model's processes, from its configuration alone.

The model is built on torch's meta device, where tensors have shapes and no numbers, so that one of
seventy billion parameters is planned on a laptop. What autograd keeps for the backward pass is
counted there as well, storage by storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rayforge.errors import ConfigurationError

FLOAT = 4
HALF = 2


@dataclass(frozen=True)
class ModelSize:
    """What memory and speed need to know of a model."""

    parameters: int
    trained: int
    """Parameters that are trained: all, or those of the LoRA adapter."""
    layers: int
    width: int
    vocabulary: int
    cache_width: int
    """Numbers that a token leaves in the cache of one layer: keys and values."""
    kept: int
    """Bytes that autograd keeps for one sequence of `tokens` tokens, in float32."""
    tokens: int
    largest_layer: int
    """Parameters of the largest unit that is gathered at once where the model is split."""


def model_size(configuration: Any, tokens: int, lora_rank: int, checkpointing: bool) -> ModelSize:
    """Build a model on the meta device and count.

    Args:
        configuration: transformers' configuration of the model.
        tokens: length of the sequence that is trained on.
        lora_rank: rank of the adapter on all linear layers, 0 for none.
        checkpointing: whether a layer keeps its input alone and is computed again backwards.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(configuration)
    whole = sum(p.numel() for p in model.parameters())
    layers = _layers(model)
    largest = max(
        [sum(p.numel() for p in layer.parameters()) for layer in layers]
        + [model.get_input_embeddings().weight.numel()]
    )
    trained = whole
    if lora_rank:
        from peft import LoraConfig, get_peft_model

        with torch.device("meta"):
            model = get_peft_model(
                model, LoraConfig(r=lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
            )
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = configuration.get_text_config()
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelSize(
        whole, trained, text.num_hidden_layers, text.hidden_size, text.vocab_size,
        2 * (getattr(text, "num_key_value_heads", None) or heads) * head,
        _kept(model, layers, tokens, text.hidden_size, checkpointing), tokens, largest,
    )  # fmt: skip


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a transformer: the longest list of equal modules in it."""
    lists = [list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    if not lists:
        raise ConfigurationError("the model has no list of layers, so its memory cannot be planned")
    return max(lists, key=len)


def _kept(
    model: Any, layers: list[torch.nn.Module], tokens: int, width: int, checkpointing: bool
) -> int:
    """Bytes that the backward pass of one sequence needs, weights apart.

    The output layer is left out: TRL computes its log-probabilities in parts.
    """
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    storages: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            storages[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # so that no other storage takes its address
        return tensor

    inner = getattr(model, "get_base_model", lambda: model)()
    body = inner.get_decoder() if hasattr(inner, "get_decoder") else inner.base_model
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        # A mask in its final form: from a shorter one transformers would read numbers.
        mask = torch.zeros(1, 1, tokens, tokens, device="meta")
        hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    alive.append(hidden)
    total: int = sum(storages.values()) + hidden.untyped_storage().nbytes()
    if not checkpointing:
        return total
    # One layer is whole at a time; of the others, their inputs.
    return len(layers) * tokens * width * FLOAT + total // len(layers)


@dataclass(frozen=True)
class Need:
    """Memory of one process in bytes, part by part."""

    host: dict[str, float]
    gpu: dict[str, float]

    @property
    def host_bytes(self) -> float:
        return sum(self.host.values())

    @property
    def gpu_bytes(self) -> float:
        return sum(self.gpu.values())


@dataclass(frozen=True)
class Bases:
    """Resident bytes of a process before it holds a model; measured with torch 2.13 for the CPU,
    Ray 2.60 and transformers 5.23 (`python -m benchmarks.capacity`)."""

    training: float = 0.53e9
    """Python with torch, transformers and TRL."""
    group: float = 0.07e9
    """What joining other workers adds."""
    actor: float = 0.55e9
    """A Ray actor with torch and transformers."""
    driver: float = 0.75e9
    """The command itself with Ray, its data read."""
    agent: float = 0.83e9
    """The learner of an agent: the command with torch, Ray and RLlib
    (`python -m benchmarks.agent_memory`)."""
    runner: float = 0.61e9
    """A runner of an agent, by the same."""
    cuda: float = 0.6e9
    """What CUDA and its libraries take on a GPU before the first tensor [assumed, not measured]."""


BASES = Bases()


TILE_TOKENS = 4096
"""Tokens of which TRL computes the output layer at once."""
TILES = 9.5
"""Arrays of that size that are alive at the worst moment on a CPU, counted in TRL 1.16; its kernel
for GPUs keeps one."""


def training_need(
    size: ModelSize, sequences: int, world: int, split: bool, gpu: bool, first: bool = True
) -> Need:
    """Memory of one training worker at its peak.

    Weights are float32 (on GPUs computed with in bfloat16), gradients and Adam's two moments are
    float32 and belong to the trained parameters. At the peak, in the backward pass, gradients stand
    beside what the forward pass kept, the parts of the logits among it: allocators give little back
    in between (measured).

    Args:
        size: the model.
        sequences: sequences that a worker computes at once, two a pair.
        world: workers.
        split: whether weights, gradients and moments are split among them.
        gpu: whether all this lies on a GPU.
        first: whether it is the first worker, which alone reads the weights of a split model and
            gathers them at the end of a round.
    """
    split = split and world > 1
    share = world if split else 1
    number = HALF if gpu else FLOAT
    tile = min(sequences * size.tokens, TILE_TOKENS) * size.vocabulary * number
    gradients = size.trained * FLOAT / share
    forward = size.kept * sequences * number / FLOAT
    logits = tile * (1.0 if gpu else TILES)
    parts = {
        "weights": size.parameters * FLOAT / share,
        "gradients": gradients,
        "Adam's moments": 2 * size.trained * FLOAT / share,
        # A worker of a split model gives memory back as it goes (`sharding`).
        "activations": max(0.0, forward + logits - gradients) if split else forward + logits,
    }
    if split:
        parts["gathered layers"] = 2.0 * size.largest_layer * number
    elif world > 1:
        parts["buckets of gradients"] = float(size.trained * FLOAT)
    programs = BASES.training + (BASES.group if world > 1 else 0.0)
    if gpu:
        host = {"programs": programs}
        if first or not split:
            host["weights while loading"] = float(size.parameters * FLOAT)
        return Need(host, {"CUDA": BASES.cuda, **parts})
    return Need({"programs": programs, **parts}, {})


def answering_need(size: ModelSize, answers: int, gpu: bool, half: bool) -> Need:
    """Memory of an actor that samples `answers` answers at once and scores responses."""
    number = HALF if half else FLOAT
    parts = {
        "weights": float(size.parameters * number),
        "cache of keys and values": float(
            size.layers * size.cache_width * number * answers * size.tokens
        ),
        "logits": answers * size.vocabulary * FLOAT * 2.0,
    }
    if gpu:
        return Need({"programs": BASES.actor}, {"CUDA": BASES.cuda, **parts})
    return Need({"programs": BASES.actor, **parts}, {})


def model_configuration(model: str, folder: Path | None = None) -> Any:
    """transformers' configuration of a model folder; nothing in it is run, no weight is read.

    Raises ConfigurationError where there is none.
    """
    from transformers import AutoConfig

    from trainers.alignment.models import loaded

    place = folder or Path(model)
    if not (place / "config.json").is_file():
        raise ConfigurationError(
            f"{model} is no model folder with a config.json: name a folder (its weights may be "
            "missing: a plan reads the configuration alone)"
        )
    return loaded(AutoConfig, place)
