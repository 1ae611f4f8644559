"""Responses sampled from a checkpoint: batches of prompts, each with a seed of its own.

What is sampled depends on seed and batch alone, not on the number of actors or on what was done
before: a resumed or differently spread run samples the same tokens.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trainers.alignment.config import AlignConfig
from trainers.alignment.models import (
    Checkpoint,
    Model,
    Tokeniser,
    end_tokens,
    load_model,
    load_tokeniser,
)
from trainers.alignment.tokens import Completion, Ids, write_table
from trainers.runs.pool import Pool, Work

Engine = Literal["transformers", "vllm"]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    responses: int
    """Responses a prompt."""
    temperature: float
    """0 is greedy."""
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Responses:
    """K responses to each of n prompts, prompt by prompt, [n * K]."""

    completions: list[Completion]
    finished: np.ndarray
    """bool [n * K]: whether the response ended by itself; else it was cut at the limit."""


@dataclass(frozen=True)
class GenerationJob:
    """Samples responses from one checkpoint."""

    folder: Path
    device: str
    bf16: bool
    engine: Engine
    sampling: Sampling
    parallel: int
    """Places (GPUs) that an engine of vLLM is split among."""
    longest: int
    """Tokens of prompt and response at most."""

    def load(self) -> Work:
        if self.engine == "vllm":
            from trainers.alignment.vllm_engine import VllmWork

            return VllmWork(self)
        return self._load_transformers()

    def _load_transformers(self) -> Work:
        from transformers import GenerationConfig

        tokeniser = load_tokeniser(self.folder)
        ends = end_tokens(self.folder, tokeniser)
        model = load_model(self.folder, self.device, self.bf16)
        # Without the folder's own penalties and cuts: what is sampled is the model's distribution.
        model.generation_config = GenerationConfig()
        return lambda batch: sample(model, tokeniser, ends, batch[1], self.sampling, batch[0])


def answering(config: AlignConfig, checkpoint: Checkpoint, how: Sampling) -> GenerationJob:
    """The job of a run's model that answers prompts."""
    return GenerationJob(
        checkpoint.folder, config.device, config.half, config.generator, how,
        config.tensor_parallel, config.max_tokens,
    )  # fmt: skip


@torch.inference_mode()
def sample(
    model: Model, tokeniser: Tokeniser, ends: tuple[int, ...], prompts: Sequence[Ids],
    how: Sampling, seed: int,
) -> list[Ids]:  # fmt: skip
    """Responses [n * K] to prompts [n] as token ids, up to and with the first end token."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), tokeniser.pad_token_id)
    attended = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        attended[row, longest - len(prompt) :] = 1
    drawn = how.temperature > 0
    chance = {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0} if drawn else {}
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = model.generate(
            input_ids=ids.to(model.device), attention_mask=attended.to(model.device),
            do_sample=drawn, num_return_sequences=how.responses,
            max_new_tokens=how.max_new_tokens, pad_token_id=tokeniser.pad_token_id,
            eos_token_id=list(ends), **chance,
        )  # fmt: skip
    return [_ended(row, ends) for row in found[:, longest:].tolist()]


def _ended(ids: list[int], ends: tuple[int, ...]) -> Ids:
    """Tokens up to and with the first end token; the rest is padding."""
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[: end + 1])


def generate(
    job: GenerationJob, prompts: Sequence[Ids], path: Path, batch: int, seed: int, pool: Pool,
    progress: Callable[[int, int], None] | None = None,
) -> Responses:  # fmt: skip
    """Responses of a checkpoint to prompts, kept in the Parquet file `path`.

    Prompts of like length are answered together, for their answers end at about the same time.
    Batches that are done lie in `path`.parts until all are; a resumed call goes on with the rest.
    """
    ends = end_tokens(job.folder, load_tokeniser(job.folder))
    if not path.is_file():
        parts = path.with_suffix(".parts")
        parts.mkdir(parents=True, exist_ok=True)
        order = np.argsort([len(ids) for ids in prompts], kind="stable")
        batches = [order[i : i + batch] for i in range(0, len(prompts), batch)]
        there = {int(file.stem) for file in parts.glob("[0-9]*.parquet")}
        todo = [number for number in range(len(batches)) if number not in there]
        work = [(_seed(seed, number), [prompts[row] for row in batches[number]]) for number in todo]
        for done, (place, found) in enumerate((pool.answering or pool).run(job, work), 1):
            rows = np.repeat(batches[todo[place]], job.sampling.responses)
            _write(parts / f"{todo[place]:06d}.parquet", rows, found)
            if progress is not None:
                progress(len(there) + done, len(batches))
        tables = [pq.read_table(parts / f"{n:06d}.parquet") for n in range(len(batches))]
        table = pa.concat_tables(tables)
        write_table(path, table.take(np.argsort(table["prompt"].to_numpy(), kind="stable")))
        shutil.rmtree(parts, ignore_errors=True)
    table = pq.read_table(path)
    responses = [tuple(ids) for ids in table["response_ids"].to_pylist()]
    rows = table["prompt"].to_pylist()
    finished = np.array([bool(ids) and ids[-1] in ends for ids in responses], bool)
    completions = [Completion(prompts[r], ids) for r, ids in zip(rows, responses, strict=True)]
    return Responses(completions, finished)


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _write(path: Path, rows: np.ndarray, found: Sequence[Ids]) -> None:
    columns = {
        "prompt": pa.array(rows, pa.int32()),
        "response_ids": pa.array([list(ids) for ids in found], pa.list_(pa.int32())),
    }
    write_table(path, columns)
