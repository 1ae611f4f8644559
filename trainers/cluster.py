"""The cluster a command joins, the storage its nodes share: checked before anything waits."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rayforge.errors import MachineError
from trainers import ALONE, LOOPBACK
from trainers.machine import check_for_ray
from trainers.runs.stopping import SIGNALS

CONNECT_S = 3.0
"""How long an address has to answer."""

START_TRIES = 3
"""Times that Ray is started on this machine."""

STORAGE_S = 8.0
"""How long storage has to take a file and give it back; a bucket out of reach is retried longer."""

WORKER_S = 60.0
"""How long a node has to start a process that tries its storage."""

ACTION_BYTES = 512
"""More than a `struct sigaction` has on any system."""

ANEW_S = 0.005
"""How often the own actions for signals are set anew while Ray sets its own."""

TOKEN_REMEDY = (
    "give it the cluster's token: RAY_AUTH_MODE=token with the file ~/.ray/auth_token, or "
    "RAY_AUTH_TOKEN_PATH naming another file"
)


def start_here(cpus: int, *, dashboard: bool = False, log_to_driver: bool = True) -> None:
    """Start Ray on this machine, everything on loopback; a stale head is never waited for.

    Ray gives its node half a minute to come up, which a busy machine may need more of, and offers
    no setting for it: it is started again, twice at most.

    Raises MachineError where it does not come up then either, or cannot on this machine.
    """
    check_for_ray()
    import ray

    for _ in range(START_TRIES):
        try:
            with own_signals():
                ray.init(
                    address="local", num_cpus=cpus, include_dashboard=dashboard,
                    dashboard_host="127.0.0.1", log_to_driver=log_to_driver, logging_level="ERROR",
                )  # fmt: skip
            _say_where_it_listens()
            return
        except Exception as error:  # Ray's own is a bare Exception
            if "timed out during startup" not in str(error):
                raise
            leave_ray()
    raise MachineError(
        f"Ray did not come up on this machine in {START_TRIES} tries of half a minute: try again "
        "when it is less busy, or look at `rayforge doctor`"
    )


def _say_where_it_listens() -> None:
    from ray.util import get_node_ip_address

    if not get_node_ip_address().startswith("127."):
        print(
            "note: Ray was imported before RayForge, and its ports listen on every address: import "
            "trainers first, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0",
            file=sys.stderr,
        )


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep this process's ways to stop over a block in which Ray sets its own.

    Ray's handler of SIGTERM ends the process by SIGABRT, without a checkpoint or a word, and its
    shutdown sets the system's own action. What it sets by Python is kept out here; over what its
    library in C++ sets behind Python's back the own is set anew. Elsewhere than in the main thread
    Ray sets none, and there is nothing to keep.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.signal

    def others(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in SIGNALS else own(number, handler)

    # Set back afterwards, Ray's would be there for the seconds that its start takes.
    signal.signal = others  # type: ignore[assignment]
    try:
        with _own_actions():
            yield
    finally:
        signal.signal = own


@contextmanager
def _own_actions() -> Iterator[None]:
    """Set the actions that the system knows for SIGNALS anew, every few milliseconds, and at last.

    By the system's own sigaction: Python's `signal` may be called by the main thread alone, which
    is in Ray's library.
    """
    system = ctypes.CDLL(None)
    kept = {number: ctypes.create_string_buffer(ACTION_BYTES) for number in SIGNALS}
    for number, action in kept.items():
        system.sigaction(int(number), None, action)
    left = threading.Event()

    def set_anew() -> None:
        gone = False
        while not gone:
            gone = left.wait(ANEW_S)
            for number, action in kept.items():
                system.sigaction(int(number), action, None)

    thread = threading.Thread(target=set_anew, name="own-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def choose_address(address: str) -> None:
    """Commands join the cluster at `address`, whatever RAY_ADDRESS says; nothing for an empty one.

    To be called before Ray is imported.
    """
    if not address:
        return
    os.environ["RAY_ADDRESS"] = address
    if ALONE and "ray" not in sys.modules:  # more than one machine is meant after all
        os.environ.pop(LOOPBACK, None)


@contextmanager
def own_ray() -> Iterator[None]:
    """What is started or joined inside is left at the end; a Ray that ran before stays as it is."""
    ray = sys.modules.get("ray")
    before = ray is not None and ray.is_initialized()
    try:
        yield
    finally:
        if not before:
            leave_ray()


def leave_ray() -> None:
    """Leave the cluster that this process has joined or started, if any; it can be stopped as
    before, and meanwhile."""
    if "ray" in sys.modules:
        with own_signals():
            sys.modules["ray"].shutdown()


def need_ray(cpus: int, *, log_to_driver: bool) -> None:
    """The Ray that runs in this process, else the cluster that RAY_ADDRESS names, else one that is
    started here. To be called inside `own_ray`. Raises MachineError where none comes up."""
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        join_cluster(log_to_driver=log_to_driver)
    else:
        start_here(cpus, log_to_driver=log_to_driver)


def join_cluster(*, log_to_driver: bool) -> None:
    """Join the cluster that RAY_ADDRESS names.

    Raises MachineError where nothing answers there or it does not take the token. Ray itself
    would try for half a minute, and then tell it in many lines.
    """
    import ray
    from ray.exceptions import AuthenticationError

    address = os.environ["RAY_ADDRESS"]
    check_address(address)
    patience = "RAY_gcs_server_port_wait_time_s"  # as often Ray tries, a second each
    given = os.environ.get(patience)
    os.environ[patience] = given or "3"
    try:
        with own_signals():
            ray.init(log_to_driver=log_to_driver, logging_level="ERROR")
    except AuthenticationError as error:
        first = str(error).strip().split(". ")[0]
        raise MachineError(
            f"the cluster at {address} refuses this process ({first}): {TOKEN_REMEDY}"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise MachineError(
            f"the cluster at {address} cannot be joined ({first}). Something answers there: where "
            f"it is the cluster's head, {TOKEN_REMEDY}"
        ) from None
    finally:
        if given is None:
            del os.environ[patience]


def check_address(address: str) -> None:
    """Raises MachineError where nothing listens at HOST:PORT; other forms are Ray's own."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise MachineError(
            f"nothing answers at {address} ({error}), which RAY_ADDRESS or --address names: start "
            "the head, put the address right, or unset RAY_ADDRESS to run on this machine alone"
        ) from None


