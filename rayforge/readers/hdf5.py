"""HDF5 files of features: data sets in the file itself, of numbers, not larger than they may be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.content import check_size
from rayforge.readers.faults import reading, shown

_REMEDY = "is it a whole HDF5 file? copy it again"


class HDF5File:
    """An open file whose data sets are numbers by name (no groups, links or other files)."""

    def __init__(self, file: Path, kind: type[UserError] = DataError) -> None:
        """Raises `kind` where the file is missing or not HDF5."""
        self.file, self.kind = file, kind
        with reading(file, kind, _REMEDY):
            # A path in bytes and a file that is there: h5py's own words for both are none.
            file.stat()
            self._open = h5py.File(file, "r")

    def first(self) -> str | None:
        """The name of the first data set, None where there is none."""
        with reading(self.file, self.kind, _REMEDY):
            return next((str(name) for name in self._open), None)

    def __contains__(self, name: str) -> bool:
        with reading(f"{self.file}: dataset {shown(name)}", self.kind, _REMEDY):
            return name in self._open

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a data set; raises `kind` where it is none that is read."""
        found: tuple[int, ...] = self._dataset(name).shape
        return found

    def read(self, name: str) -> np.ndarray:
        """A data set as a whole; raises `kind` where it is none that is read, or is damaged."""
        dataset = self._dataset(name)
        with reading(f"{self.file}: dataset {shown(name)}", self.kind, _REMEDY):
            values: np.ndarray = dataset[()]
            return values

    def _dataset(self, name: str) -> Any:
        place = f"{self.file}: dataset {shown(name)}"
        with reading(place, self.kind, _REMEDY):
            if name not in self._open:
                raise self.kind(f"{place} is not there")
            if not isinstance(self._open.get(name, getlink=True), h5py.HardLink):
                raise self.kind(f"{place} is a link; only what lies in the file itself is read")
            dataset = self._open[name]
            if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
                raise self.kind(f"{place} is no array (a group, a type or empty)")
            if dataset.external or dataset.is_virtual:
                raise self.kind(f"{place} lies in another file; only this file is read")
            if dataset.dtype.kind not in "fiu":
                raise self.kind(f"{place} holds {dataset.dtype}, not numbers")
            for shape in (dataset.shape, dataset.chunks or ()):
                count = math.prod(shape) * dataset.dtype.itemsize
                check_size(place, count, 36 * limits.FEATURES * 8, self.kind)
            return dataset
