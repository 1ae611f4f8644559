"""The example scripts run, at a tiny size, and stay short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINES = 60


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
