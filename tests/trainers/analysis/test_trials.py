"""Fan-out: every trial has one row, a cut line is dropped, what is there is not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.analysis_fanout import arithmetic
from rayforge.errors import ConfigurationError
from trainers.analysis.trials import ROWS, fan_out, keep_asked, read_rows, run_trials

CALLS: list[int] = []


def squared(trial: int) -> dict[str, Any]:
    CALLS.append(trial)
    if trial == 13:
        raise ValueError("thirteen")
    return {"square": trial * trial}


def test_rows_are_written_once_and_in_order(tmp_path: Path) -> None:
    trials = {f"t{k}": k for k in range(5)}
    CALLS.clear()
    rows = run_trials(squared, trials, tmp_path, 0)
    assert list(rows) == list(trials) and rows["t3"] == {"trial": "t3", "square": 9}
    again = run_trials(squared, {**trials, "t5": 5}, tmp_path, 0)
    assert CALLS == [0, 1, 2, 3, 4, 5] and again["t5"]["square"] == 25
    assert len((tmp_path / ROWS).read_text().splitlines()) == 6


def test_a_line_that_was_cut_short_is_run_again(tmp_path: Path) -> None:
    run_trials(squared, {"a": 1, "b": 2}, tmp_path, 0)
    file = tmp_path / ROWS
    file.write_text(file.read_text()[:-5])
    assert set(read_rows(file)) == {"a"}
    assert file.read_text().endswith("\n")
    CALLS.clear()
    rows = run_trials(squared, {"a": 1, "b": 2}, tmp_path, 0)
    assert CALLS == [2] and rows["b"]["square"] == 4
    assert [json.loads(line)["trial"] for line in file.read_text().splitlines()] == ["a", "b"]


def test_what_a_trial_raises_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="thirteen"):
        run_trials(squared, {"a": 1, "b": 13}, tmp_path, 0)
    assert set(read_rows(tmp_path / ROWS)) == {"a"}


@pytest.mark.ray
def test_over_ray(cluster: None, tmp_path: Path) -> None:
    trials = {f"t{k}": (k, 4, 1) for k in range(12)}
    rows = fan_out(arithmetic, trials, tmp_path, 2)
    assert [rows[f"t{k}"]["seed"] for k in range(12)] == list(range(12))
    assert len((tmp_path / ROWS).read_text().splitlines()) == 12


def test_rows_of_another_study_are_never_taken(tmp_path: Path) -> None:
    asked = {"run": "runs/a", "seed": 0, "perturbed": (0.0, 0.1)}
    keep_asked(tmp_path / "out", asked)
    keep_asked(tmp_path / "out", asked | {"make sources more": 2})  # a study may grow
    for name, value in (("run", "runs/b"), ("seed", 1), ("perturbed", (0.0,)),
                        ("make sources more", 3)):  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"{name} was .* another folder with --out"):
            keep_asked(tmp_path / "out", asked | {name: value})
    (tmp_path / "out" / "asked.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match=r"asked\.json"):
        keep_asked(tmp_path / "out", asked)
    old = tmp_path / "old"
    old.mkdir()
    (old / ROWS).write_text("")
    with pytest.raises(ConfigurationError, match="rows of an older version"):
        keep_asked(old, asked)
    assert [file.name for file in old.iterdir()] == [ROWS]


def test_a_line_cut_inside_a_letter_is_removed(tmp_path: Path) -> None:
    file = tmp_path / ROWS
    file.write_bytes(b'{"trial": "a", "value": 1}\n{"trial": "b", "value": "\xc3')
    assert read_rows(file) == {"a": {"trial": "a", "value": 1}}
    assert file.read_text() == '{"trial": "a", "value": 1}\n'
