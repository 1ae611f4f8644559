"""Every reader on files that were changed at random: one line, little memory, little time.

    make fuzz                                        # every reader, 2,000 inputs each
    python -m tests.fuzz.fuzz --inputs 200 r2r hdf5  # some readers

Each reader gets small valid files of which one is changed, in its bytes or in its structure. It
may read them, or raise a `UserError` of one line. Anything else is a fault: another exception, a
message of several lines, a crash, more than 2 GB, more than 20 s. Inputs run in a process that is
ended for the last three; a fault's input is kept in the output folder, and its number makes it
again. Prints a table; the exit code is 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30
"""Bytes that reading one input may take."""
SECONDS = 20
"""Seconds that reading one input may take."""
KEPT = 10
"""Faults of a reader that are kept and shown."""
LONGEST = 2000
"""Characters of a message, paths and all."""

_PIECES = (
    b"9" * 5000, b"-" + b"9" * 5000, b"1e400", b"-1e400", b"NaN", b"2147483648", b"4294967296",
    b"9223372036854775808", b"[" * 20_000, b'{"a":' * 20_000, b"null", b"true", b'""', b"[]", b"{}",
    b"-1", b"0.5", b'"\\ud800"', b"\xff\xfe", b"\x00", b"\n", b"*a", b"&a ", b"!!int x", b"? ",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 0.5, 1e308, float("inf"), float("nan"), 2**31, 2**40, 2**63 - 1, -(2**63),
    "", "a", "\x00", "a" * 5000, "../..", "/etc/passwd", [], {}, [[]], [None], {"a": {}}, ["a"],
    [1, 2, 3],
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader and its valid files."""

    name: str
    make: Callable[[Path], None]
    """Writes the files into an empty folder."""
    read: Callable[[Path], object]
    """Reads that folder."""
    changed: str = "*"
    """Which of the files are changed (a pattern of names)."""


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 2, 4, 8, 64)))
        match rng.randrange(8):
            case 0:
                del out[at:]
            case 1:
                del out[at:end]
            case 2:
                out[at:end] = rng.randbytes(end - at)
            case 3:
                out[at:end] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * (end - at)
            case 4:
                out[at:at] = rng.choice(_PIECES)
            case 5:
                out[at:at] = out[at:end] * rng.choice((1, 2, 50))
            case 6 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case _:  # a number or a word of a text
                end = at
                while end < len(out) and chr(out[end]) not in ',:]}\n" ':
                    end += 1
                out[at:end] = rng.choice(_PIECES)
    return bytes(out)


def changed_structure(value: Any, rng: random.Random) -> Any:
    """A JSON value with a part of it replaced, dropped, exchanged or nested deeper."""
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key, child in list(part.items() if isinstance(part, dict) else enumerate(part)):
            places.append((part, key))
            if isinstance(child, dict | list):
                walk(child)

    if isinstance(value, dict | list):
        walk(value)
    if not places or rng.random() < 0.03:
        return rng.choice(_VALUES)
    part, key = rng.choice(places)
    match rng.randrange(5):
        case 0 | 1:
            part[key] = rng.choice(_VALUES)
        case 2:
            del part[key]
        case 3:
            other, name = rng.choice(places)
            part[key] = json.loads(json.dumps(other[name]))
        case _:
            for _ in range(rng.choice((1, 3, 200))):
                part[key] = [part[key]] if rng.random() < 0.5 else {"a": part[key]}
    return value


def changed(data: bytes, rng: random.Random) -> bytes:
    """A file's bytes changed: as they are, below their gzip, or as the JSON that they hold."""
    if data.startswith(b"\x1f\x8b") and rng.random() < 0.8:
        return gzip.compress(changed(gzip.decompress(data), rng), 1)
    if rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            lines = data.splitlines()
            number = rng.randrange(len(lines)) if lines else 0
            whole = (data[:1] in b"[{" and lines[0][-1:] not in b"}") or len(lines) == 1
            value = changed_structure(json.loads(data if whole else lines[number]), rng)
            text = json.dumps(value).encode()
            return text if whole else b"\n".join([*lines[:number], text, *lines[number + 1 :]])
    return changed_bytes(data, rng)


