"""What TRL computes under our settings is the loss whose reward makes the margins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoModelForCausalLM

from rayforge.alignment.margin import pair_loss, response_reward
from trainers.alignment.config import AlignConfig, Loss
from trainers.alignment.models import fingerprint, load_model, load_tokeniser
from trainers.alignment.pair_trainer import PairTrainer, collator
from trainers.alignment.reading import read_source
from trainers.alignment.records import Progress
from trainers.alignment.rewards import Rewards, lengths
from trainers.alignment.run import train
from trainers.alignment.scoring import Scores, ScoringJob
from trainers.alignment.task import Task, make_task
from trainers.alignment.tokens import pair_columns, write_table
from trainers.alignment.training import TrainingJob, arguments
from trainers.runs.pool import Pool


def rewards_of(config: AlignConfig, folder: Path, scores: Path) -> Rewards:
    start = fingerprint(folder)
    cache = Scores(scores, "cpu", False, config.scoring_batch)
    return Rewards(config, cache, Pool(0), Progress(1), lambda _: start, lambda _: start)


def moved(folder: Path, target: Path) -> Path:
    """The model with other weights than the reference's."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    model.save_pretrained(target)
    load_tokeniser(folder).save_pretrained(target)
    return target


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("anchor", [0.0, 0.2])
def test_trl_computes_the_loss_of_the_table(
    loss: Loss, anchor: float, small: AlignConfig, model_folder: Path, tmp_path: Path
) -> None:
    config = replace(
        small, loss=loss, anchor=anchor, beta=0.3, simpo_margin=0.4, slic_margin=2.0,
        label_smoothing=0.2,
    )  # fmt: skip
    task: Task = make_task(config, load_tokeniser(model_folder), model_folder, read_source(config))
    pairs = task.pairs.take(np.arange(8))
    reference = rewards_of(config, model_folder, tmp_path / "scores")
    chosen, rejected = reference.reference_columns(1, pairs)
    columns = pair_columns(pairs)
    columns |= {"ref_chosen_logps": chosen.astype(np.float32)}
    columns |= {"ref_rejected_logps": rejected.astype(np.float32)}
    write_table(tmp_path / "order.parquet", columns)
    policy = moved(model_folder, tmp_path / "policy")

    job = TrainingJob(tmp_path, 1, policy, config, 1, 0)
    tokeniser = load_tokeniser(policy)
    trainer = PairTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        args=arguments(job, 1),
        train_dataset=Dataset(InMemoryTable(pq.read_table(tmp_path / "order.parquet"))),
        data_collator=collator(tokeniser),
        processing_class=tokeniser,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    found = float(trainer.compute_loss(trainer.model, batch))

    completions = pairs.completions()
    score = ScoringJob(policy, "cpu", False).load()
    log_pi = score(completions)
    log_ref = reference.log_probabilities(1, completions, fingerprint(model_folder))
    reward = response_reward(loss, log_pi, log_ref, lengths(completions), config.beta)
    target = {"simpo": config.simpo_margin, "slic": config.slic_margin}.get(loss, 0.0)
    margins = torch.from_numpy(reward[:8] - reward[8:])
    expected = float(pair_loss(loss, margins, config.beta, config.label_smoothing, target).mean())
    expected += anchor * -log_pi[:8].sum() / lengths(completions)[:8].sum()
    assert found == pytest.approx(expected, rel=2e-4)


def test_scores_are_plain_log_softmax(small: AlignConfig, model_folder: Path) -> None:
    task = make_task(small, load_tokeniser(model_folder), model_folder, read_source(small))
    completions = task.pairs.completions()[:6]
    found = ScoringJob(model_folder, "cpu", False).load()(completions)
    model = load_model(model_folder, "cpu", False)
    for (prompt, response), value in zip(completions, found, strict=True):
        logits = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        steps = logits[len(prompt) - 1 : -1]
        expected = steps[torch.arange(len(response)), torch.tensor(response)].sum()
        assert value == pytest.approx(float(expected), abs=1e-4)


def test_the_anchor_is_the_same_in_parts(small: AlignConfig, tmp_path: Path) -> None:
    """TRL's mean over each part's tokens weighs short parts more; ours is the step's mean."""
    from safetensors.torch import load_file

    weights = {}
    for parts in (1, 4):
        run = tmp_path / str(parts)
        config = replace(
            small, anchor=1.0, accumulate=parts, rounds=1, evaluation_prompts=0, checkpoint_steps=0
        )
        train(config, run, False, "test")
        weights[parts] = load_file(run / "rounds/1/model/model.safetensors")
    for name, value in weights[1].items():
        torch.testing.assert_close(value, weights[4][name], rtol=1e-3, atol=2e-5)
