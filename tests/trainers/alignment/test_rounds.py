"""Whole runs in this process: what each method trains on, and that seeds decide it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.alignment import share_first_round
from rayforge.alignment.selection import NothingKept
from rayforge.errors import ConfigurationError, RunError
from trainers.alignment.config import AlignConfig
from trainers.alignment.evaluate import evaluate_against
from trainers.alignment.rounds import of_like_length
from trainers.alignment.run import train


def selection(run: Path, number: int) -> dict[str, float]:
    document = json.loads((run / "rounds" / str(number) / "selection.json").read_text())
    figures: dict[str, float] = document["figures"]
    return figures


def same_files(a: Path, b: Path, number: int) -> bool:
    names = ("pairs.parquet", "order.parquet", "margins.parquet")
    return all(
        (a / "rounds" / str(number) / name).read_bytes()
        == (b / "rounds" / str(number) / name).read_bytes()
        for name in names
    )


@pytest.fixture(scope="module")
def whole(small: AlignConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "sera"
    train(small, run, False, "test")
    return run


def test_a_run_leaves_models_selections_figures_and_a_report(whole: Path) -> None:
    for number in (1, 2, 3):
        folder = whole / "rounds" / str(number)
        AutoModelForCausalLM.from_pretrained(folder / "model")
        AutoTokenizer.from_pretrained(folder / "model")
        assert not (folder / "checkpoints").exists()
    assert pq.read_table(whole / "rounds/1/pairs.parquet").num_rows == 60
    assert selection(whole, 2)["select/kept"] == 42
    assert 0 < selection(whole, 2)["select/generated_share"] <= 0.3
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [r["updates"] for r in records if r["phase"] == "train"] == list(range(1, 13))
    assert [r["round"] for r in records if r["phase"] == "review"] == [0, 1, 2, 3]
    assert "Margins" in (whole / "report.html").read_text()
    losses = [r["train/loss"] for r in records if r["phase"] == "train"]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-5)  # policy and reference are the same


def test_the_same_seeds_select_the_same_pairs(
    whole: Path, small: AlignConfig, tmp_path: Path
) -> None:
    train(small, tmp_path / "again", False, "test")
    assert all(same_files(whole, tmp_path / "again", number) for number in (1, 2, 3))
    train(replace(small, seed=1, rounds=2), tmp_path / "other", False, "test")
    assert not same_files(whole, tmp_path / "other", 2)


def test_the_reference_is_scored_once(whole: Path) -> None:
    """All given pairs under the reference are in what round 1 asked for."""
    initial = json.loads((whole / "run.json").read_text())["model"]
    requests = [pq.read_table(f).num_rows for f in (whole / "scores" / initial).glob("*.parquet")]
    keys = [
        key
        for file in (whole / "scores" / initial).glob("*.parquet")
        for key in pq.read_table(file)["key"].to_pylist()
    ]
    assert len(keys) == len(set(keys))
    assert max(requests) == 120


@pytest.mark.parametrize("method", ["dpo", "iterative", "random", "curriculum"])
def test_the_baselines(method: Any, whole: Path, small: AlignConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(replace(small, method=method), run, False, "test")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(r["updates"] for r in records) == 12  # as many steps as the others
    if method == "dpo":
        assert not (run / "rounds" / "2").exists()
        return
    kept = selection(run, 2)["select/kept"]
    assert kept == (42 if method == "random" else 60)
    assert selection(run, 2)["select/generated"] > 0
    if method == "iterative":
        shared = tmp_path / "shared"
        train(replace(small, method=method, rounds=1), tmp_path / "first", False, "test")
        share_first_round(tmp_path / "first", shared, replace(small, method=method))
        train(replace(small, method=method), shared, True, "test")
        assert all(same_files(run, shared, number) for number in (1, 2, 3))
        again = [json.loads(line) for line in (shared / "metrics.jsonl").read_text().splitlines()]
        assert [r["updates"] for r in again] == [r["updates"] for r in records]
    if method == "curriculum":
        margins = pq.read_table(run / "rounds/2/pairs.parquet")["margin"].to_numpy()
        ids = pq.read_table(run / "rounds/2/pairs.parquet")["prompt_ids"].to_pylist()
        order = pq.read_table(run / "rounds/2/order.parquet")["prompt_ids"].to_pylist()
        of = dict(zip(map(tuple, ids), margins, strict=True))
        assert of[tuple(order[0])] >= of[tuple(order[-1])]


def test_batches_are_of_like_length_and_hold_every_pair_once_a_pass() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 100, 1000)
    order = np.concatenate([rng.permutation(1000) for _ in range(2)])[:1600]
    arranged = of_like_length(order, lengths, 8, np.random.default_rng(1))
    assert sorted(arranged[:896].tolist()) == sorted(order[:896].tolist())  # seven windows
    assert sorted(arranged.tolist()) == sorted(order.tolist())

    def padding(rows: np.ndarray) -> float:
        sizes = lengths[rows].reshape(-1, 8)
        return float((sizes.max(axis=1, keepdims=True) - sizes).sum())

    assert padding(arranged) < 0.3 * padding(order)
    longest = lengths[arranged].reshape(-1, 8).max(axis=1)
    assert not np.array_equal(longest[:16], np.sort(longest[:16]))  # batches come in random order


def test_given_winners_and_an_ensemble_of_all_rounds(small: AlignConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(
        small, winner="given", score="probability", ensemble_rounds="all", rounds=4, steps=2,
        length_control=True,
    )  # fmt: skip
    train(config, run, False, "test")
    table = pq.read_table(run / "rounds/4/pairs.parquet")
    given = {
        (tuple(p), tuple(c))
        for p, c, made in zip(
            *(table[name].to_pylist() for name in ("prompt_ids", "chosen_ids", "generated")),
            strict=True,
        )
        if not made
    }
    own = [row for row in table.to_pylist() if row["generated"]]
    assert own
    assert all((tuple(row["prompt_ids"]), tuple(row["chosen_ids"])) in given for row in own)
    # Round 4 reads the rewards of rounds 1 to 3, so all three models have scored every given pair.
    scored = [
        sum(pq.read_table(f).num_rows for f in folder.glob("*.parquet"))
        for folder in (run / "scores").iterdir()
    ]
    assert sum(count >= 120 for count in scored) == 4  # with the reference


def test_previous_reference_lora_and_another_loss(small: AlignConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(
        small, reference="previous", lora_rank=4, loss="ipo", rounds=2, anchor=0.1, accumulate=2
    )
    train(config, run, False, "test")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len([r for r in records if r["phase"] == "train"]) == 8
    AutoModelForCausalLM.from_pretrained(run / "rounds/2/model")


def test_a_closed_gate_leaves_only_given_pairs(small: AlignConfig, tmp_path: Path) -> None:
    judge = tmp_path / "judge.py"  # prefers the shorter answer, whatever the score says
    judge.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    q = json.loads(line)\n"
        "    d = len(q['first']) - len(q['second'])\n"
        "    print('tie' if d == 0 else 'first' if d < 0 else 'second')\n"
    )
    run = tmp_path / "run"
    config = replace(small, judge=f"command: python3 {judge}", gate=1.0, rounds=2)
    train(config, run, False, "test")
    figures = selection(run, 2)
    assert 0 <= figures["generate/accuracy"] < 1
    assert figures["generate/gate_open"] == 0
    assert figures["select/generated_share"] == 0
    document = evaluate_against(run, run, config.judge, "test")
    assert document["answers"]["greedy"]["win_rate"]["mean"] == 0.5


def test_a_selection_that_keeps_nothing_prints_quantiles(
    small: AlignConfig, tmp_path: Path
) -> None:
    config = replace(small, rule="threshold", threshold=1e6, rounds=2)
    with pytest.raises(NothingKept, match=r"keeps none of 60 pairs \(least .* median"):
        train(config, tmp_path / "run", False, "test")


def test_resuming_under_other_settings_is_refused(
    whole: Path, small: AlignConfig, model_folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"beta was 0\.1 and is now 0\.2"):
        train(replace(small, beta=0.2), whole, True, "test")
    with pytest.raises(RunError, match="holds a run already"):
        train(small, whole, False, "test")