def stale_head(file: Path | None = None) -> str | None:
    """The address of a head that is gone but still written down, or None.

    A head that was killed leaves the file behind, and whatever then asks for "the" cluster here
    waits for it. RayForge itself never does; Ray's own commands do.
    """
    if file is None:
        file = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        address = file.read_text().strip()
    except OSError:
        return None
    try:
        check_address(address)
    except MachineError:
        return address
    return None


def check_storage(place: str) -> None:
    """Raises MachineError unless a file written to `place` comes back from there.

    `place` is a folder, or a URI of pyarrow's filesystems: s3://, gs://, hdfs://, file://.
    """
    _within(lambda: write_and_read(place), place, "this machine")


def check_shared(place: str) -> None:
    """Raises MachineError unless every node of the joined cluster writes to the same `place`.

    Each node reads what this process wrote there, and leaves what this process then reads.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check_storage(place)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}

    def on(node: str, work: Callable[..., Any]) -> Any:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        return ray.remote(num_cpus=0, max_retries=0)(work).options(scheduling_strategy=where)

    # Processes first: on a busy node they take longer to start than storage may take to answer.
    started = {on(node, _ready).remote(): address for node, address in nodes.items()}
    _, late = ray.wait(list(started), num_returns=len(started), timeout=WORKER_S)
    for process in late:
        raise MachineError(
            f"node {started[process]} has started no worker in {WORKER_S:g} s, so that its storage "
            "could not be tried: look at its load and memory, or take it out of the cluster"
        )
    name = f".rayforge-{uuid.uuid4().hex}"
    _put(place, name, b"driver")
    answers = {}
    try:
        for node, address in nodes.items():
            key = f"{name}-{node}"
            answers[on(node, _answer).remote(place, name, key)] = (address, key)
        done, late = ray.wait(list(answers), num_returns=len(answers), timeout=STORAGE_S)
        for answer in late:
            raise _unreachable(place, f"node {answers[answer][0]}", "no answer")
        for answer in done:
            address, key = answers[answer]
            problem = ray.get(answer)
            if problem or _get(place, key) != b"node":
                raise _unreachable(
                    place, f"node {address}", problem or "it wrote to another folder of that name"
                )
    finally:
        for used in (name, *(key for _, key in answers.values())):
            _remove(place, used)


def _ready() -> None:
    """What a worker imports before it can answer."""
    import pyarrow.fs  # noqa: F401


def _answer(place: str, name: str, key: str) -> str:
    """What stands in this node's way, or nothing."""
    try:
        if _get(place, name) != b"driver":
            return "it holds another file of that name"
        _put(place, key, b"node")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def write_and_read(place: str) -> None:
    """Write a file to `place`, read it, remove it. Raises what the filesystem raises."""
    name = f".rayforge-{uuid.uuid4().hex}"
    _put(place, name, b"driver")
    try:
        if _get(place, name) != b"driver":
            raise OSError("a file does not come back as it was written")
    finally:
        _remove(place, name)


def _within(work: Callable[[], None], place: str, where: str) -> None:
    """Do `work` in `STORAGE_S` at most; its errors and its lateness are MachineErrors."""
    problem = ["no answer in time"]

    def attempt() -> None:
        try:
            work()
            problem.clear()
        except Exception as error:
            problem[0] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(STORAGE_S)
    if problem:
        raise _unreachable(place, where, problem[0])


def _unreachable(place: str, where: str, problem: str) -> MachineError:
    line = " ".join(problem.split())[:300]
    return MachineError(
        f"storage {place} cannot be written from {where} ({line}): mount or create it there, give "
        "the nodes the right to write, or name another place"
    )


def _open(place: str) -> tuple[Any, str]:
    from pyarrow import fs

    if "://" not in place:
        return fs.LocalFileSystem(), str(Path(place).absolute())
    filesystem, folder = fs.FileSystem.from_uri(place)
    return filesystem, folder


def _put(place: str, name: str, content: bytes) -> None:
    filesystem, folder = _open(place)
    filesystem.create_dir(folder, recursive=True)
    with filesystem.open_output_stream(f"{folder}/{name}") as stream:
        stream.write(content)


def _get(place: str, name: str) -> bytes:
    filesystem, folder = _open(place)
    with filesystem.open_input_stream(f"{folder}/{name}") as stream:
        return bytes(stream.read())


def _remove(place: str, name: str) -> None:
    filesystem, folder = _open(place)
    with suppress(OSError):  # it was never written
        filesystem.delete_file(f"{folder}/{name}")
