"""A Ray cluster of several nodes on one machine, each of which can be killed with all it holds.

Every node is a `ray start` of its own, with an address (127.0.0.2, ...), ports, a folder and the
token, as docs/jobs.md says. Where the system lets one, it gets a process namespace: like a machine,
it then sees no other node's processes (Ray would attach every driver to the head's), and goes as a
whole, at once.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
RAY = str(Path(sys.executable).with_name("ray"))
START_S = 300.0
"""How long a node may take to start where everything else runs at once."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all at once, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def namespace() -> list[str]:
    """What gives a command a process namespace that ends with it; nothing where that is refused.

    A shell is its first process: that one has to reap orphans, and Ray would not (a stopped job's
    processes would seem to run on).
    """
    for user in ([], ["--user", "--map-root-user"]):
        prefix = [
            "unshare", *user, "--pid", "--fork", "--mount-proc", "--kill-child",
            "bash", "-c", '"$@"; exit $?', "node",
        ]  # fmt: skip
        try:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
        except OSError:
            break
    return []


@dataclass(frozen=True)
class Node:
    """A running `ray start`."""

    process: subprocess.Popen[bytes]
    metrics: int
    """The port of its metrics."""

    def family(self) -> list[psutil.Process]:
        """All its processes: Ray's own, workers, drivers."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []

    def listening(self) -> dict[int, set[str]]:
        """The addresses that each of its open ports takes calls on."""
        found: dict[int, set[str]] = {}
        for process in self.family():
            try:
                sockets = process.net_connections(kind="tcp")
            except psutil.Error:
                continue
            for place in sockets:
                if place.status == psutil.CONN_LISTEN:
                    found.setdefault(place.laddr.port, set()).add(place.laddr.ip)
        return found

    def kill(self) -> None:
        """SIGKILL for every process of the node, as if its machine had gone."""
        family = self.family()
        for process in family:
            try:
                process.kill()
            except psutil.Error:
                continue  # gone by itself
        self.process.wait()
        psutil.wait_procs(family, timeout=20)


class LocalCluster:
    """A head and its nodes; `close` ends them and removes their folder.

    Sockets' paths are short by law, so the folder is one of its own under the system's temporary
    one. With `alone` there will be no node but the head, and all of it stays on loopback: without,
    Ray listens on every address, and asks for the token (docs/jobs.md, Ports). `settings` are
    environment variables of every node.
    """

    def __init__(self, *, alone: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.alone = alone
        self.folder = Path(tempfile.mkdtemp(prefix="rf-"))
        self.token = secrets.token_hex(32)
        (self.folder / "token").write_text(self.token)
        (self.folder / "token").chmod(0o600)
        self.port, self.dashboard = free_ports(2)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "OMP_NUM_THREADS": "1",
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_worker_niceness": "0",  # Ray's own processes would starve its workers here
            **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if alone else {}),
            **(settings or {}),
        }
        self.prefix = namespace()
        self.nodes: dict[str, Node] = {}
        self.offers: dict[str, Mapping[str, float]] = {}
        self.started = 0

    @property
    def head(self) -> str:
        """The address of the head's control store."""
        return f"127.0.0.{1 if self.alone else 2}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start_head(self, cpus: int) -> Node:
        """Start the head, its dashboard on loopback, and wait until it is up."""
        client = free_ports(1)[0]
        node = self._start(
            "head", cpus, {},
            "--head", "--port", str(self.port), "--ray-client-server-port", str(client),
            "--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.dashboard),
            "--disable-usage-stats",
        )  # fmt: skip
        log = self.folder / "head.log"
        deadline = time.monotonic() + START_S
        while b"Ray runtime started" not in log.read_bytes():
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the head did not start:\n{log.read_text()}")
            time.sleep(0.2)
        while True:  # a busy machine's dashboard comes up later
            try:
                self.ask("GET", "/api/version", self.token)
                return node
            except OSError as error:
                if node.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the dashboard did not start: {error}") from error
                time.sleep(0.2)

    def start_node(self, name: str, offers: Mapping[str, float]) -> Node:
        """Start a further node that offers these resources and a CPU for each of them; it will join
        when it is up."""
        self.offers[name] = offers
        cpus = round(sum(offers.values()))
        return self._start(name, cpus, offers, "--address", self.head)

    def mend(self) -> None:
        """Start nodes again that ended of themselves: Ray gives one half a minute to come up, which
        is not enough where the machine is busy."""
        for name, node in list(self.nodes.items()):
            if name in self.offers and node.process.poll() is not None:
                self.kill(name)
                self.start_node(name, self.offers[name])

    def _start(self, name: str, cpus: int, offers: Mapping[str, float], *how: str) -> Node:
        metrics, agent, grpc, env_agent = free_ports(4)
        self.started += 1
        address = "127.0.0.1" if self.alone else f"127.0.0.{1 + self.started}"
        command = [
            *self.prefix, RAY, "start", *how, "--num-cpus", str(cpus), "--block",
            "--resources", json.dumps(dict(offers)), "--node-name", name,
            "--node-ip-address", address, "--temp-dir", str(self.folder / name),
            "--object-store-memory", str(100 * 2**20), "--metrics-export-port", str(metrics),
            "--dashboard-agent-listen-port", str(agent), "--dashboard-agent-grpc-port", str(grpc),
            "--runtime-env-agent-port", str(env_agent),
        ]  # fmt: skip
        with (self.folder / f"{name}.log").open("wb") as stream:
            process = subprocess.Popen(
                command, env=self.environment, stdout=stream, stderr=subprocess.STDOUT
            )
        self.nodes[name] = Node(process, metrics)
        return self.nodes[name]

    def kill(self, name: str) -> None:
        """End a node as if its machine had gone."""
        self.nodes.pop(name).kill()

    def close(self) -> None:
        for name in list(self.nodes):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def submit(
        self, name: str, *command: str, options: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """`ray job submit` of the checkout, waiting for the job's end."""
        return subprocess.Popen(
            [
                RAY, "job", "submit", "--address", self.url, "--submission-id", name, *options,
                "--runtime-env", str(ROOT / "runtime_env.yaml"), "--working-dir", str(ROOT),
                "--", *command,
            ],
            cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ask(self, method: str, path: str, token: str) -> Any:
        """What the dashboard answers to who shows `token`."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
