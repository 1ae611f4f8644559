"""Refusals that come before anything heavy is imported; two runs of one name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from rayforge.errors import MachineError, RunError
from tests.trainers.refusal import line
from trainers.alignment.config import AlignConfig
from trainers.alignment.preflight import check_run as check_alignment
from trainers.irl.config import IRLConfig
from trainers.irl.preflight import check_run as check_agent
from trainers.runs.folder import held, working_in

HOLD = """
import sys
from pathlib import Path
from tests.trainers.refusal import line
from trainers.runs.folder import held, working_in
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

HEAVY = """
import sys
from trainers.cli import main
try:
    main(sys.argv[1:])
finally:
    print("heavy:", sorted({"ray", "torch", "transformers"} & sys.modules.keys()))
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in `tmp_path / "run"`."""
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "check",
    [partial(check_agent, IRLConfig()), partial(check_alignment, AlignConfig())],
    ids=["irl", "align"],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_the_same_folder(
    other: subprocess.Popen[str], tmp_path: Path, check: Callable[..., None], resume: bool
) -> None:
    run = tmp_path / "run"
    said = f"another run trains in {run} .process {other.pid} on .*, stop it, or name another"
    with pytest.raises(RunError, match=said):
        check(run, resume)


def test_a_killed_process_lets_go(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    with held(tmp_path / "run"):
        pass


def test_a_folder_that_is_not_there_is_nobodys(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("irl", "train", "--runners", "999"), "runners is 999, which takes 1000 CPUs"),
        (("align", "train", "--workers", "1", "--actors", "999"), "actors 999 take 999 CPUs"),
        (("irl", "train", "--run", "taken"), "taken holds a run already: name another folder"),
        (("align", "train", "--run", "taken"), "taken holds a run already: name another"),
        (("irl", "train", "--runner-resource", "rollout"), "there is no cluster to join"),
        (("irl", "train", "--data", "nowhere"), "data folder nowhere does not exist"),
        (("align", "train", "--data", "pairs.jsonl"), "preference file pairs.jsonl does not exist"),
        (("align", "train", "--evaluation", "./no:test"), "folder ./no:test does not exist"),
    ],
)
def test_what_is_refused_at_once(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.yaml").write_text("")
    run = () if "--run" in arguments else ("--run", "run")
    root = Path(__file__).parents[3]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *arguments, *run],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == (4 if "holds a run" in message else 3 if "exist" in message else 2)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("rayforge: ") and message in line
    assert done.stdout == "heavy: []\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("half", ["irl", "align"])
def test_an_address_where_nothing_answers(tmp_path: Path, half: str) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "trainers.cli", half, "train", "--run", "run"]
    done = subprocess.run(
        [*command, *(["--workers", "1"] if half == "align" else [])], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == MachineError.exit_code
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("rayforge: nothing answers at 127.0.0.1:1 (")
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_refused_leaves_nothing(tmp_path: Path) -> None:
    new, own = tmp_path / "runs" / "deep" / "run", tmp_path / "own"
    own.mkdir()
    for run in (new, own):
        with pytest.raises(MachineError), working_in(run, new=True):
            assert (run / ".lock").is_file()
            raise MachineError("data cannot be read")
    assert [*tmp_path.iterdir()] == [own] and not [*own.iterdir()]  # what was there stays
    with pytest.raises(KeyboardInterrupt), working_in(new, new=True):
        (new / "config.yaml").write_text("seed: 0\n")
        raise KeyboardInterrupt
    assert (new / "config.yaml").is_file()
    with pytest.raises(RunError, match="holds a run already"), working_in(new, new=True):
        pass
    with pytest.raises(MachineError), working_in(new, new=False):
        raise MachineError("out of memory")
    assert (new / "config.yaml").is_file()


def test_a_refused_command_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    line(capsys, "irl", "train", "--data", "empty", "--run", "runs/agent")
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
