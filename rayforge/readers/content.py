"""Bytes and lines of files, packed by gzip or not, within the limits; and blank texts."""

from __future__ import annotations

import gzip
import io
import os
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.faults import one_line, reading

GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(file: Path, limit: int = limits.TEXT, kind: type[UserError] = DataError) -> bytes:
    """The whole of a file, unpacked where it is gzip by its content (unpacked files keep their
    ".gz" now and then).

    Raises `kind` where it is missing, unreadable, damaged or larger than `limit`.
    """
    with reading(file, kind), file.open("rb") as stream:
        # Not `read(limit)`, which takes the limit's memory at once.
        size = os.fstat(stream.fileno()).st_size
        check_size(file, size, limit, kind)
        packed = stream.read(size + 1)
        check_size(file, len(packed), limit, kind)
        if not packed.startswith(GZIP_MAGIC):
            return packed
        most = min(limit, limits.unpacked(len(packed)))
        content = io.BytesIO()
        with unpacking(file, kind), gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
            while part := unpacked.read(limits.MIB):
                check_size(file, content.tell() + len(part), most, kind)
                content.write(part)
        return content.getvalue()


def read_text(file: Path, limit: int = limits.TEXT, kind: type[UserError] = DataError) -> str:
    """The whole of a UTF-8 file, without a byte order mark."""
    with reading(file, kind):
        return read_bytes(file, limit, kind).decode("utf-8-sig")


def read_lines(file: Path, kind: type[UserError] = DataError) -> Iterator[bytes]:
    """The lines of a file, packed by gzip (by its content) or not, with their ends.

    Raises `kind` where it is missing, unreadable or damaged, a line is longer than `limits.LINE`,
    or more is unpacked than `limits.unpacked` allows: after the lines before it.
    """
    with reading(file, kind), file.open("rb") as stream:
        packed = stream.peek(2)[:2] == GZIP_MAGIC
        most = limits.unpacked(file.stat().st_size) if packed else None
        lines: BinaryIO = gzip.GzipFile(fileobj=stream) if packed else stream  # type: ignore
        read, number = 0, 0
        with unpacking(file, kind):
            while line := lines.readline(limits.LINE + 1):
                number += 1
                check_size(f"{file}: line {number}", len(line), limits.LINE, kind)
                read += len(line)
                if most is not None:
                    check_size(file, read, most, kind)
                yield line


@contextmanager
def unpacking(file: str | Path, kind: type[UserError] = DataError) -> Iterator[None]:
    """What goes wrong in unpacking becomes one line."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise kind(
            f"{file}: the gzip is cut short or damaged ({one_line(error)}); copy the file again"
        ) from error


def check_size(place: str | Path, count: int, limit: int, kind: type[UserError]) -> None:
    """Raises `kind` where something has more bytes than its limit."""
    if count > limit:
        raise kind(
            f"{place}: larger than the limit of {limits.size(limit)} (what is packed counts as "
            "unpacked); is it what it should be?"
        )


def is_blank(text: str) -> bool:
    """Whether nothing of a text is seen: spaces, controls and marks without width alone."""
    return not text.strip() or all(
        char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text
    )
