"""`rayforge analyse parity` at a tiny size: agents by room, language models by length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainers import cli
from trainers.analysis.parity import Walked, success_under


def test_any_rule_for_stopping_is_scored_on_the_same_walks() -> None:
    near = np.array([[False, True, False], [False, False, True]])
    walked = Walked(np.zeros((2, 3)), np.zeros((2, 3, 1)), near, np.ones((2, 3), bool))
    early = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
    assert success_under(walked, early).tolist() == [1.0, 0.0]
    assert success_under(walked, np.full((2, 3), -1.0)).tolist() == [0.0, 1.0]  # forced at the end


@pytest.mark.parametrize("attribute", ["room", "length"])
def test_a_tiny_agent(untrained: Path, tmp_path: Path, attribute: str) -> None:
    cli.main(["analyse", "parity", str(untrained), "--attribute", attribute, "--split", "train",
              "--out", str(tmp_path)])  # fmt: skip
    found = json.loads((tmp_path / f"parity_{attribute}.json").read_text())
    for rule in found["rules"].values():
        assert 0 <= rule["accuracy"]["mean"] <= 1 and -1 <= rule["difference"]["mean"] <= 1
    assert len(found["curve"]) == 11 and "before" in found["success"]
    assert 0 <= found["fair_from_merged"]["agreement"] <= 1
    assert "not inferred" in (tmp_path / f"parity_{attribute}.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attribute", "rom"], "did you mean room"),
        (["--attribute", "gender"], "there are length, building, room, corpus"),
        (["--attribute", "building"], "attribute building has one value alone"),
        (["--attribute", "corpus"], "needs --other DATA"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, untrained: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        cli.main(["analyse", "parity", str(untrained), *arguments, "--out", str(tmp_path)])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rayforge")]
    assert len(said) == 1 and message in said[0]
