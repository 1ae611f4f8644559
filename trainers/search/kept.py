"""What Tune writes down of a search, kept whole.

Tune copies its state into the search's folder file by file, over what lies there. Killed meanwhile,
it leaves an empty file behind, and nothing to resume from. So the same state goes there as one
archive too, which is only ever replaced as a whole.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from pyarrow import fs
from ray.tune import Callback

from rayforge.files import write_bytes, write_whole

STATE = "state.zip"
NEWEST = "experiment_state-*.json"
"""The file that changes with every state."""


class KeptState(Callback):
    """Keeps each state that Tune writes down, beside Tune's own copy. In a bucket there is nothing
    to do: objects are whole or not there."""

    written = 0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._keep(trials)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._keep(trials)

    def _keep(self, trials: list[Any]) -> None:
        if not trials or not isinstance(trials[0].storage.storage_filesystem, fs.LocalFileSystem):
            return
        storage = trials[0].storage
        staging = Path(storage.experiment_driver_staging_path)
        written = max((f.stat().st_mtime_ns for f in staging.glob(NEWEST)), default=0)
        if written > self.written:
            self.written = written
            keep(staging, Path(storage.experiment_fs_path))


def keep(source: Path, folder: Path) -> None:
    """Write the files of `source`, not its folders, to `folder` as one archive."""

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(source.iterdir()):
                if file.is_file():
                    archive.write(file, file.name)

    write_whole(folder / STATE, write)


def bring_back(folder: Path) -> None:
    """Put the kept state, where there is one, in the place of what Tune left in the folder.

    Raises ValueError for a name in the archive that would leave the folder.
    """
    if not (folder / STATE).is_file():
        return
    with zipfile.ZipFile(folder / STATE) as archive:
        for name in archive.namelist():
            if Path(name).name != name or name in ("", ".", ".."):
                raise ValueError(f"{folder / STATE} holds {name!r}, which is not a plain file name")
            write_bytes(folder / name, archive.read(name))
