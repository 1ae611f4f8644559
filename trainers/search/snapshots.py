"""The run folders of a search's trials: as Tune keeps them while trials run, and at rest.

While a search runs, each report leaves a snapshot of the trial's run folder below `tune-N`, with
the files that Tune writes for itself. When it ends, or is resumed, each trial's newest snapshot
becomes its run folder, `trial-0003`, and `tune-N` goes. In a bucket, where folders cannot be
renamed, snapshots stay where they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from trainers.search.state import Record, State
from trainers.search.storage import Folder

TRIAL = "trial-"
"""What the run folders of trials begin with; their numbers follow."""
TUNE = "tune-"
"""What the folders begin with that Tune works in; the number of the start follows."""


def folder_of(number: int) -> str:
    """A trial's run folder in that of the search."""
    return f"{TRIAL}{number:04d}"


def settle(folder: Folder, state: State) -> None:
    """Put every trial's newest snapshot in its place, write `state` down, remove what is Tune's.

    Killed anywhere, it does the rest the next time.
    """
    if folder.remote:
        return
    here = Path(str(folder))
    for record in state.trials.values():
        if record.takeover is not None:  # first: the donor's snapshot moves as well
            _copy_donor(here, record)
    for record in state.trials.values():
        if record.takeover is None:
            _move(here, record)
        _keep_events(here, record.number)
    state.save(folder)
    for left in here.glob(f"{TUNE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _part(here: Path, number: int) -> Path:
    return here / f".{folder_of(number)}.part"


def _copy_donor(here: Path, record: Record) -> None:
    """A trial that goes on from another's snapshot gets a copy of it as its own run folder."""
    assert record.takeover is not None
    own = folder_of(record.number)
    source, part = here / record.takeover.snapshot, _part(here, record.number)
    if record.takeover.snapshot == own:
        return
    if source.is_dir():
        copying = part.with_suffix(".copying")
        shutil.rmtree(copying, ignore_errors=True)
        shutil.copytree(source, copying)
        shutil.rmtree(part, ignore_errors=True)
        copying.rename(part)
    _replace(here, record.number)
    record.takeover.snapshot = record.snapshot = own


def _move(here: Path, record: Record) -> None:
    source, part = here / record.snapshot, _part(here, record.number)
    if not record.snapshot:
        return
    if record.snapshot.startswith(TUNE) and source.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        source.rename(part)
    _replace(here, record.number)
    record.snapshot = folder_of(record.number)


def _replace(here: Path, number: int) -> None:
    """Give the part its name; evaluations of the run folder before it were of other weights."""
    part, final = _part(here, number), here / folder_of(number)
    if part.is_dir():
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)


def _keep_events(here: Path, number: int) -> None:
    """TensorBoard's records of a trial, which Tune keeps beside its snapshots; one file a start."""
    final = here / "tensorboard" / folder_of(number)
    for file in here.glob(f"{TUNE}*/{folder_of(number)}/events.out.tfevents.*"):
        final.mkdir(parents=True, exist_ok=True)
        file.rename(final / file.name)
