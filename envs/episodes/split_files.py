"""Which file of a data folder holds a split, in each data set's own naming."""

from __future__ import annotations

from pathlib import Path

from rayforge.errors import DataError
from rayforge.readers.faults import shown

LAYOUTS = (
    "R2R_{}.json",
    "R4R_{}.json",
    "REVERIE_{}.json",
    "rxr_{}_guide.jsonl.gz",
    "rxr_{}_guide.jsonl",
    "rxr_{}_public_guide.jsonl.gz",  # of the test splits
    "rxr_{}_public_guide.jsonl",
    "rxr_{}.jsonl.gz",  # "train_follower" as a split
    "rxr_{}.jsonl",
)
"""A split's file, by its name; whole file names without their ending are splits as well."""
_ENDINGS = (".json", ".jsonl.gz", ".jsonl")


def split_file(folder: Path, split: str) -> Path:
    """The file of a split: the one that is there, or else ``R2R_{split}.json``.

    Raises:
        DataError: the folder has files of several data sets for it.
    """
    found = [folder / layout.format(split) for layout in LAYOUTS]
    if split.startswith(tuple(layout.partition("_")[0] + "_" for layout in LAYOUTS)):
        found += [folder / f"{split}{ending}" for ending in _ENDINGS]
    there = [file for file in found if file.exists()]
    if len(there) > 1:
        names = [file.name for file in there]
        whole = names[0].partition(".")[0]
        raise DataError(
            f"{folder}: split {shown(split)} is in {len(names)} files, {' and '.join(names)}; name "
            f"the one to be read ({whole}), or give each data set a folder of its own"
        )
    return there[0] if there else found[0]


def splits_of(folder: Path) -> list[str]:
    """The names of the splits that a folder has, sorted."""
    names = set()
    # "rxr_train_guide" is the split "train": the layout that says most counts.
    layouts = sorted((layout.split("{}") for layout in LAYOUTS), key=lambda parts: -len(parts[1]))
    for file in folder.iterdir():
        for before, after in layouts:
            if file.name.startswith(before) and file.name.endswith(after):
                names.add(file.name.removeprefix(before).removesuffix(after))
                break
    return sorted(names)
