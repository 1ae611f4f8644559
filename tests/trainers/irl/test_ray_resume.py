"""The real command, stopped, killed and resumed, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.irl.config import IRLConfig
from trainers.runs.checkpoint import Checkpoint, latest, load_checkpoint

pytestmark = pytest.mark.ray
TIMED = ("time_s", "speed/updates_per_s", "rollout/env_steps_per_s")


def train(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainers.cli", "irl", "train", *map(str, arguments)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=250)
    return process.returncode, out, errors


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path, number: int) -> None:
    """Until the run has a checkpoint of that many updates or more."""
    deadline = time.monotonic() + 200
    while True:
        newest = latest(run / "checkpoints")
        if newest is not None and int(newest.name) >= number:
            return
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"no checkpoint {number} in 200 s"
        time.sleep(0.02)


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    found = {"random": checkpoint.random}
    found |= {f"module {name}": value for name, value in checkpoint.module.items()}
    found |= {f"replay {name}": value for name, value in checkpoint.replay.items()}
    for name, entry in checkpoint.optimizers.items():
        for index, state in entry["state"]["state"].items():
            found |= {f"optimiser {name} {index} {key}": v for key, v in state.items()}
    return found


def test_a_run_stopped_killed_and_resumed_equals_an_uninterrupted_one(
    trained: Any, tiny: IRLConfig, tmp_path: Path
) -> None:
    whole, broken = trained.run, tmp_path / "broken"
    first_adversarial = tiny.generator.updates + tiny.clone_updates + 2

    # SIGKILL before the first checkpoint: the same command is refused, --resume begins anew.
    process = train(*trained.arguments, "--run", broken, "--checkpoint-minutes", "0")
    while not (broken / "config.yaml").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert latest(broken / "checkpoints") is None

    # SIGTERM: a checkpoint, then the exit code of an interruption.
    process = train("--resume", broken)
    wait_for_checkpoint(process, broken, first_adversarial)
    process.send_signal(signal.SIGTERM)
    code, out, errors = finish(process)
    assert code == 130, errors
    assert f"{broken} was ended before its first checkpoint: it begins anew" in out
    assert f"stopped by SIGTERM; go on with: rayforge irl train --resume {broken}" in errors
    stopped = latest(broken / "checkpoints")
    assert stopped is not None
    lines = metrics(broken)
    assert int(stopped.name) == lines[-1]["updates"] < metrics(whole)[-1]["updates"]

    # SIGKILL, at whatever it is doing after its next checkpoint.
    process = train("--resume", broken)
    wait_for_checkpoint(process, broken, int(stopped.name) + 2)
    process.send_signal(signal.SIGKILL)
    code, out, _ = finish(process)
    assert code == -signal.SIGKILL
    assert f"resumed from {stopped}: iteration {lines[-1]['iteration']}, " in out
    killed = latest(broken / "checkpoints")
    assert killed is not None

    code, out, errors = finish(train("--resume", broken))
    assert code == 0, errors
    assert f"resumed from {killed}" in out
    ends = [latest(run / "checkpoints") for run in (whole, broken)]
    assert ends[0] is not None
    assert ends[1] is not None
    uninterrupted, resumed = (load_checkpoint(end) for end in ends if end is not None)
    assert resumed.state["counts"] == uninterrupted.state["counts"]
    assert resumed.state["iteration"] == uninterrupted.state["iteration"]
    mine, others = arrays(resumed), arrays(uninterrupted)
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)
    assert metrics(broken) == metrics(whole)
    scores = [json.loads((run / "evaluation_val_seen.json").read_text()) for run in (whole, broken)]
    assert scores[0]["agents"] == scores[1]["agents"]
