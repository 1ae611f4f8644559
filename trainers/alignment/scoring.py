"""Log-probabilities of responses, computed once for each checkpoint and kept in Parquet.

`scores/<checkpoint>/<request>.parquet` holds key, summed log-probability and length of the
sequences that one request added; what an earlier request holds is never computed again. While a
request is under way its finished batches lie in `<request>.parts/`. Batches are laid out before
the first one is computed, so a resumed request computes the very same batches, and the same bits.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rayforge.errors import DivergedError
from trainers.alignment.models import Checkpoint, Model, load_model
from trainers.alignment.tokens import Completion, write_table
from trainers.runs.pool import Job, Pool, Work

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoringJob:
    """Scores batches of completions under one checkpoint."""

    folder: Path
    device: str
    bf16: bool

    def load(self) -> Work:
        from trl.trainer.utils import add_fused_lm_head

        model = load_model(self.folder, self.device, self.bf16)
        # TRL's own head: what training optimises and what is scored are the same computation.
        add_fused_lm_head(model)
        return lambda batch: _checked(log_probabilities(model, batch), batch, self.folder)


@torch.inference_mode()
def log_probabilities(model: Model, batch: Sequence[Completion]) -> np.ndarray:
    """log pi(response | prompt), summed over the response's tokens, float64 [n].

    `model` carries TRL's fused head.
    """
    longest = max(len(c.prompt) + len(c.response) for c in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    attended = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (prompt, response) in enumerate(batch):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attended[row, :end] = 1
        labels[row, len(prompt) : end] = ids[row, len(prompt) : end]
    device = model.device
    found = model(
        input_ids=ids.to(device), attention_mask=attended.to(device), labels=labels.to(device),
        fused_lm_head=True,
    ).log_probs  # fmt: skip
    return np.asarray(found.double().sum(1).cpu().numpy())


@dataclass(frozen=True)
class Scores:
    """Cached scores of one run, and how to compute what is missing."""

    folder: Path
    device: str
    bf16: bool
    batch: int
    """Completions scored at once."""

    def of(
        self, checkpoint: Checkpoint, completions: Sequence[Completion], pool: Pool,
        progress: Progress | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Summed log-probabilities under a checkpoint, float64 [n]; computes what is missing."""
        job = ScoringJob(checkpoint.folder, self.device, self.bf16)
        items = {completion.key: completion for completion in completions}
        sizes = {key: len(c.prompt + c.response) for key, c in items.items()}
        found = self.by(job, checkpoint.hash, items, sizes, pool, progress)
        return np.array([found[completion.key] for completion in completions], np.float64)

    def by(
        self, job: Job, name: str, items: Mapping[bytes, Any], sizes: Mapping[bytes, int],
        pool: Pool, progress: Progress | None = None,
    ) -> dict[bytes, float]:  # fmt: skip
        """What a job gives for items by their keys of 16 bytes; computes what is missing.

        `name` is the folder in which it is kept: it changes where the job would give something
        else. Items of like size are given to the job together, so that little is padding.
        """
        known = self._known(name)
        missing = {key: item for key, item in items.items() if key not in known}
        if missing:
            known |= self._compute(job, name, missing, sizes, pool, progress)
        return known

    def missing(self, checkpoint: Checkpoint, completions: Sequence[Completion]) -> int:
        """How many of the completions have no score yet."""
        known = self._known(checkpoint.hash)
        return len({c.key for c in completions} - known.keys())

    def _known(self, name: str) -> dict[bytes, float]:
        known: dict[bytes, float] = {}
        for file in sorted((self.folder / name).glob("*.parquet")):
            known |= _read(file)
        return known

    def _compute(
        self, job: Job, name: str, missing: Mapping[bytes, Any], sizes: Mapping[bytes, int],
        pool: Pool, progress: Progress | None,
    ) -> dict[bytes, float]:  # fmt: skip
        # By key among items of equal size, whatever came first.
        order = sorted(missing, key=lambda key: (sizes[key], key))
        request = hashlib.sha256(b"".join(order) + str(self.batch).encode()).hexdigest()[:16]
        parts = self.folder / name / f"{request}.parts"
        parts.mkdir(parents=True, exist_ok=True)
        batches = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        there = {int(file.stem) for file in parts.glob("[0-9]*.parquet")}
        todo = [number for number in range(len(batches)) if number not in there]
        work = [[missing[key] for key in batches[number]] for number in todo]
        for done, (place, found) in enumerate(pool.run(job, work), 1):
            number = todo[place]
            _write(parts / f"{number:06d}.parquet", batches[number], found)
            if progress is not None:
                progress(len(there) + done, len(batches))
        found_all: dict[bytes, float] = {}
        for number in range(len(batches)):
            found_all |= _read(parts / f"{number:06d}.parquet")
        values = np.array([found_all[key] for key in order])
        _write(self.folder / name / f"{request}.parquet", order, values)
        shutil.rmtree(parts, ignore_errors=True)
        return found_all


def _checked(found: np.ndarray, batch: Sequence[Completion], folder: Path) -> np.ndarray:
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        tokens = len(batch[wrong[0]].prompt) + len(batch[wrong[0]].response)
        raise DivergedError(
            f"model {folder} gives a response of {tokens} tokens the log-probability "
            f"{found[wrong[0]]}: training diverged; lower learning_rate or raise beta"
        )
    return found


def _write(path: Path, keys: Sequence[bytes], values: np.ndarray) -> None:
    columns: dict[str, Any] = {"key": pa.array(keys, pa.binary(16)), "log_probability": values}
    write_table(path, columns)


def _read(path: Path) -> dict[bytes, float]:
    table = pq.read_table(path)
    keys, values = table["key"].to_pylist(), table["log_probability"].to_numpy()
    return dict(zip(keys, values.tolist(), strict=True))
