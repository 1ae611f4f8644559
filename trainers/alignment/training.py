"""One round's training: TRL's DPOTrainer over pairs in token ids, in N Ray Train workers or here.

The pairs come in the order in which they are trained on and carry the reference's log-probabilities
from the score cache, so no worker holds a reference model and no score is computed twice. What a
worker needs is one small record; whatever it leaves is written whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from safetensors import SafetensorError
from safetensors.torch import load_model as load_safetensors
from safetensors.torch import save_model as save_safetensors
from transformers import TrainerCallback
from transformers.utils import logging
from trl import DPOConfig

from rayforge.errors import CheckpointError, DivergedError, UserError
from rayforge.files import whole_file, whole_folder, write_text
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import Tokeniser, load_tokeniser, load_weights, weights_dtype
from trainers.alignment.pair_trainer import PairTrainer, collator
from trainers.alignment.records import MetricsLog
from trainers.alignment.sharding import (
    FSDP_SETTINGS,
    ShardedTrainer,
    empty_model,
    joined_model,
    whole_weights,
)
from trainers.configuration import from_dict, to_dict
from trainers.runs.progress import ProgressLines

MASTER = "master.safetensors"
WHOLE = "whole"
"""Empty file that marks a checkpoint folder as completely written."""


@dataclass(frozen=True)
class TrainingJob:
    """One round of training: what, from where, to where."""

    run: Path
    round: int
    start: Path
    """Model folder that training starts from."""
    config: AlignConfig
    steps: int
    steps_before: int
    """Optimiser steps of earlier rounds."""

    @property
    def folder(self) -> Path:
        return self.run / "rounds" / str(self.round)

    @property
    def pairs(self) -> Path:
        """Parquet file of steps * batch rows in the order of training."""
        return self.folder / "order.parquet"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def master(self) -> Path:
        """The round's weights in float32, where its model is handed on in fewer bits."""
        return self.folder / MASTER

    @property
    def start_master(self) -> Path:
        """Those of the round before."""
        return self.start.parent / MASTER

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def train_round(job: TrainingJob, world: int = 1) -> None:
    """Train in this process; of `world` processes that torch.distributed has joined, one share.

    Goes on from the newest whole checkpoint of the round and leaves `rounds/<t>/model`.
    Raises CheckpointError where the disk does not take a checkpoint or the model.
    """
    rank = int(os.environ.get("RANK", "0")) if world > 1 else 0
    config, first = job.config, rank == 0
    if config.threads:
        torch.set_num_threads(config.threads)
    logging.disable_progress_bar()
    tokeniser = load_tokeniser(job.start)
    if first or not config.shard:
        model = load_weights(job.start, torch.float32)
        if job.round > 1 and job.start_master.is_file():
            load_safetensors(model, job.start_master)
    else:
        model = empty_model(job.start)
    saved = newest_checkpoint(job.checkpoints)
    done = int(saved.name.split("-")[1]) if saved else 0
    callback = _Follow(job, first, job.config.workers > 0, done)
    trainer = (ShardedTrainer if config.shard else PairTrainer)(
        model=model,
        args=arguments(job, world),
        train_dataset=Dataset(InMemoryTable(pq.read_table(job.pairs))),
        data_collator=collator(tokeniser),
        processing_class=tokeniser,
        peft_config=_adapter(config),
        callbacks=[callback],
    )
    trainer.anchor, trainer.parts = config.anchor, world * config.accumulate
    # transformers' own printing of every record; progress is one line of ours.
    for name in ("PrinterCallback", "ProgressCallback"):
        for known in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == name]:
            trainer.remove_callback(known)
    try:
        trainer.train(resume_from_checkpoint=str(saved) if saved else None)
        if config.shard:
            model = _join(trainer, first)
        else:
            model = trainer.accelerator.unwrap_model(trainer.model)
        if first:
            _save(job, model, tokeniser)
    except UnpicklingError as error:
        raise CheckpointError(
            f"round {job.round}: checkpoint {saved} cannot be read (it is damaged, or holds more "
            "than tensors, which is never run): remove it, and the round begins anew with --resume"
        ) from error
    except (OSError, SafetensorError, RuntimeError) as error:
        if not _disk_is_full(error):
            raise
        kept = newest_checkpoint(job.checkpoints)
        raise CheckpointError(
            f"round {job.round}: a checkpoint in {job.folder} could not be written ({error}); "
            + (f"the previous one is intact: {kept}" if kept else "there is no earlier one")
            + ". Free some disk space and go on with --resume"
        ) from error


