"""Addresses, storage and run folders that a job cannot use, told before anything waits."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from rayforge.errors import ConfigurationError, MachineError
from trainers import LOOPBACK
from trainers.alignment.config import AlignConfig
from trainers.alignment.run import start_ray as start_alignment
from trainers.cluster import (
    check_address,
    check_shared,
    check_storage,
    choose_address,
    join_cluster,
    own_ray,
    own_signals,
    stale_head,
    start_here,
)
from trainers.irl.config import IRLConfig
from trainers.irl.preflight import check_run
from trainers.irl.run import start_ray
from trainers.runs.folder import check_lasting


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_an_address_where_nothing_listens(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    before = ray.is_initialized()  # other tests may share a Ray that goes on
    with pytest.raises(MachineError, match=f"nothing answers at 127.0.0.1:{closed_port}"):
        join_cluster(log_to_driver=False)
    assert ray.is_initialized() == before


def test_an_address_where_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    check_address("auto")


def test_an_address_of_the_command_line_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    choose_address("")
    assert os.environ["RAY_ADDRESS"] == "cluster:6379"
    choose_address("other:6379")
    assert os.environ["RAY_ADDRESS"] == "other:6379"
    # One machine is no longer meant.
    code = (
        "import os, trainers\nfrom trainers.cluster import choose_address\n"
        "assert os.environ[trainers.LOOPBACK] == '0'\nchoose_address('other:6379')\n"
        "assert trainers.LOOPBACK not in os.environ"
    )
    free = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", LOOPBACK)}
    subprocess.run([sys.executable, "-c", code], check=True, env=free)


def test_a_callers_ray_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    for running in (True, False):
        fake = SimpleNamespace(
            is_initialized=lambda running=running: running, shutdown=lambda: ended.append(1)
        )
        monkeypatch.setitem(sys.modules, "ray", fake)
        with pytest.raises(ZeroDivisionError), own_ray():
            raise ZeroDivisionError
        assert len(ended) == (0 if running else 1)


def test_a_head_that_left_its_address_behind(tmp_path: Path, closed_port: int) -> None:
    file = tmp_path / "ray_current_cluster"
    assert stale_head(file) is None
    file.write_text(f"127.0.0.1:{closed_port}\n")
    assert stale_head(file) == f"127.0.0.1:{closed_port}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        file.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert stale_head(file) is None


def test_a_resource_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigurationError, match="runner_resource is 'rollout', but there is no"):
        check_run(IRLConfig(runner_resource="rollout"), tmp_path / "run", resume=False)


def test_a_resource_that_the_cluster_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    monkeypatch.setattr("trainers.irl.preflight.join_cluster", lambda **settings: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 8.0, "rollout": 1.0})
    with pytest.raises(MachineError, match="has 1 rollout free: ask for fewer"):
        start_ray(2, "rollout")


def test_alignment_on_more_processors_than_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    monkeypatch.setattr("trainers.alignment.preflight.join_cluster", lambda **settings: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 2.0})
    with pytest.raises(MachineError, match="take 3 CPUs at a time, but the cluster at"):
        start_alignment(AlignConfig(workers=1, actors=3))


def test_a_relative_run_folder_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    check_lasting(Path("runs/first"))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    check_lasting(Path("/shared/runs/first"))
    with pytest.raises(ConfigurationError, match="name a folder on shared storage"):
        check_lasting(Path("runs/first"))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_storage_that_can_be_written(tmp_path: Path, form: str) -> None:
    check_storage(form.format(tmp_path / "runs"))
    assert list((tmp_path / "runs").iterdir()) == []


def test_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot be written from this machine \(.*mount"):
        check_storage(str(tmp_path / "file" / "runs"))
    with pytest.raises(MachineError, match="storage nowhere://bucket cannot be written"):
        check_storage("nowhere://bucket")


@pytest.mark.ray
def test_storage_that_every_node_shares(cluster: None, tmp_path: Path) -> None:
    check_shared(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slow", [2, 3])
def test_a_busy_machine_has_ray_started_again(slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own start is replaced: a node that takes over half a minute cannot be had at will."""
    tries: list[dict[str, object]] = []

    def start(**settings: object) -> None:
        tries.append(settings)
        if len(tries) <= slow:
            raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    if slow < 3:
        start_here(2)
    else:
        with pytest.raises(MachineError, match="did not come up on this machine in 3 tries"):
            start_here(2)
    assert len(tries) == 3 and tries[0]["dashboard_host"] == "127.0.0.1"


def test_ways_to_stop_outlive_a_library_that_sets_its_own() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    with pytest.raises(ZeroDivisionError), own_signals():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in numbers} == before


def test_ways_to_stop_outlive_a_handler_behind_pythons_back() -> None:
    """Ray's library in C++ takes SIGTERM where Python does not see it."""
    came: list[int] = []
    system = ctypes.CDLL(None)
    system.signal.argtypes, system.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with own_signals():
            system.signal(signal.SIGTERM, 1)  # SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


TAKEN = """
import ctypes, os, signal, time
from trainers.cluster import own_signals

came = []
signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
with own_signals():
    for number in (signal.SIGTERM, signal.SIGINT):
        ctypes.CDLL(None).signal(number, None)  # SIG_DFL: the next one would end the process
    time.sleep(0.5)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    time.sleep(0.01)
    assert sorted(came) == [signal.SIGINT, signal.SIGTERM]
"""


def test_a_signal_is_heard_while_a_library_takes_it_away() -> None:
    """Ray's shutdown goes on for a while after it has taken SIGTERM."""
    said = subprocess.run([sys.executable, "-c", TAKEN], text=True, capture_output=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")


LEFT_RAY = """
import os, signal, sys, time
from trainers.cluster import need_ray, own_ray
from trainers.runs.stopping import listening, stoppable

try:
    with listening(), stoppable(lambda: "go on with this"):
        with own_ray():
            need_ray(1, log_to_driver=False)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
except KeyboardInterrupt as stop:
    print(f"rayforge: {stop}", file=sys.stderr)
    sys.exit(130)
"""


@pytest.mark.ray
def test_a_process_that_has_left_ray_is_stopped_with_a_word() -> None:
    """Ray's shutdown takes SIGTERM's handler away where Python does not see it."""
    said = subprocess.run(
        [sys.executable, "-c", LEFT_RAY], text=True, capture_output=True, timeout=120
    )
    assert said.returncode == 130, said.stderr
    assert said.stderr.splitlines()[-1].startswith("rayforge: stopped by SIGTERM; go on with this")


def test_threads_have_no_signals_to_keep() -> None:
    passed = []

    def run() -> None:
        with own_signals():
            passed.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert passed == [True]


@pytest.mark.ray
def test_nothing_of_a_ray_started_here_listens_beyond_loopback(cluster: None) -> None:
    """Under default settings; agents, alignment and searches all start Ray by `start_here`."""
    family = psutil.Process().children(recursive=True)
    own = {process.pid for process in family} | {os.getpid()}
    listening = [
        c.laddr for c in psutil.net_connections("inet") if c.status == "LISTEN" and c.pid in own
    ]
    assert len(listening) >= 3
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
