"""Tar archives read as a stream: nothing is extracted, nothing grows without a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.content import GZIP_MAGIC, check_size
from rayforge.readers.faults import REASON, one_line, reading, shown

_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class _Member(tarfile.TarInfo):
    """A header; a broken one is an error, where tarfile takes it for the archive's end."""

    @classmethod
    def frombuf(cls, *arguments: Any) -> Any:
        member = super().frombuf(*arguments)
        if member.type in _EXTENDED and member.size > limits.TAR_HEADER:
            raise tarfile.ReadError(f"a name of {limits.size(member.size)}")
        return member

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "header cut short") from error


class _Stream(io.RawIOBase):
    """A stream of which no more than `most` bytes can be read."""

    def __init__(self, file: Path, stream: BinaryIO, most: int, kind: type[UserError]) -> None:
        self.file, self.stream, self.most, self.kind = file, stream, most, kind
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.count += len(data)
        check_size(self.file, self.count, self.most, self.kind)
        return data


def read_tar(
    file: Path, wanted: Callable[[str], bool], kind: type[UserError] = DataError
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the plain files in an archive whose last part of the name is `wanted`.

    The archive may be packed by gzip, bzip2 or xz.

    Raises `kind` where the archive is missing, cut short (its end mark counts) or damaged, unpacks
    to more than `limits.unpacked`, or a member points out of it, is a link, a device or sparse, or
    is larger than `limits.MEMBER`.
    """
    with reading(file, kind), file.open("rb") as opened:
        most = limits.unpacked(file.stat().st_size)
        stream = _Stream(file, _unpacked(opened), most, kind)
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
                for member in archive:
                    content = _content(file, archive, member, wanted, kind)
                    if content is not None:
                        yield member.name, content
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise kind(
                f"{file}: not a whole tar archive ({one_line(error, REASON)}); copy it again"
            ) from error


def _unpacked(stream: Any) -> BinaryIO:
    magic = stream.peek(6)[:6]
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(stream)  # type: ignore[return-value]
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(stream)  # type: ignore[return-value]
    found: BinaryIO = stream
    return found


def _content(
    file: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: Callable[[str], bool],
    kind: type[UserError],
) -> bytes | None:  # fmt: skip
    """A member's bytes; None for folders and for files that are not wanted."""
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts:
        raise kind(f"{_place(file, member)} points out of the archive; pack it again")
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        raise kind(
            f"{_place(file, member)} is a link or device, or sparse; only plain files are read"
        )
    if not wanted(parts[-1]):
        return None
    check_size(_place(file, member), member.size, limits.MEMBER, kind)
    stream = archive.extractfile(member)
    assert stream is not None, "a plain file has content"
    content = stream.read()
    if len(content) != member.size:
        raise kind(f"{file}: not a whole tar archive (it ends in {member.name}); copy it again")
    return content


def _place(file: Path, member: tarfile.TarInfo) -> str:
    return f"{file}: member {shown(member.name)}"
