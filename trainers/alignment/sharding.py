"""A round's training with the model split among its workers: FSDP2, through TRL and accelerate.

Each worker holds its rows of every weight, gradient and moment of Adam, and gathers a layer's
weights while that layer computes. So a model need not fit one worker. The loss is that of one
process. Checkpoints are one safetensors file a worker, which any number of workers can go on from;
nothing in them is unpickled.

Designed here, after Zhao et al. 2023 (PyTorch FSDP) for what is split.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from rayforge.errors import CheckpointError
from rayforge.files import whole_file, write_text
from rayforge.readers.json_text import read_object
from trainers.alignment.models import Model, loaded
from trainers.alignment.pair_trainer import PairTrainer

MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of malloc.h."""
SCHEDULE = "schedule.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps of a parameter; all but the step is split like the parameter."""

FSDP_SETTINGS: dict[str, Any] = {
    "version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "cpu_ram_efficient_loading": True,
}  # fmt: skip
"""FSDP's settings in transformers' names: a unit a transformer layer; the first worker has the
weights, and the others get their rows from it."""


class ShardedTrainer(PairTrainer):
    """The same training, split where there are several processes."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self._split_on_cpus()
        # Until `train`, TRL is not to know: it would load a reference model, whose scores are in
        # the columns already.
        self.is_fsdp_enabled = False

    def _split_on_cpus(self) -> None:
        """accelerate splits on GPUs alone, though FSDP2 does on CPUs what it does there."""
        from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

        state: Any = self.accelerator.state
        if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
            plugin = self.args.fsdp_plugin_args
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin)
            _give_memory_back()

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Not where it is split: whole it need not fit a GPU, and the others' is empty."""
        if not self.args.fsdp:
            super()._move_model_to_device(model, device)

    def train(self, *arguments: Any, **named: Any) -> Any:
        self.is_fsdp_enabled = bool(self.args.fsdp)
        return super().train(*arguments, **named)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: a checkpoint's weights are in its shards."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        rank, world = self.args.process_index, self.args.world_size
        save_shard(folder, self._split_model, self._adam, rank, world)
        if rank == 0:
            state: Any = self.lr_scheduler.state_dict()  # type: ignore[union-attr]
            write_text(folder / SCHEDULE, json.dumps({"last_epoch": state["last_epoch"]}))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing yet: weights come with Adam's moments, once the model is split."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        rank, world = self.args.process_index, self.args.world_size
        load_shards(Path(checkpoint), self._split_model, self._adam, rank, world)
        schedule: Any = self.lr_scheduler
        file = Path(checkpoint) / SCHEDULE
        done = read_object(file, CheckpointError).get("last_epoch")
        if not isinstance(done, int) or isinstance(done, bool) or done < 0:
            raise CheckpointError(f"{file}: last_epoch is {str(done)[:80]}, expected steps")
        schedule.load_state_dict(schedule.state_dict() | {"last_epoch": done})
        # The step size is the configuration's, at the place of the schedule that was reached.
        for group, base, factor in zip(
            self._adam.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(done)

    @property
    def _split_model(self) -> torch.nn.Module:
        assert self.model is not None, "a trainer has a model"
        return self.model

    @property
    def _adam(self) -> torch.optim.Optimizer:
        found: Any = self.optimizer
        return getattr(found, "optimizer", found)  # type: ignore[no-any-return]


def _give_memory_back() -> None:
    """Let glibc return gathered layers to the system at once. By itself it raises its limit for
    that with each layer it frees, and keeps them all: a fifth of a worker's memory."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 1_000_000)


def rows(count: int, rank: int, world: int) -> tuple[int, int]:
    """First row and the one after the last that a process holds of `count` rows.

    As `torch.chunk` and FSDP2 split: ceil(count / world) rows each, as long as there are any.
    """
    size = -(-count // world)
    return min(rank * size, count), min((rank + 1) * size, count)


def save_shard(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, rank: int, world: int
) -> None:
    """Write this process's rows of every trained parameter and of Adam's moments.

    Frozen weights are not written: they are those of the folder that the round started from.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(model):
        tensors[f"weight/{name}"] = _local(parameter)
        kept = optimiser.state.get(parameter, {})
        for moment in MOMENTS:
            if moment in kept:
                tensors[f"{moment}/{name}"] = _local(kept[moment])
    # safetensors takes no two tensors of one memory.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / _name(rank, world)) as part:
        save_file(tensors, part)


@torch.no_grad()
def load_shards(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, rank: int, world: int
) -> None:
    """Take this process's rows from the shards of any number of processes.

    Raises CheckpointError where a shard is missing, damaged, or of another model.
    """
    files = _files(folder)
    opened = [_open(file) for file in files]
    for name, parameter in _trained(model):
        shape = tuple(parameter.shape)
        own = rows(shape[0], rank, world)
        _local(parameter).copy_(_joined(files, opened, f"weight/{name}", shape, own))
        state: dict[str, Tensor] = {}
        for moment in MOMENTS:
            key = f"{moment}/{name}"
            if key not in opened[0].keys():  # noqa: SIM118  (no mapping)
                continue
            if moment == "step":
                state[moment] = opened[0].get_tensor(key)  # the same in all
            else:
                state[moment] = _like(parameter, _joined(files, opened, key, shape, own))
        if state:
            optimiser.state[parameter] = state


def empty_model(folder: Path) -> Model:
    """A model whose weights were never written, for a worker that gets its rows from the first.

    They lie on the CPU, where a page takes memory once it is written: accelerate tells parameters
    apart by their addresses, which tensors on the meta device do not have.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = loaded(AutoConfig, folder)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            there = torch.empty_like(parameter, device="cpu")
            setattr(module, name, torch.nn.Parameter(there))
    model.tie_weights()
    return model


def whole_weights(model: torch.nn.Module, first: bool) -> dict[str, Tensor]:
    """The whole weights on the first process, an empty dict on the others. All must call it."""
    found = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if first:
            found[name] = whole.cpu()
    return found


def joined_model(model: Any, weights: dict[str, Tensor]) -> Model:
    """An ordinary model with the whole weights (without a copy), which is saved as any other.

    Args:
        model: the split one, an adapter on it included.
        weights: of `whole_weights`.
    """
    from transformers import AutoModelForCausalLM

    adapters = getattr(model, "peft_config", None)
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(model.config)
        if adapters:
            from peft import get_peft_model

            made = get_peft_model(made, adapters["default"])
    made.load_state_dict(weights, assign=True)
    made.tie_weights()
    return made


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((n, p) for n, p in model.named_parameters() if p.requires_grad)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _like(parameter: Tensor, own: Tensor) -> Tensor:
    """Rows as a tensor that is split as the parameter is."""
    if not isinstance(parameter, DTensor):
        return own
    return DTensor.from_local(
        own.to(parameter.device), parameter.device_mesh, parameter.placements, run_check=False,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip


def _name(rank: int, world: int) -> str:
    return f"shard-{rank:05d}-of-{world:05d}.safetensors"


def _files(folder: Path) -> list[Path]:
    """The shards of a checkpoint in order. Raises CheckpointError where they are not one set."""
    found = sorted(folder.glob("shard-*-of-*.safetensors"))
    worlds = {file.name.split("-of-")[1] for file in found}
    if len(worlds) > 1:
        raise CheckpointError(
            f"{folder} holds shards of different numbers of workers ({found[0].name}, "
            f"{found[-1].name}): keep one set, or remove the folder and go on with --resume"
        )
    world = int(found[0].stem.split("-of-")[1]) if found else 1
    wanted = [folder / _name(rank, world) for rank in range(world)]
    missing = [file.name for file in wanted if file not in found]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {missing[0]} ({len(found)} of {world} shards are there): copy it "
            "there, or remove the folder and go on with --resume"
        )
    return wanted


def _open(file: Path) -> Any:
    try:
        return safe_open(file, "pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({str(error)[:80]}): remove its folder and go on with --resume"
        ) from None


def _joined(
    files: list[Path], opened: list[Any], key: str, shape: tuple[int, ...], own: tuple[int, int]
) -> Tensor:
    """Rows own[0] to own[1] of a tensor, from the shards that hold them."""
    parts = [torch.empty((0, *shape[1:]))]
    for rank, shard in enumerate(opened):
        first, last = rows(shape[0], rank, len(opened))
        start, end = max(first, own[0]), min(last, own[1])
        if start >= end:
            continue
        try:
            held = shard.get_slice(key)
            if tuple(held.get_shape()) != (last - first, *shape[1:]):
                raise CheckpointError(
                    f"{files[rank]}: {key} has the shape {held.get_shape()}, which is not that of "
                    "this model; remove the folder and go on with --resume"
                )
            parts.append(held[start - first : end - first])
        except SafetensorError as error:
            raise CheckpointError(
                f"{files[rank]} cannot be read at {key} ({str(error)[:80]}): remove its folder "
                "and go on with --resume"
            ) from None
    return torch.cat(parts)
