"""The rewriting service: replicas on Ray Serve, and a front that speaks HTTP.

The front runs in the process of the command. Ray Serve starts no HTTP of its own: there is one
port, and what reaches a replica has been checked.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rayforge.errors import ConfigurationError, MachineError
from rayforge.feedback.rewriter_files import check_rewriter
from rayforge.files import write_bytes
from rayforge.readers.content import read_text
from trainers.feedback.replica import Asked

NAME = "rewriting"
"""The Serve application and its deployment."""
ANSWER_S = 10.0
"""How long a replica may take over a batch before another one is asked."""


def token_of(file: Path) -> str:
    """The token in a file; a new one is made where there is none, to be read by its owner alone.

    Raises ConfigurationError for a file that holds no token of 16 characters and more.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w") as stream:
                stream.write(secrets.token_urlsafe(32) + "\n")
    token = read_text(file, kind=ConfigurationError).strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{file}: a token has 16 characters and more, without spaces; remove the file and a"
            " new one is made"
        )
    return token


def start_replicas(folder: Path, replicas: int) -> Callable[[list[Asked]], Awaitable[Any]]:
    """Replicas of a folder's rewriter on the Ray that runs; what asks one of them for a batch.

    Raises DataError where the folder holds no rewriter, MachineError where Serve does not start.
    """
    check_rewriter(folder)  # its faults are told here, before replicas die of them
    try:
        from ray import serve
    except ImportError:
        raise MachineError(
            "the service needs Ray Serve: pip install 'rayforge[feedback]'"
        ) from None
    from trainers.feedback.replica import Replica

    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    deployment = serve.deployment(
        Replica, name=NAME, num_replicas=replicas, max_ongoing_requests=2,
        ray_actor_options={"num_cpus": 1 if replicas == 1 else 0.5},
        health_check_period_s=1.0, health_check_timeout_s=5.0, graceful_shutdown_timeout_s=1.0,
    )  # fmt: skip
    handle = serve.run(deployment.bind(str(folder.resolve())), name=NAME, route_prefix=None)

    async def ask(batch: list[Asked]) -> Any:
        return await asyncio.wait_for(_awaited(handle.answer.remote(batch)), ANSWER_S)

    return ask


async def _awaited(response: Any) -> Any:
    return await response


def serve_folder(
    folder: Path, host: str, port: int, token: str, replicas: int, ready: Path | None = None
) -> None:
    """Serve a folder's rewriter until the process is told to end.

    `ready`: a file that gets "HOST:PORT" once requests are taken (port 0 picks a free one).
    Raises MachineError where the port is taken.
    """
    from trainers.feedback.front import Front

    ask = start_replicas(folder, replicas)
    front = Front(ask, token, senders=2 * replicas)
    try:
        asyncio.run(_run(front, host, port, ready))
    except OSError as error:
        raise MachineError(
            f"{host}:{port} cannot be listened on ({error.strerror}): name another --port"
        ) from None


async def _run(front: Any, host: str, port: int, ready: Path | None) -> None:
    import signal

    from trainers.feedback.front import listening

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with listening(front, host, port) as place:
        print(f"rewriting at http://{place}/rewrite", flush=True)
        if ready is not None:
            write_bytes(ready, f"{place}\n".encode())
        await ended.wait()


def run_service(
    folder: Path, host: str, port: int, token: str, replicas: int, ready: Path | None
) -> None:
    """Start Ray on this machine, or join the cluster of RAY_ADDRESS, and serve."""
    from trainers.cluster import need_ray, own_ray
    from trainers.machine import processors

    check_rewriter(folder)  # before Ray starts
    with own_ray():
        need_ray(max(replicas, processors()), log_to_driver=False)
        from ray import serve

        try:
            serve_folder(folder, host, port, token, replicas, ready)
        finally:
            serve.shutdown()
