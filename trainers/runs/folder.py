"""The folder of a run: free or taken, held by one process, and what is written about the run."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rayforge.errors import ConfigurationError, RunError
from rayforge.files import write_text


def named_folder(run: Path | None, resume: Path | None) -> Path:
    """The folder that `--run` or `--resume` names; raises ConfigurationError for none or both."""
    named = [folder for folder in (run, resume) if folder is not None]
    if len(named) != 1:
        raise ConfigurationError(
            "say where the run goes, --run DIR, or what to go on with, --resume RUN"
        )
    return named[0]


def check_place(run: Path, resume: bool) -> None:
    """Raises RunError or ConfigurationError where nobody can train in this folder now."""
    if not resume:
        check_free(run)
    elif run.is_dir():
        check_writable(run)
    if (run / ".lock").exists():
        with held(run):
            pass  # nobody else trains there


def check_free(run: Path) -> None:
    """Raises RunError where the run folder is taken, ConfigurationError where it would not last."""
    check_lasting(run)
    if (run / "config.yaml").exists():
        raise RunError(
            f"{run} holds a run already: name another folder, or go on with --resume {run}"
        )


def check_lasting(run: Path) -> None:
    """Raises ConfigurationError for a relative run folder inside a submitted job.

    There it would lie in the job's unpacked package, on whichever node that is, and go with it.
    """
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") and not run.is_absolute():
        raise ConfigurationError(
            f"run folder {run} is relative, and this is a submitted job: it would be removed with "
            f"the job's package; name a folder on shared storage, such as /shared/runs/{run.name}"
        )


def prepare(run: Path) -> None:
    """Make the run folder; raises ConfigurationError where it is taken or cannot be written."""
    check_free(run)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"run folder {run} cannot be made: {error.strerror}") from error
    check_writable(run)


def check_writable(run: Path) -> None:
    """Raises RunError where nothing can be written into a folder that is there."""
    try:
        write_text(run / ".writable", "")
        (run / ".writable").unlink()
    except OSError as error:
        raise RunError(
            f"run folder {run} cannot be written ({error.strerror}): mount it for writing, give "
            "yourself the right to, or name another folder"
        ) from error


def clear_figures(run: Path) -> None:
    """Remove the figures of a run that begins anew."""
    (run / "metrics.jsonl").unlink(missing_ok=True)
    shutil.rmtree(run / "tensorboard", ignore_errors=True)


@contextmanager
def working_in(run: Path, new: bool) -> Iterator[None]:
    """Make the folder of a new run, and keep other processes from it.

    Where the block fails before anything is written there, nothing of the folder is left. Raises
    RunError where the folder is taken or cannot be written.
    """
    with leaving_nothing(run):
        if new:
            prepare(run)
        with held(run):
            yield


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """A block that makes a folder. Where it fails and the folder is empty but for its lock, the
    lock is removed, and so are the folders that were not there before."""
    lock = folder / ".lock"
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    locked = lock.exists()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if not locked and [*folder.iterdir()] == [lock]:
                lock.unlink()
        for place in new:
            with suppress(OSError):  # it was not made, or holds something
                place.rmdir()
        raise


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep other processes from training in a run folder, on this machine or another.

    The system lets go of it when this process ends, however that comes about (NFS where a client
    is gone: when its lease has run out, a minute or two). Raises RunError where another process
    trains there. File systems without locks let everyone in.
    """
    try:
        lock = (run / ".lock").open("a+")
    except OSError:
        yield  # not there, or not to be written: told by whoever needs it first
        return
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.seek(0)
            raise RunError(
                f"another run trains in {run} ({lock.read() or 'it has just begun'}): wait for its "
                "end, stop it, or name another folder"
            ) from None
        except OSError:
            yield
            return
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def forget_after(metrics: Path, iteration: int) -> None:
    """Drop the lines after a checkpoint: the resumed run writes them again."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(errors="replace").splitlines():
        number = _iteration(line)
        if number is None or number > iteration:
            break
        kept.append(line)
    write_text(metrics, "".join(f"{line}\n" for line in kept))


def _iteration(line: str) -> int | None:
    """The iteration that a line of metrics is of; None where it is no such line."""
    try:
        number = json.loads(line)["iteration"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return number if type(number) is int else None


def hardware() -> str:
    """Processor, cores, memory and accelerator, for the reader of a figure."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            ln.split(":", 1)[1].strip()
            for ln in cpuinfo.read_text().splitlines()
            if "model name" in ln
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {device}"


def command_line() -> str:
    """The command as typed, for the reader of a figure."""
    return shlex.join(["rayforge", *sys.argv[1:]])
