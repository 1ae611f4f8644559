"""What this machine gives a process: processors, a home for Ray's token, room for Ray's sockets.

Each check says in one line what is wrong and which variable mends it. `rayforge doctor` prints them
all; commands raise them before Ray starts, which would end in tracebacks of its own.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from rayforge.errors import MachineError
from rayforge.readers.faults import one_line
from rayforge.readers.limits import MIB, size

SOCKET_BYTES = 107
"""The longest path of a socket, in bytes (Linux: `sun_path` less its end)."""
SOCKET_BELOW = "/ray/session_0000-00-00_00-00-00_000000_{pid}/sockets/plasma_store"
"""What Ray adds to its temporary folder for its longest socket."""

ROOM = 16 * MIB
"""Bytes that Ray's temporary folder must have free for its logs and sockets: where it has none, Ray
waits half a minute for files that it could not write, and ends in a traceback."""


def processors() -> int:
    """CPUs that this process may use: its affinity, and the limit of its control group; at least 1.

    A container, a Slurm job and `taskset` give fewer than the machine has, and Ray counts those of
    the machine.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = group_limit()
    return max(1, min(allowed or 1, math.floor(limit) if limit is not None else allowed or 1))


def group_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float | None:
    """CPUs by the quota of this process's control group and those above it; None without one.

    Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us` over `cpu.cfs_period_us`).
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        number, controllers, place = (*line.split(":", 2), "", "")[:3]
        base = root if number == "0" else root / "cpu"
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        folder = base / place.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(base):
                break
            found += [quota] if (quota := _quota(group)) else []
    return min(found, default=None)


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError):
        return None


def token_path() -> Path:
    """Where Ray looks for the token of a cluster.

    Raises MachineError where there is no home folder to look in.
    """
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named:
        return Path(named)
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        raise MachineError(
            "this user has no home folder, where Ray keeps its token: set HOME to a folder that "
            "can be written"
        ) from None


def ensure_token() -> None:
    """Make Ray's token where there is none, and keep others from reading it (mode 0600).

    Ray would make it readable for everybody. Nothing is done where the token comes from
    RAY_AUTH_TOKEN or RAY_AUTH_MODE turns it off. Raises MachineError where it cannot be written.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token").lower()
    if mode != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    token = token_path()
    try:
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            state = token.stat()
            if state.st_uid == os.getuid() and state.st_mode & 0o077:
                token.chmod(0o600)
            return
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
    except OSError as error:
        raise MachineError(
            f"{token}, where Ray keeps its token, cannot be written ({error.strerror}): set HOME "
            "to a folder that can be, or RAY_AUTH_TOKEN_PATH to a file in one"
        ) from None


def ray_folder() -> Path:
    """The folder that Ray makes its own temporary folder in: on Linux it goes by TMPDIR too."""
    named = os.environ.get("TMPDIR", "/tmp") if sys.platform.startswith("linux") else "/tmp"
    return Path(os.environ.get("RAY_TMPDIR", named))


def check_ray_folder() -> None:
    """Raises MachineError where Ray cannot make its sockets in its temporary folder."""
    folder = ray_folder()
    name = f"Ray's temporary folder {str(folder)[:80]}"
    remedy = "set RAY_TMPDIR to another folder, such as /tmp"
    if not str(folder).isascii():
        raise MachineError(f"{name} has letters beyond ASCII, which Ray does not take: {remedy}")
    if not folder.is_absolute():
        raise MachineError(f"{name} is relative, and each process has its own directory: {remedy}")
    below = SOCKET_BELOW.format(pid=os.getpid())
    room = SOCKET_BYTES - len(below)
    if len(str(folder)) > room:
        raise MachineError(
            f"{name} has {len(str(folder))} bytes, and names of sockets leave {room} for it: "
            f"{remedy}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise MachineError(f"{name} cannot be written ({error.strerror}): {remedy}") from None
    if free < ROOM:
        raise MachineError(f"{name} has {size(free)} free, and Ray takes {size(ROOM)}: {remedy}")


def check_temporary_folder() -> None:
    """Raises MachineError where TMPDIR names no folder that can be written: Python would take
    another one without a word."""
    named = os.environ.get("TMPDIR")
    if not named:
        return
    try:
        with tempfile.TemporaryFile(dir=named):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise MachineError(
            f"TMPDIR is {one_line(named)}, where no temporary file can be written ({why}): make "
            "that folder, name another, or unset TMPDIR"
        ) from None


def check_for_ray() -> None:
    """Whatever would keep Ray from starting here; raises MachineError with the variable to set."""
    check_temporary_folder()
    check_ray_folder()
    ensure_token()