def _disk_is_full(error: BaseException) -> bool:
    """Also where safetensors or torch.save wrap the system's error into one of their own."""
    text = str(error)
    signs = (
        "No space left", "Disk quota", "File too large", "I/O error", "unexpected pos",
        "PytorchStreamWriter failed writing",
    )  # fmt: skip
    return any(sign in text for sign in signs)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    whole = [file.parent for file in folder.glob(f"checkpoint-*/{WHOLE}")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def arguments(job: TrainingJob, world: int) -> DPOConfig:
    """What TRL is told: `world` processes share each batch."""
    config = job.config
    gpu = config.device == "cuda"
    loss = config.trl_loss
    return DPOConfig(
        output_dir=str(job.checkpoints),
        max_steps=job.steps,
        per_device_train_batch_size=config.batch // (world * config.accumulate),
        gradient_accumulation_steps=config.accumulate,
        train_sampling_strategy="sequential",
        learning_rate=config.step_size,
        lr_scheduler_type=config.schedule,
        warmup_steps=round(config.warm_up * job.steps),
        max_grad_norm=config.gradient_norm,
        weight_decay=0.0,
        seed=config.seed,
        beta=loss.beta,
        loss_type=list(loss.types),
        loss_weights=list(loss.weights),
        label_smoothing=config.label_smoothing,
        precompute_ref_log_probs=True,
        max_length=None,
        use_cpu=not gpu,
        bf16=gpu and config.bf16,
        activation_checkpointing=config.activation_checkpointing,
        logging_steps=config.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if config.checkpoint_steps else "no",
        save_steps=config.checkpoint_steps or job.steps,
        ddp_backend=None if world == 1 else ("nccl" if gpu else "gloo"),
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=gpu,
        report_to="none",
        disable_tqdm=True,
        **_split(config, world),
    )


def _split(config: AlignConfig, world: int) -> dict[str, Any]:
    if not config.shard or world == 1:
        return {}
    return {"fsdp": True, "fsdp_config": dict(FSDP_SETTINGS)}


def _adapter(config: AlignConfig) -> Any:
    if not config.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear",
        lora_dropout=0.0, task_type="CAUSAL_LM",
    )  # fmt: skip


def _join(trainer: PairTrainer, first: bool) -> Any:
    """The trained model in one piece, on the first worker; all workers must call it."""
    optimiser: Any = trainer.optimizer
    optimiser.optimizer.state.clear()  # room for the whole weights
    model: Any = trainer.model
    model.zero_grad()
    weights = whole_weights(model, first)
    return joined_model(model, weights) if first else None


def _save(job: TrainingJob, model: Any, tokeniser: Tokeniser) -> None:
    """The round's model as an ordinary Hugging Face folder, in the number format of the model that
    training began with. An adapter is merged into it, and kept in `adapter/` beside it.

    Steps are smaller than what bfloat16 can tell apart. So the weights in float32 are kept as long
    as the next round has to begin with them.
    """
    if job.config.lora_rank:
        with whole_folder(job.folder / "adapter", replace=True) as part:
            model.save_pretrained(part)
        model = model.merge_and_unload()
    dtype = weights_dtype(job.start)
    if dtype != torch.float32:
        if job.round < job.config.round_count:
            with whole_file(job.master) as part:
                save_safetensors(model, str(part))
        model = model.to(dtype)
    with whole_folder(job.model, replace=True) as part:
        model.save_pretrained(part)
        tokeniser.save_pretrained(part)
    if job.round > 1:
        job.start_master.unlink(missing_ok=True)
    shutil.rmtree(job.checkpoints, ignore_errors=True)


