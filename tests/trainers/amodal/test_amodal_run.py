"""`rayforge amodal`: a run trains, goes on to the bit, is scored and watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.video.files import write_clips
from envs.video.shapes import crossing_shapes
from rayforge.errors import ConfigurationError, DataError, RunError
from rayforge.readers.arrays import read_tensors
from trainers.amodal.config import VideoConfig
from trainers.amodal.evaluate import evaluate
from trainers.amodal.system import AMODAL
from trainers.amodal.training import load_network
from trainers.amodal.watch import watch
from trainers.runs.train import train


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> VideoConfig:
    folder = tmp_path_factory.mktemp("clips") / "clips"
    write_clips(folder, crossing_shapes(4, 0, frames=8, size=32))
    return VideoConfig(data=str(folder), channels=4, hidden=8, frames=4, batch=2, updates=16)


@pytest.fixture(scope="module")
def run(config: VideoConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    train(AMODAL, "amodal", config, run, False)
    return run


def weights(run: Path) -> dict[str, np.ndarray]:
    return read_tensors(run / "checkpoints" / "00000016" / "module.safetensors")


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    run: Path, config: VideoConfig, tmp_path: Path
) -> None:
    """Stopped after its third report, and gone on with."""
    stopped = tmp_path / "run"
    reports = AMODAL.train(config, stopped, range(1, 9))
    for _ in range(3):
        next(reports)
    reports.close()  # type: ignore[attr-defined]
    list(AMODAL.train(config, stopped, range(4, 9)))
    ours, theirs = weights(stopped), weights(run)
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_it_is_scored_beside_its_controls_and_watched(run: Path) -> None:
    found = evaluate(run, "", 1, "rayforge amodal evaluate")
    assert set(found["scores"]) == {"network", "visible", "carried"}
    assert found["scores"]["visible"]["hidden"]["mean"] == 0.0
    assert found["scores"]["network"]["whole"]["count"] > 0
    film = watch(run, 1)
    assert film.stat().st_size > 1000 and (run / "watch.png").is_file()


def test_what_is_wrong_is_said_before_it_starts(config: VideoConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_network(tmp_path)
    with pytest.raises(DataError, match="holds no clips"):
        train(AMODAL, "amodal", replace(config, data=str(tmp_path)), tmp_path / "a", False)
    with pytest.raises(DataError, match="has no depth"):
        train(AMODAL, "amodal", replace(config, flow="depth"), tmp_path / "b", False)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    with pytest.raises(ConfigurationError, match="clips must be at least 1"):
        watch(tmp_path, 0)
    with pytest.raises(ValueError, match="multiple of 16"):
        VideoConfig(side=40)


def test_frames_of_another_size_are_no_test_of_a_network(
    run: Path, config: VideoConfig, tmp_path: Path
) -> None:
    """Neither when it is scored nor, before anything is trained, in its own run."""
    large = tmp_path / "large"
    write_clips(large, crossing_shapes(2, 0, frames=8, size=48))
    said = "frames are 48 x 48 pixels, and the network is trained with 32 x 32"
    with pytest.raises(DataError, match=said):
        evaluate(run, str(large), 0, "test")
    with pytest.raises(DataError, match=said):
        train(AMODAL, "amodal", replace(config, test=str(large)), tmp_path / "run", False)
    assert not (tmp_path / "run").exists()
