"""The example scripts run, at a tiny size, and stay short."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import ray

from envs.houses.dataset import write_houses
from trainers.cluster import start_here

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINES = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """The Ray of the other tests, or one started here."""
    started = not ray.is_initialized()
    if started:
        start_here(3)
    yield
    if started:
        ray.shutdown()


def _script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_examples_are_short_and_say_how_they_are_run() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert scripts
    for script in scripts:
        text = script.read_text()
        assert len(text.splitlines()) <= LINES, script.name
        assert f"python examples/{script.name}" in text, script.name


def test_a_policy_of_ones_own_is_scored(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _script("score_your_policy").main(tiny_folder, "val_seen", episodes=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-5:]] == [
        "success", "spl", "ndtw", "navigation_error", "path_length"
    ]  # fmt: skip
    assert all("n = " in line for line in lines[-5:])


def test_pairs_and_a_judge_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = _script("align_your_pairs")
    assert script.counts_on(["count on from two"], ["three four five"]) == [1.0]
    script.main(tmp_path / "own", steps=2, pairs=80)
    assert "win rate" in capsys.readouterr().out
    assert (tmp_path / "own" / "run" / "report.html").is_file()


@pytest.mark.ray
def test_an_environment_of_ones_own(cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minigrid")
    _script("train_on_your_environment").main(episodes=40, updates=8)
    rows = {
        line.split()[0]: line for line in capsys.readouterr().out.splitlines() if " spl " in line
    }
    assert "success 1.000" in rows["expert"] and set(rows) >= {"agent", "no", "shuffled"}


def test_a_reward_of_ones_own_in_the_planner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_houses(tmp_path / "houses", train_houses=2, unseen_houses=1, paths_per_house=20, seed=0)
    _script("reward_in_the_planner").main(tmp_path / "houses", most=60)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" success ")[0].strip() for line in lines] == ["length", "length + turns"]
    alone, with_turns = (float(line.split()[-4]) for line in lines)
    assert with_turns > alone


@pytest.mark.ray
def test_a_search_from_python(cluster: None, tmp_path: Path) -> None:
    """A search over two settings of a system from outside, through Ray Tune."""
    script = EXAMPLES / "search_from_python.py"
    done = subprocess.run(
        [sys.executable, str(script), "--storage", str(tmp_path), "--trials", "4"],
        capture_output=True, text=True, timeout=280,
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best: WalkConfig(rate=" in done.stdout
    rows = (tmp_path / "walk" / "results.csv").read_text().splitlines()
    assert len(rows) == 5 and "rate" in rows[0] and "start" in rows[0]
    assert "distance" in (tmp_path / "walk" / "report.html").read_text()