class _Follow(TrainerCallback):
    """Marks checkpoints as whole; records and prints the figures of the steps."""

    def __init__(self, job: TrainingJob, first: bool, remote: bool, done: int) -> None:
        self.job, self.first, self.remote, self.done = job, first, remote, done
        self.log: MetricsLog | None = None
        self.lines = ProgressLines()

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.began = time.perf_counter()
        if self.first:
            self.log = MetricsLog(self.job.run)
            self.log.forget_after(self.job.steps_before + self.done)

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every worker's share is on the disk
        if not self.first:
            return
        newest = self.job.checkpoints / f"checkpoint-{state.global_step}"
        write_text(newest / WHOLE, "")
        for other in self.job.checkpoints.glob("checkpoint-*"):
            if other != newest:
                shutil.rmtree(other, ignore_errors=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        if self.log is None or not logs or "loss" not in logs:
            return
        job, step = self.job, state.global_step
        speed = (step - self.done) / (time.perf_counter() - self.began)
        figures = {_NAMES[k]: float(v) for k, v in logs.items() if k in _NAMES}
        if not math.isfinite(figures["train/loss"]):
            raise DivergedError(
                f"round {job.round}, step {step}: the loss is {figures['train/loss']}; lower "
                f"learning_rate (now {job.config.step_size:g}) or raise beta"
            )
        figures["speed/steps_per_s"] = speed
        self.log.add(job.round, "train", job.steps_before + step, figures)
        if not self.remote and self.lines.due(step == job.steps):
            print(progress_line(job, job.steps_before + step, figures), flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.log is not None:
            self.log.close()


_NAMES = {
    "loss": "train/loss",
    "grad_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "entropy": "train/entropy",
    "mean_token_accuracy": "train/token_accuracy",
    "rewards/accuracies": "train/accuracy",
    "rewards/margins": "train/margin",
    "logps/chosen": "train/chosen_log_probability",
    "logps/rejected": "train/rejected_log_probability",
}


def train_on_ray(job: TrainingJob) -> None:
    """The same round in `config.workers` Ray Train workers; a killed worker's round goes on."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    config = job.config
    gpu = config.device == "cuda"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": _document(job), "world": config.workers},
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpu),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        run_config=RunConfig(
            name=f"round-{job.round}",
            storage_path=str((job.run / "ray").resolve()),
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )
    print(
        f"round {job.round}/{config.round_count}  waiting for {config.workers} workers to start",
        flush=True,
    )
    ended = threading.Event()
    follower = threading.Thread(target=_show_progress, args=(job, ended), daemon=True)
    follower.start()
    try:
        _fit(trainer)
    except TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        ended.set()
        follower.join()


def _fit(trainer: Any) -> None:
    """Train in a thread of its own: in the main one Ray would take SIGINT over for good, and end
    the process at the third without a word."""
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _show_progress(job: TrainingJob, ended: threading.Event) -> None:
    """Print what the first worker records, without the engine's prefixes and notices."""
    shown, progress = 0, ProgressLines()
    file = job.run / "metrics.jsonl"
    while True:
        last = ended.wait(0.5)
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # being written
            fresh = record["updates"] > shown and record["phase"] == "train"
            if fresh and record["round"] == job.round:
                shown = record["updates"]
                if progress.due(shown - job.steps_before == job.steps):
                    print(progress_line(job, shown, record), flush=True)
        if last:
            return


def _cause(error: Exception) -> Exception:
    """The worker's own error where it is one that a user can mend, else Ray's."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        inner = getattr(failure, "cause", failure)
        if isinstance(inner, UserError):
            return inner
    return error


def progress_line(job: TrainingJob, updates: int, figures: Mapping[str, float]) -> str:
    step, speed = updates - job.steps_before, figures["speed/steps_per_s"]
    left = (job.steps - step) / speed / 60
    return (
        f"round {job.round}/{job.config.round_count}  train {step:4d}/{job.steps}  "
        f"loss {figures['train/loss']:.4f}  accuracy {figures['train/accuracy']:.3f}  "
        f"margin {figures['train/margin']:.3g}  {speed:.2f} steps/s  left {left:.1f} min"
    )


def _worker(settings: dict[str, Any]) -> None:
    train_round(_job(settings["job"]), settings["world"])


def _document(job: TrainingJob) -> str:
    """As text, for a worker that imports nothing of ours before it starts."""
    record = {
        "run": str(job.run.resolve()), "round": job.round, "start": str(job.start.resolve()),
        "config": to_dict(job.config), "steps": job.steps, "steps_before": job.steps_before,
    }  # fmt: skip
    return json.dumps(record)


def _job(text: str) -> TrainingJob:
    record = json.loads(text)
    return TrainingJob(
        Path(record["run"]), record["round"], Path(record["start"]),
        from_dict(AlignConfig, record["config"]), record["steps"], record["steps_before"],
    )  # fmt: skip
