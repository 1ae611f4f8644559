"""A driver that is killed in each phase, by its process id, ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainers.alignment.config import AlignConfig
from trainers.alignment.run import train

TIMED = ("time", "speed/steps_per_s")

PHASES = {
    "scoring": "scores/*/*.parts/000001.parquet",
    "sampling": "rounds/2/responses.parts/000001.parquet",
    "scoring of samples": "rounds/2/responses.parquet",
    "selection": "rounds/2/pairs.parquet",
    "training": "rounds/2/checkpoints/checkpoint-2/whole",
    "review": "rounds/2/greedy.parts/000000.parquet",
}
"""What lies in the run's folder in the middle of each phase."""


def kill_at(config: AlignConfig, run: Path, pattern: str) -> None:
    """Start or resume the run in a process of its own and SIGKILL it when `pattern` is there."""
    # A server that has imported everything forks a fresh process in no time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainers.alignment.run"])
    resume = (run / "config.yaml").exists()
    process = context.Process(target=train, args=(config, run, resume, "test"))
    process.start()
    deadline = time.monotonic() + 200
    while not list(run.glob(pattern)):
        assert process.is_alive(), f"ended before {pattern}"
        assert time.monotonic() < deadline, f"no {pattern} in 200 s"
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def content(run: Path) -> dict[str, Any]:
    """Every product of a run that does not hold a time."""
    found: dict[str, Any] = {}
    for pattern in ("*.parquet", "review.json", "selection.json", "model/*.safetensors"):
        for file in run.glob(f"rounds/*/{pattern}"):
            found[str(file.relative_to(run))] = file.read_bytes()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    found["metrics"] = [
        {k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines
    ]
    return found


def test_a_driver_killed_in_every_phase_ends_with_the_same_bits(
    small: AlignConfig, tmp_path: Path
) -> None:
    config = replace(small, rounds=2)
    train(config, tmp_path / "whole", False, "test")
    broken = tmp_path / "broken"
    for pattern in PHASES.values():
        kill_at(config, broken, pattern)
    train(config, broken, True, "test")
    expected, found = content(tmp_path / "whole"), content(broken)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    assert not list(broken.rglob("*.parts"))
    assert not list(broken.rglob(".*.part"))


def test_a_full_disk_is_told_and_the_run_goes_on(
    small: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for real: a file may not grow beyond a limit smaller than the optimiser."""
    import resource

    from rayforge.errors import CheckpointError

    config, run = replace(small, method="dpo", rounds=1), tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
        with pytest.raises(CheckpointError, match=r"could not be written .* there is no earlier"):
            train(config, run, False, "test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not (run / "rounds/1/model").exists()
    train(config, run, True, "test")
    assert (run / "rounds/1/model/model.safetensors").is_file()