def prepare(reader: Reader, valid: Path, folder: Path, number: int) -> Path:
    """Make input `number` of a reader in `folder` from its valid files; returns what is changed."""
    rng = random.Random(f"{reader.name} {number}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder)
    files = sorted(f for f in folder.rglob(reader.changed) if f.is_file())
    file = rng.choice(files)
    file.write_bytes(changed(file.read_bytes(), rng))
    return file


def outcome(reader: Reader, folder: Path) -> tuple[str, str]:
    """("read" or "refused" or a fault, what was said)."""
    from rayforge.errors import UserError

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.read(folder)
    except UserError as error:
        message = str(error)
        if not message or len(message.splitlines()) != 1 or len(message) > LONGEST:
            return "not one line", message
        if isinstance(error.__cause__, MemoryError):
            return "memory", message
        return "refused", message
    except MemoryError as error:
        return "memory", str(error)
    except Exception as error:
        import traceback

        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
    return "read", ""


def _work(
    reader: Reader, valid: Path, folder: Path, first: int, last: int, out: Connection
) -> None:
    """In a process of its own: inputs `first` to `last`, each told before and after."""
    warnings.simplefilter("ignore")
    outcome(reader, valid)  # imports count for nobody
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(first, last):
        prepare(reader, valid, folder, number)
        out.send((number, None))
        signal.alarm(SECONDS)
        began = time.perf_counter()
        found = outcome(reader, folder)
        signal.alarm(0)
        out.send((number, (*found, time.perf_counter() - began)))


def fuzz(reader: Reader, inputs: int, keep: Path, first: int = 0) -> tuple[Counter[str], float]:
    """How often a reader did what, and the seconds of its longest input; faults are kept."""
    counts: Counter[str] = Counter()
    longest = 0.0
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        valid, folder = Path(name) / "valid", Path(name) / "input"
        valid.mkdir()
        reader.make(valid)
        kind, said = outcome(reader, valid)
        if kind != "read":
            raise SystemExit(f"{reader.name}: its valid files are {kind}: {said}")
        number, last = first, first + inputs
        while number < last:
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_work, args=(reader, valid, folder, number, last, theirs))
            process.start()
            theirs.close()
            found: tuple[str, str, float] | None = None
            with contextlib.suppress(EOFError):
                while True:
                    number, found = ours.recv()
                    if found is not None:
                        kind, said, seconds = found
                        counts[kind] += 1
                        longest = max(longest, seconds)
                        if kind not in ("read", "refused"):
                            _keep(reader, valid, keep, number, kind, said)
            process.join()
            if process.exitcode != 0:
                hung = process.exitcode == -signal.SIGALRM
                kind = "hang" if hung else f"crash {process.exitcode}"
                counts[kind] += 1
                _keep(reader, valid, keep, number, kind, "")
            number += 1
    return counts, longest


def _keep(reader: Reader, valid: Path, keep: Path, number: int, kind: str, said: str) -> None:
    """Keep and show an input that is a fault; of each reader the first few. It is made again here:
    the process goes on with the next."""
    if len(list(keep.glob(f"{reader.name}-*"))) < KEPT:
        prepare(reader, valid, keep / f"{reader.name}-{number}", number)
        print(f"  {reader.name} {number}: {kind}: {' '.join(said.split())[:300]}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    from tests.fuzz.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help="names; all where none is given")
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    known = {reader.name: reader for reader in READERS}
    if unknown := [name for name in given.readers if name not in known]:
        parser.error(f"unknown reader {unknown[0]}; there are {', '.join(known)}")
    faults = 0
    print(f"{'reader':22}{'inputs':>8}{'read':>8}{'refused':>9}{'faults':>8}{'longest s':>11}")
    for name in given.readers or known:
        counts, longest = fuzz(known[name], given.inputs, given.out, given.first)
        wrong = {kind: n for kind, n in counts.items() if kind not in ("read", "refused")}
        faults += sum(wrong.values())
        print(
            f"{name:22}{counts.total():8}{counts['read']:8}{counts['refused']:9}"
            f"{sum(wrong.values()):8}{longest:11.2f}  {wrong or ''}",
            flush=True,
        )
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    sys.exit(main())
