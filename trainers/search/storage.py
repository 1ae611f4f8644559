"""A search's folder, on a disk or in a bucket: small files written and read by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from rayforge.errors import RunError
from rayforge.files import write_text
from rayforge.readers.faults import reading


@dataclass(frozen=True)
class Folder:
    """`storage`/`name`; `storage` is a folder or a URI that pyarrow knows."""

    place: str
    name: str

    @property
    def remote(self) -> bool:
        return "://" in self.place

    @property
    def storage(self) -> str:
        """The storage as Tune takes it: a URI, or an absolute path."""
        return self.place if self.remote else str(Path(self.place).absolute())

    def __str__(self) -> str:
        return f"{self.storage.rstrip('/')}/{self.name}"

    def read(self, file: str) -> str | None:
        """The text of a file, or None where there is none. Raises RunError where it is no text."""
        filesystem, folder = self._open()
        path = f"{folder}/{file}"
        if filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        place = f"{self}/{file}"
        with reading(place, RunError, "put it back"), filesystem.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()

    def folders(self) -> list[str]:
        """The names of the folders in it."""
        filesystem, folder = self._open()
        inside = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return sorted(entry.base_name for entry in inside if entry.type == fs.FileType.Directory)

    def copy(self, name: str, to: Path) -> None:
        """Copy what a folder in it holds into the folder `to` of this machine."""
        filesystem, folder = self._open()
        fs.copy_files(
            f"{folder}/{name}", str(to), source_filesystem=filesystem,
            destination_filesystem=fs.LocalFileSystem(),
        )  # fmt: skip

    def remove_file(self, name: str) -> None:
        filesystem, folder = self._open()
        filesystem.delete_file(f"{folder}/{name}")

    def write(self, file: str, text: str) -> None:
        """Write a file whole or not at all (a bucket does so by itself)."""
        filesystem, folder = self._open()
        path = f"{folder}/{file}"
        if not self.remote:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(path), text)
            return
        filesystem.create_dir(folder, recursive=True)  # nothing to do in a bucket
        with filesystem.open_output_stream(path) as stream:
            stream.write(text.encode())

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self.remote:
            filesystem, path = fs.FileSystem.from_uri(str(self))
            return filesystem, path
        return fs.LocalFileSystem(), str(self)
