"""The supervised start: a model fine-tuned on responses before any preference is looked at.

Made once and kept under a name that is a hash of everything it depends on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np

from envs.houses.route_task import RouteTask
from envs.progress import Progress
from rayforge.files import whole_folder
from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser
from rayforge.settings import Above, AtLeast, check_limits

_FORMAT = 1
"""Of the recipe: raise it where the same inputs give another model."""
_SORTED = 16
"""Batches whose examples are sorted by length together, so that little is padding."""


@dataclass(frozen=True)
class StartConfig:
    """How the start is trained."""

    steps: Annotated[int, AtLeast(1)] = 500
    """Optimiser steps of the last phase."""
    clean_steps: Annotated[int, AtLeast(0)] = 900
    """Optimiser steps of the phase before it, where the data have one: learning to copy takes
    clean examples first."""
    batch: Annotated[int, AtLeast(1)] = 16
    """Examples a step."""
    learning_rate: Annotated[float, Above(0)] = 2e-3
    """Highest; it rises over the first twentieth of the steps and falls to a tenth as a cosine."""
    device: str = "cpu"
    """Where it is trained: cpu or cuda."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the order of the examples."""

    def __post_init__(self) -> None:
        check_limits(self, "start.")


Example = Mapping[str, Any]
"""`prompt` and `completion`: both text, or both lists of messages."""


@dataclass(frozen=True)
class Phase:
    """Examples, and for how many optimiser steps they are trained on."""

    examples: Sequence[Example]
    steps: int


def route_phases(task: RouteTask, config: StartConfig) -> tuple[Phase, ...]:
    """The route task's start: clean examples first, then those with systematic mistakes."""
    return tuple(
        Phase([{"prompt": e.prompt, "completion": e.response} for e in examples], steps)
        for examples, steps in ((task.clean, config.clean_steps), (task.mixed, config.steps))
    )


def supervised_start(
    cache: Path,
    model: TinyModelConfig,
    corpus: Sequence[str],
    phases: Sequence[Phase],
    config: StartConfig,
) -> Path:
    """A tiny model trained on the phases one after another, as a Hugging Face folder.

    Args:
        cache: where starts are kept; the folder's name in it is a hash of all that follows.
        model: size of the model.
        corpus: texts from which the tokeniser is made.
        phases: what it learns from.
        config: how it learns.

    Returns:
        The folder. It is written under a temporary name, so it is whole or not there.

    Raises:
        ValueError: a phase without examples.
    """
    phases = [phase for phase in phases if phase.steps]
    empty = [k for k, phase in enumerate(phases) if not phase.examples]
    if empty or not phases:
        raise ValueError(f"nothing to learn from: {len(phases)} phases, without examples: {empty}")
    folder = cache.resolve() / start_name(model, corpus, phases, config)
    if folder.is_dir():
        return folder
    with whole_folder(folder) as part:
        _train(part, model, corpus, phases, config)
    return folder


def start_name(
    model: TinyModelConfig, corpus: Sequence[str], phases: Sequence[Phase], config: StartConfig
) -> str:
    """Name of the start made from these inputs."""
    from tokenizers import __version__ as tokenizers
    from torch import __version__ as torch
    from transformers import __version__ as transformers

    digest = hashlib.sha256()
    settings = {**asdict(config), "model": asdict(model), "format": _FORMAT}
    versions = [str(v) for v in (tokenizers, torch, transformers)]
    for part in (settings, versions, sorted(set(corpus))):
        digest.update(json.dumps(part, sort_keys=True).encode())
    for phase in phases:
        digest.update(json.dumps([phase.steps, list(map(dict, phase.examples))]).encode())
    return f"start-{digest.hexdigest()[:16]}"


def _train(
    folder: Path,
    shape: TinyModelConfig,
    corpus: Sequence[str],
    phases: Sequence[Phase],
    config: StartConfig,
) -> None:
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, TrainerCallback
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer

    tokeniser = make_tokeniser(corpus, shape.vocabulary)
    model = make_tiny_model(shape, tokeniser)
    steps = sum(phase.steps for phase in phases)
    settings = SFTConfig(
        output_dir=str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=config.batch,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=steps // 20,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        max_length=shape.context,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        use_cpu=config.device == "cpu",
        bf16=config.device != "cpu",
        activation_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    disable_progress_bars()  # of libraries: one line of ours is enough
    logging.disable_progress_bar()
    rows = [{**example, "phase": k} for k, p in enumerate(phases) for example in p.examples]
    with Progress("supervised start: steps", steps) as progress:

        class Steps(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                progress.add()

        trainer = SFTTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokeniser,
            callbacks=[Steps()],
        )
        tokenised = cast(Dataset, trainer.train_dataset)
        # Without the examples whose prompt alone fills the context: TRL leaves them out.
        lengths = np.array([len(ids) for ids in tokenised["input_ids"]])
        order = _order(lengths, np.array(tokenised["phase"]), phases, config)
        trainer.train_dataset = tokenised.select(order)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.save_pretrained(folder)
    tokeniser.padding_side = "left"
    tokeniser.save_pretrained(folder)
    shutil.rmtree(folder / "trainer", ignore_errors=True)


def _order(
    lengths: np.ndarray, phase: np.ndarray, phases: Sequence[Phase], config: StartConfig
) -> np.ndarray:
    """Rows in the order of training, phase by phase: epochs shuffled, batches of like length.

    Raises ValueError where no example of a phase is left.
    """
    rng = np.random.default_rng(config.seed)
    order: list[np.ndarray] = []
    for number, (examples, steps) in enumerate((p.examples, p.steps) for p in phases):
        members = np.flatnonzero(phase == number)
        if not len(members):
            raise ValueError(
                f"none of {len(examples)} examples fits: prompts alone fill the model's context; "
                "raise it, or use shorter data"
            )
        wanted = steps * config.batch
        epochs = [rng.permutation(members) for _ in range(-(-wanted // len(members)))]
        rows = np.concatenate(epochs)[:wanted]
        for start in range(0, wanted, _SORTED * config.batch):
            part = rows[start : start + _SORTED * config.batch]
            part = part[np.argsort(lengths[part], kind="stable")]
            order.append(rng.permutation(part.reshape(-1, config.batch), axis=0).ravel())
    return np.concatenate(order)
