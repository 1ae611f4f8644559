"""A model split among processes trains as in one, and goes on with another number of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing

from rayforge.errors import CheckpointError
from trainers.alignment import training
from trainers.alignment.config import AlignConfig
from trainers.alignment.sharding import load_shards, rows, save_shard
from trainers.alignment.tokens import TokenPairs, pair_columns, write_table
from trainers.alignment.training import TrainingJob, train_round

STEPS = 6


def job(config: AlignConfig, run: Path, model: Path) -> TrainingJob:
    """A round with its pairs laid out."""
    made = TrainingJob(run, 1, model, config, STEPS, 0)
    made.folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    count = STEPS * config.batch

    def some() -> list[tuple[int, ...]]:
        return [tuple(rng.integers(5, 20, rng.integers(3, 9)).tolist()) for _ in range(count)]

    columns = pair_columns(TokenPairs(some(), some(), some(), np.zeros(count, bool)))
    columns |= {
        n: np.full(count, -20, np.float32) for n in ("ref_chosen_logps", "ref_rejected_logps")
    }
    write_table(made.pairs, columns)
    return made


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/loss"] for line in lines]


def keep_second(made: TrainingJob) -> Path:
    """Let the round's checkpoint after two steps be kept beside it."""
    kept = made.run / "second"
    marked = training._Follow.on_save

    def on_save(
        self: training._Follow, args: object, state: object, *rest: object, **named: object
    ) -> None:
        marked(self, args, state, *rest, **named)
        newest = self.job.checkpoints / "checkpoint-2"
        if self.first and newest.is_dir() and not (self.job.run / "second").exists():
            shutil.copytree(newest, self.job.run / "second")

    training._Follow.on_save = on_save
    return kept


def process(rank: int, port: int, jobs: list[TrainingJob]) -> None:
    """One of two processes, which train several rounds after each other."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    keep_second(jobs[0])
    for one in jobs:
        train_round(one, 2)


def in_two(jobs: list[TrainingJob]) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    multiprocessing.start_processes(process, (port, jobs), nprocs=2, start_method="spawn")


def test_two_processes_train_as_one_and_each_goes_on_from_the_others_checkpoint(
    small: AlignConfig, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(small, checkpoint_steps=2, shard=True)
    plain = job(replace(config, shard=False), tmp_path / "plain", model_folder)
    train_round(plain)
    one = job(config, tmp_path / "one", model_folder)
    monkeypatch.setattr(training._Follow, "on_save", training._Follow.on_save)
    of_one = keep_second(one)
    train_round(one)
    monkeypatch.undo()
    two, lora = (
        job(c, tmp_path / name, model_folder)
        for name, c in (("two", replace(config, workers=2)),
                        ("lora", replace(config, workers=2, lora_rank=2)))
    )  # fmt: skip
    from_one = job(replace(config, workers=2), tmp_path / "from_one", model_folder)
    shutil.copytree(of_one, from_one.checkpoints / "checkpoint-2")
    in_two([two, from_one, lora])
    from_two = job(config, tmp_path / "from_two", model_folder)
    shutil.copytree(tmp_path / "two" / "second", from_two.checkpoints / "checkpoint-2")
    assert len(list((tmp_path / "two" / "second").glob("shard-*-of-00002.safetensors"))) == 2
    train_round(from_two)
    whole_lora = job(replace(config, shard=False, lora_rank=2), tmp_path / "whole", model_folder)
    train_round(whole_lora)

    assert losses(one.run) == losses(plain.run)
    np.testing.assert_allclose(losses(two.run), losses(plain.run), rtol=2e-4)
    np.testing.assert_allclose(losses(lora.run), losses(whole_lora.run), rtol=2e-4)
    assert len(losses(from_one.run)) == len(losses(from_two.run)) == STEPS - 2
    expected = load_file(plain.model / "model.safetensors")
    for made in (one, two, from_one, from_two):
        found = load_file(made.model / "model.safetensors")
        assert set(found) == set(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-5)
    merged = load_file(lora.model / "model.safetensors")
    for name, tensor in load_file(whole_lora.model / "model.safetensors").items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-3, atol=2e-5)


def trained(seed: int) -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 5)
    adam = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(2):
        model(torch.randn(4, 3)).square().sum().backward()
        adam.step()
    return model, adam


def test_shards_hold_weights_and_moments_bit_by_bit(tmp_path: Path) -> None:
    model, adam = trained(0)
    save_shard(tmp_path, model, adam, 0, 1)
    other, its = trained(1)
    load_shards(tmp_path, other, its, 0, 1)
    for found, wanted in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(found, wanted)
        for name, value in adam.state[wanted].items():
            assert torch.equal(its.state[found][name], value)


def test_a_set_of_shards_with_a_part_missing_or_of_two_sets_is_refused(tmp_path: Path) -> None:
    model, adam = trained(0)
    save_shard(tmp_path, model, adam, 0, 1)
    (tmp_path / "shard-00000-of-00001.safetensors").rename(
        tmp_path / "shard-00000-of-00002.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"lacks shard-00001-of-00002.*1 of 2 shards"):
        load_shards(tmp_path, model, adam, 0, 1)
    save_shard(tmp_path, model, adam, 0, 1)
    with pytest.raises(CheckpointError, match="different numbers of workers"):
        load_shards(tmp_path, model, adam, 0, 1)


def test_a_shard_of_another_model_or_cut_short_is_refused(tmp_path: Path) -> None:
    model, adam = trained(0)
    save_shard(tmp_path, model, adam, 0, 1)
    with pytest.raises(CheckpointError, match="which is not that of this model"):
        load_shards(tmp_path, torch.nn.Linear(2, 5), adam, 0, 1)
    file = tmp_path / "shard-00000-of-00001.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_shards(tmp_path, model, adam, 0, 1)


@pytest.mark.parametrize(("count", "world"), [(7, 2), (1, 4), (9, 4), (8, 4), (0, 3)])
def test_rows_are_those_of_chunk(count: int, world: int) -> None:
    chunks = [list(part) for part in torch.arange(count).chunk(world)] if count else []
    for rank in range(world):
        first, last = rows(count, rank, world)
        assert list(range(first, last)) == (chunks[rank] if rank < len(chunks) else [])
