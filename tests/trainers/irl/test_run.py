"""Whole runs of the real command at a tiny size, and what reads the folders they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.houses.dataset import HousesConfig
from trainers.cli import main
from trainers.configuration import read_configuration
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import for_split
from trainers.irl.run_folder import data_folder
from trainers.runs.checkpoint import latest, load_checkpoint

pytestmark = pytest.mark.ray
AGENTS = {"agent", "no text", "shuffled text", "straight", "shortest path", "random", "expert"}
METRICS = {
    "success", "spl", "oracle_success", "navigation_error", "ndtw", "sdtw", "path_length",
    "forced_stop",
}  # fmt: skip


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_evaluated(run: Path, split: str, episodes: int) -> dict[str, Any]:
    """An evaluation and its episodes are there and fit together; returns the evaluation."""
    document: dict[str, Any] = json.loads((run / f"evaluation_{split}.json").read_text())
    assert document["split"] == split
    assert set(document["agents"]) == AGENTS
    for metrics in document["agents"].values():
        assert set(metrics) == METRICS
        for figure in metrics.values():
            assert figure["count"] == episodes
            assert figure["low"] <= figure["mean"] <= figure["high"]
    assert document["agents"]["expert"]["success"]["mean"] == 1.0
    told = lines(run / f"episodes_{split}.jsonl")
    assert len(told) == episodes
    for episode in told:
        assert episode["path"][0] == episode["reference"][0]
        assert len(episode["path"]) == len(episode["headings"]) == len(episode["probability"])
    mean = sum(episode["success"] for episode in told) / episodes
    assert document["agents"]["agent"]["success"]["mean"] == pytest.approx(mean)
    return document


def instructions(houses: Path, split: str) -> int:
    records = json.loads((houses / f"R2R_{split}.json").read_text())
    return sum(len(record["instructions"]) for record in records)


def test_a_run_leaves_a_whole_folder(trained: Any, tiny: IRLConfig, houses: Path) -> None:
    run = trained.run
    config = read_configuration(IRLConfig, run / "config.yaml")
    assert (config.updates, config.network, config.data) == (24, tiny.network, str(houses))
    told = lines(run / "metrics.jsonl")
    assert [record["iteration"] for record in told] == list(range(1, len(told) + 1))
    assert [r["phase"] for r in told] == ["generator"] * 2 + ["clone"] * 2 + ["irl"] * 12
    assert told[-1]["updates"] == tiny.generator.updates + tiny.clone_updates + 24
    assert told[-1]["generator_updates"] == tiny.generator.updates
    assert told[-1]["rollout/failures"] == 0
    for name in ("rollout/success", "discriminator/accuracy", "critic/loss", "policy/temperature"):
        assert name in told[-1]
    for split in ("val_seen", "val_unseen"):
        document = assert_evaluated(run, split, instructions(houses, split))
        assert document["method"] == "LangGoalIRL full"
        assert document["command"].endswith(f"--run {run}")
    sample = lines(run / "sentences.jsonl")[0]
    assert set(sample) == {"scan", "path", "human", "paraphrase", "free", "scores"}
    assert 0 <= sample["scores"]["paraphrase"]["follower"] <= 1
    assert "LangGoalIRL full" in (run / "report.html").read_text()
    assert list((run / "tensorboard").iterdir())
    newest = latest(run / "checkpoints")
    assert newest is not None
    assert load_checkpoint(newest).state["counts"]["irl"] == 24
    assert "irl          24/24" in trained.output
    assert f"report: {run / 'report.html'}" in trained.output


def test_evaluating_a_run_again_gives_the_same_figures(
    trained: Any, houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = assert_evaluated(trained.run, "val_unseen", instructions(houses, "val_unseen"))
    main(["irl", "evaluate", str(trained.run), "--split", "val_unseen"])
    after = assert_evaluated(trained.run, "val_unseen", instructions(houses, "val_unseen"))
    assert after["agents"] == before["agents"]
    assert "LangGoalIRL full" in capsys.readouterr().out


def test_an_agent_is_evaluated_and_watched_in_other_buildings(
    trained: Any, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More neighbours or fewer, other words, other objects: the agent is the same."""
    run, data = str(trained.run), str(tiny_folder)
    main(["irl", "evaluate", run, "--split", "train", "--data", data])
    document = assert_evaluated(trained.run, "train", 36)
    assert document["data"] == data
    capsys.readouterr()
    main(["irl", "watch", run, "--split", "train", "--episodes", "5"])
    page = Path(capsys.readouterr().out.strip())
    assert page == trained.run / "watch_train.html"
    assert "coffee table" in page.read_text()


def test_watching_needs_no_ray(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    main(["irl", "watch", str(trained.run), "--split", "unseen", "--episodes", "4"])
    page = Path(capsys.readouterr().out.strip())
    assert page == trained.run / "watch_val_unseen.html"
    text = page.read_text()
    shown = [e for e in lines(trained.run / "episodes_val_unseen.jsonl") if e["episode_id"] in text]
    assert len(shown) >= 4
    assert "bedroom" in text or "hallway" in text


def test_cloning_trains_with_runners_by_the_same_command(
    tiny: IRLConfig, trained: Any, houses: Path, tmp_path: Path
) -> None:
    run = tmp_path / "gcbc"
    command = [sys.executable, "-m", "trainers.cli", "irl", "train", *trained.arguments]
    done = subprocess.run(
        [
            *command,
            "--method",
            "gcbc",
            "--updates",
            "2",
            "--evaluate",
            "val_seen",
            "train",
            "--run",
            run,
        ],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    for split in ("val_seen", "train"):
        document = assert_evaluated(run, split, instructions(houses, split))
        assert document["method"] == "GCBC"
    assert [record["phase"] for record in lines(run / "metrics.jsonl")] == ["clone"] * 3
    assert (run / "report.html").is_file()
    assert not (run / "sentences.jsonl").exists()


def test_a_split_of_another_folder_does_not_ask_for_the_held_out_buildings(
    tiny: IRLConfig,
) -> None:
    config = replace(tiny, held_out=("a building",))
    assert for_split(config, "val_unseen").held_out == ()
    for split in ("train", "val_seen", "held_out"):
        assert for_split(config, split).held_out == ("a building",)


def test_kept_houses_of_another_generator_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = IRLConfig(houses=HousesConfig(1, 0, 1, scenes=False))
    kept = data_folder(config)
    assert data_folder(config) == kept
    monkeypatch.setattr("trainers.irl.run_folder.generator_version", lambda: "another")
    assert data_folder(config) != kept
