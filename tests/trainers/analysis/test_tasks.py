"""`rayforge analyse tasks` at a tiny size; halves of one building; bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rayforge.errors import ConfigurationError, RunError
from trainers import cli
from trainers.analysis.tasks import halves_nearer, start_from
from trainers.irl.config import IRLConfig
from trainers.irl.source import source_words


def test_halves_that_are_planted_nearer() -> None:
    names = [f"b{k} {half}" for k in range(4) for half in "ab"]
    matrix = np.ones((8, 8)) - np.eye(8)
    for k in range(0, 8, 2):
        matrix[k, k + 1] = matrix[k + 1, k] = 0.1
    assert halves_nearer(names, matrix).mean == 1.0
    rng = np.random.default_rng(0)
    chance = rng.random((8, 8))
    assert 0.0 < halves_nearer(names, (chance + chance.T) / 2).mean < 1.0


@pytest.mark.parametrize("estimator", ["sampled", "variational"])
def test_a_tiny_agent(
    untrained: Path, tmp_path: Path, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.analysis.tasks.NOISE_STEPS", 2)
    cli.main(["analyse", "tasks", str(untrained), "--out", str(tmp_path), "--by", "half",
              "--head-steps", "2", "--episodes", "6", "--estimator", estimator])  # fmt: skip
    found = json.loads((tmp_path / "tasks.json").read_text())
    assert len(found["tasks"]) == 4
    matrix = np.array(found["symmetric"])
    assert np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 0)
    assert np.array(found["plane"]).shape == (4, 2) and min(found["norm"]) > 0
    assert "Map" in (tmp_path / "tasks.html").read_text()


def test_where_to_start_from(untrained: Path, houses: Path, tmp_path: Path) -> None:
    asked = ["--for", str(houses), "--among", str(untrained.parent), "--head-steps", "1"]
    cli.main(
        ["analyse", "tasks", str(untrained), "--out", str(tmp_path), "--episodes", "4", *asked]
    )
    (found,) = json.loads((tmp_path / "starts.json").read_text())["starts"]
    assert found["run"] == str(untrained) and np.isfinite(found["distance"])
    with pytest.raises(SystemExit):  # rows of other episodes are not taken for these
        cli.main(
            ["analyse", "tasks", str(untrained), "--out", str(tmp_path), "--episodes", "5", *asked]
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--most", "1"], "distances need two at least"),
        (["--for", "x"], "needs --among FOLDER"),
        (["--processes", "-1"], "processes must not be negative"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, untrained: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        cli.main(["analyse", "tasks", str(untrained), "--out", str(tmp_path), *arguments])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rayforge")]
    assert len(said) == 1 and message in said[0]


def test_a_training_finds_its_start(
    untrained: Path, houses: Path, tiny: IRLConfig, tmp_path: Path
) -> None:
    asked = replace(tiny, start_from=f"auto:{untrained.parent}", buildings=("house00000",))
    found = start_from(asked)
    assert Path(found.start_from) == untrained and found.start_anew
    assert source_words(found) is not None  # other buildings are no hindrance
    with pytest.raises(ConfigurationError, match="its buildings is"):
        source_words(replace(found, start_anew=False))
    with pytest.raises(RunError, match="no finished run whose networks fit"):
        start_from(replace(asked, max_words=33))
    with pytest.raises(ConfigurationError, match="no such folder"):
        start_from(replace(asked, start_from="auto:nowhere"))
