"""`rayforge analyse information` at a tiny size; bad input costs one line and no Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from safetensors.torch import save_file

from tests.trainers.conftest import Build
from trainers import cli
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_weights
from trainers.irl.run_folder import CLONED, load_run


def test_a_tiny_agent(untrained: Path, tmp_path: Path) -> None:
    cli.main(["analyse", "information", str(untrained), "--probe", "60", "--batches", "3",
              "--noise-steps", "2", "--out", str(tmp_path)])  # fmt: skip
    found = json.loads((tmp_path / "information.json").read_text())["stages"]
    assert [stage["stage"] for stage in found] == ["trained"]
    stage = found[0]
    assert stage["trace"]["mean"] > 0 and stage["trace"]["count"] == 3
    assert stage["trace"]["low"] < stage["trace"]["mean"] < stage["trace"]["high"]
    whole = sum(m["mean"] for m in stage["modules"].values())
    assert whole == pytest.approx(stage["trace"]["mean"], rel=1e-4)
    assert 0 < stage["uncertainty"] < 0.25 and stage["nats"]["total"] > 0
    page = (tmp_path / "information.html").read_text()
    assert "trunk" in page and "grows confident" in page


def test_the_clone_is_measured_beside_the_trained_policy(untrained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(untrained, run)
    weights = load_weights(run, load_run(run)[0])
    clone = {
        name.removeprefix("policy."): torch.from_numpy(0.5 * np.asarray(value))
        for name, value in weights.items()
        if name.startswith("policy.")
    }
    save_file(clone, run / CLONED)
    traces = {}
    for where in (run, untrained):
        cli.main(["analyse", "information", str(where), "--probe", "60", "--batches", "3",
                  "--out", str(tmp_path)])  # fmt: skip
        for stage in json.loads((tmp_path / "information.json").read_text())["stages"]:
            traces[where.name, stage["stage"]] = stage["trace"]["mean"]
    trained = traces[untrained.name, "trained"]
    assert traces["run", "trained"] == pytest.approx(trained, rel=1e-6)
    assert traces["run", "clone"] != pytest.approx(trained, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is not a run folder"),
        (["RUN", "--probe", "5"], "a probe of 5 decisions is smaller than its 10 batches"),
        (["RUN", "--batches", "1"], "batches must be at least 2"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(untrained) if word == "RUN" else word for word in arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main(["analyse", "information", *given])
    said = capsys.readouterr().err
    assert ended.value.code in (2, 4) and message in said and len(said.splitlines()) == 1


@pytest.mark.ray
def test_measuring_changes_nothing_of_a_training(build: Build, tiny: IRLConfig) -> None:
    algorithm = build(tiny)
    before = {k: np.array(v) for k, v in algorithm._weights()[DEFAULT_MODULE_ID].items()}
    state = torch.get_rng_state()
    figures = algorithm.information()
    assert figures["information/trace"] > 0 and figures["information/trunk"] > 0
    assert figures == algorithm.information()  # the probe is frozen, and so are its labels
    assert torch.equal(state, torch.get_rng_state())
    after = algorithm._weights()[DEFAULT_MODULE_ID]
    assert all((before[name] == after[name]).all() for name in before)
