"""Jobs submitted to a head on loopback with a token, as docs/jobs.md says."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.local_cluster import RAY, LocalCluster
from envs.houses.dataset import write_houses
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig
from trainers.runs.checkpoint import latest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
TRAIN = (sys.executable, "-m", "trainers.cli", "irl", "train")
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def head() -> Iterator[LocalCluster]:
    """A head of three CPUs, as docs/jobs.md starts it on one machine."""
    cluster = LocalCluster(alone=True)
    try:
        cluster.start_head(3)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration files of a tiny run, and of one that no cluster here has room for."""
    folder = tmp_path_factory.mktemp("job")
    write_houses(folder / "houses", train_houses=2, unseen_houses=1, paths_per_house=6, seed=0)
    config = IRLConfig(
        data=str(folder / "houses"), network=NetworkConfig(word=16, hidden=16),
        generator=GeneratorConfig(word=16, hidden=16, latent=4, updates=4, batch=8),
        clone_updates=4, updates=120, updates_per_iteration=2, episodes_per_iteration=8,
        checkpoint_minutes=0.005,
        batch=8, positives=8, negatives=8, warm_up=2, max_steps=10, threads=1, runners=1,
        evaluate=("val_seen",),
    )  # fmt: skip
    (folder / "run.yaml").write_text(to_yaml(config))
    (folder / "wide.yaml").write_text(to_yaml(replace(config, runners=99)))
    return folder


def test_the_last_error_and_the_exit_code_reach_the_submitter(
    head: LocalCluster, settings: Path
) -> None:
    run = settings / "wide"
    job = head.submit("wide", *TRAIN, "--config", str(settings / "wide.yaml"), "--run", str(run))
    output = job.communicate()[0]
    assert job.returncode == 1  # Ray's own, whatever the code of the job was
    assert "exit code 6" in output
    assert "rayforge: runners is 99, but the cluster at " in output and "Traceback" not in output


def test_a_relative_run_folder_is_refused(head: LocalCluster, settings: Path) -> None:
    config = str(settings / "run.yaml")
    job = head.submit("relative", *TRAIN, "--config", config, "--run", "runs/a")
    output = job.communicate()[0]
    assert job.returncode == 1 and "exit code 2" in output
    assert "rayforge: run folder runs/a is relative, and this is a submitted job" in output


def test_a_system_from_outside_is_submitted_from_python(head: LocalCluster, tmp_path: Path) -> None:
    """The example's job: a system of its own, whose command needs no other registration."""
    run = tmp_path / "walk"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "job_on_a_cluster.py"),
         "--command", "examples.search_from_python:WALK train", "--run", str(run),
         "--address", head.url, "--python", sys.executable, "--attempts", "1"],
        env=head.environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED" in done.stdout and f"report: {run / 'report.html'}" in done.stdout
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 8


def strange(head: LocalCluster, given: str, home: Path) -> dict[str, str]:
    """The environment of somebody who does not have the cluster's token."""
    environment = {**head.environment, "HOME": str(home)}
    del environment["RAY_AUTH_TOKEN_PATH"]
    if given == "wrong":
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return environment


@pytest.mark.parametrize("given", ["none", "wrong"])
def test_without_the_token_a_job_is_refused(head: LocalCluster, given: str, tmp_path: Path) -> None:
    refused = subprocess.run(
        [RAY, "job", "submit", "--address", head.url, "--", "echo", "inside"],
        env=strange(head, given, tmp_path), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "AuthenticationError" in refused.stdout + refused.stderr


@pytest.mark.parametrize("given", ["none", "wrong"])
def test_without_the_token_a_run_cannot_join(
    head: LocalCluster, given: str, settings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    refused = subprocess.run(
        [*TRAIN, "--config", str(settings / "run.yaml"), "--run", str(run)],
        env={**strange(head, given, tmp_path), "RAY_ADDRESS": head.head},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert refused.returncode == 6
    line = refused.stderr.strip().splitlines()[-1]  # Ray's own may come before it
    assert line.startswith(f"rayforge: the cluster at {head.head} "), refused.stderr
    assert "give it the cluster's token" in line
    assert not run.exists()


def test_a_storage_path_that_workers_cannot_write(head: LocalCluster, tmp_path: Path) -> None:
    # Every process has a working folder of its own: what the driver writes there no worker finds.
    command = [sys.executable, "-m", "trainers.cli", "align", "train", "--workers", "1"]
    refused = subprocess.run(
        [*command, "--run", "/proc/self/cwd/run"], cwd=tmp_path,
        env={**head.environment, "RAY_ADDRESS": head.head, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert refused.returncode == 6
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("rayforge: storage /proc/self/cwd/run cannot be written from node 127.")
    assert line.endswith("give the nodes the right to write, or name another place")


def test_the_dashboard_itself_refuses_a_stranger(head: LocalCluster) -> None:
    assert isinstance(head.ask("GET", "/api/jobs/", head.token), list)
    with pytest.raises(urllib.error.HTTPError) as refused:
        head.ask("GET", "/api/jobs/", secrets.token_hex(32))
    assert refused.value.code in (401, 403)


def test_nothing_listens_on_other_addresses_than_loopback(head: LocalCluster) -> None:
    node = head.nodes["head"]
    listening = node.listening()
    assert {head.dashboard, head.port, node.metrics} <= listening.keys()
    for port, addresses in listening.items():
        assert addresses <= LOOPBACK, f"port {port} listens on {addresses}"


def prometheus(head: LocalCluster) -> str:
    """What the node tells Prometheus of our runs; "" before it tells anything."""
    url = f"http://127.0.0.1:{head.nodes['head'].metrics}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        told = answer.read().decode()
    return told if "ray_rayforge_" in told else ""


def test_a_stopped_job_goes_on_from_its_checkpoint(head: LocalCluster, settings: Path) -> None:
    run = settings / "stopped"
    first = head.submit("first", *TRAIN, "--config", str(settings / "run.yaml"), "--run", str(run))
    deadline = time.monotonic() + 200
    while not latest(run / "checkpoints"):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint in 200 s"
        time.sleep(0.1)
    stop = [RAY, "job", "stop", "--address", head.url, "first"]
    subprocess.run(stop, env=head.environment, check=True, capture_output=True, timeout=300)
    output = first.communicate(timeout=300)[0]
    assert f"rayforge: stopped by SIGTERM; go on with: rayforge irl train --resume {run}" in output
    newest = latest(run / "checkpoints")
    assert newest is not None
    iteration = json.loads((newest / "state.json").read_text())["iteration"]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == iteration

    second = head.submit("second", *TRAIN, "--resume", str(run))
    output, scraped = "", ""
    while second.poll() is None:
        assert time.monotonic() < deadline + 200
        scraped = prometheus(head) or scraped
        time.sleep(1)
    output = second.communicate(timeout=400)[0]
    assert second.returncode == 0, output
    assert f"resumed from {newest}: iteration {iteration}, " in output
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["updates"] == 4 + 4 + 120
    assert len(records) > iteration
    # While it ran, Prometheus would have found its figures, under the name of the run's folder.
    figures = dict(re.findall(r'^ray_rayforge_(\w+)\{.*run="stopped".*\} (\S+)$', scraped, re.M))
    assert {"rollout_success", "rollout_runners", "discriminator_accuracy"} <= figures.keys()
    assert float(figures["rollout_runners"]) == 1
