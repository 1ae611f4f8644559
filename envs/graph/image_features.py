"""Stores of precomputed image features: the TSV and HDF5 files that VLN users have."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs.graph.buildings import VIEWS, Buildings
from envs.progress import Progress
from rayforge.errors import DataError
from rayforge.readers import limits
from rayforge.readers.content import read_lines
from rayforge.readers.faults import REASON, one_line
from rayforge.readers.hdf5 import HDF5File

TSV_FIELDS = ("scanId", "viewpointId", "image_w", "image_h", "vfov", "features")
TSV_ENDINGS = (".tsv", ".tsv.gz")
HDF5_ENDINGS = (".h5", ".hdf5")


class TSVStore:
    """The 36 x 2048 ResNet-152 features of R2R (Anderson et al. 2018), and files like them.

    One line a viewpoint, tab between the fields scanId, viewpointId, image_w, image_h, vfov,
    features; the last is base64 of float32 [36, D], D the same in all lines. Kept as float16.
    """

    pooling: Literal["max", "mean"] = "mean"

    def __init__(self, file: Path, scans: Collection[str] | None = None) -> None:
        """Read the file, with progress; `scans` limits what is kept to these buildings.

        Raises:
            DataError: the file is missing or empty, a line lacks fields, its features are not
                base64 of float32 [36, D] with finite values, or a viewpoint comes twice.
        """
        self.file = file
        self.dimension = 0
        self._views: dict[tuple[str, str], np.ndarray] = {}
        if not file.exists():
            raise DataError(f"{file}: no such feature file")
        with Progress(f"reading {file.name}") as progress:
            for number, line in enumerate(read_lines(file), start=1):
                self._read_line(f"{file}: line {number}", line, scans)
                progress.add()
        if not self._views:
            of = f" of the buildings {', '.join(sorted(scans))}" if scans is not None else ""
            raise DataError(f"{file}: no features{of} in it")

    def _read_line(self, place: str, line: bytes, scans: Collection[str] | None) -> None:
        fields = line.rstrip(b"\r\n").split(b"\t")
        if len(fields) != len(TSV_FIELDS):
            raise DataError(
                f"{place}: {len(fields)} fields; expected the {len(TSV_FIELDS)} fields"
                f" {', '.join(TSV_FIELDS)}"
            )
        scan, viewpoint = (fields[k].decode("utf-8", "replace") for k in (0, 1))
        if (scan, viewpoint) == TSV_FIELDS[:2] or (scans is not None and scan not in scans):
            return
        place = f"{place} (building {one_line(scan)}, viewpoint {one_line(viewpoint)})"
        if (scan, viewpoint) in self._views:
            raise DataError(f"{place}: this viewpoint has features in an earlier line too")
        try:
            content = base64.b64decode(fields[5], validate=True)
        except binascii.Error as error:
            raise DataError(
                f"{place}: features are not base64 ({one_line(error, REASON)})"
            ) from error
        numbers, rest = divmod(len(content), 4)
        dimension = self.dimension or numbers // VIEWS
        if rest or not dimension or numbers != VIEWS * dimension:
            width = self.dimension or "D"
            raise DataError(
                f"{place}: features have {len(content)} bytes; expected float32 [{VIEWS}, {width}]"
            )
        if dimension > limits.FEATURES:
            raise DataError(f"{place}: {dimension:,} features a view; {limits.FEATURES:,} at most")
        self.dimension = dimension
        views = np.frombuffer(content, dtype="<f4").reshape(VIEWS, dimension)
        self._views[scan, viewpoint] = _half(views, place)

    def panorama(self, scan: str, viewpoint: str) -> np.ndarray:
        try:
            return self._views[scan, viewpoint]
        except KeyError:
            raise _missing(self.file, [(scan, viewpoint)]) from None

    def towards(self, scan: str, viewpoint: str, neighbour: str, view: int) -> np.ndarray:
        found: np.ndarray = self.panorama(scan, viewpoint)[view]
        return found

    def check(self, buildings: Buildings) -> None:
        missing = [place for place in buildings.places() if place not in self._views]
        if missing:
            raise _missing(self.file, missing)


class HDF5Store:
    """CLIP or ViT features in HDF5: dataset ``{scan}_{viewpoint}`` of shape [36, D].

    Opened at first use and read on demand, so that a store may be sent to another process. The
    last panorama is kept: the edges of a viewpoint are read one after the other.
    """

    pooling: Literal["max", "mean"] = "mean"

    def __init__(self, file: Path) -> None:
        self.file = file
        self._open: HDF5File | None = None
        self._dimension = 0
        self._last: tuple[str, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None, "_last": None}

    def _datasets(self) -> HDF5File:
        if self._open is None:
            if not self.file.exists():
                raise DataError(f"{self.file}: no such feature file")
            self._open = HDF5File(self.file)
        return self._open

    @property
    def dimension(self) -> int:
        """D, of the first dataset in the file; `check` and `panorama` hold all others to it."""
        if not self._dimension:
            datasets = self._datasets()
            name = datasets.first()
            if name is None:
                raise DataError(f"{self.file}: no features in it")
            shape = datasets.shape(name)
            if len(shape) != 2 or shape[0] != VIEWS or not shape[1]:
                raise DataError(
                    f"{self.file}: dataset {one_line(name)} is {shape}; expected [{VIEWS}, D]"
                )
            self._dimension = int(shape[1])
        return self._dimension

    def _check(self, scan: str, viewpoint: str) -> str:
        """The name of a viewpoint's dataset, which is there and of the right shape."""
        name = f"{scan}_{viewpoint}"
        expected = (VIEWS, self.dimension)
        if name not in self._datasets():
            raise _missing(self.file, [(scan, viewpoint)])
        shape = self._datasets().shape(name)
        if shape != expected:
            raise DataError(
                f"{self.file}: dataset {one_line(name)} is {shape};"
                f" expected {expected} as in the first dataset"
            )
        return name

    def panorama(self, scan: str, viewpoint: str) -> np.ndarray:
        name = f"{scan}_{viewpoint}"
        if self._last is None or self._last[0] != name:
            views = self._datasets().read(self._check(scan, viewpoint))
            self._last = (name, _half(views, f"{self.file}: dataset {one_line(name)}"))
        return self._last[1]

    def towards(self, scan: str, viewpoint: str, neighbour: str, view: int) -> np.ndarray:
        found: np.ndarray = self.panorama(scan, viewpoint)[view]
        return found

    def check(self, buildings: Buildings) -> None:
        names = self._datasets()
        missing = [
            (scan, place) for scan, place in buildings.places() if f"{scan}_{place}" not in names
        ]
        if missing:
            raise _missing(self.file, missing)
        for scan, viewpoint in buildings.places():
            self._check(scan, viewpoint)


def open_image_features(file: Path, scans: Collection[str] | None = None) -> TSVStore | HDF5Store:
    """The store for a feature file, by its name's ending; `scans` as in `TSVStore`.

    Raises:
        DataError: another ending than .tsv, .tsv.gz, .h5 or .hdf5, no such file, or `TSVStore`
            refuses it.
    """
    if not file.name.endswith(TSV_ENDINGS + HDF5_ENDINGS):
        endings = ", ".join(TSV_ENDINGS + HDF5_ENDINGS)
        raise DataError(f"{file}: features are 'semantic' or a file that ends in one of {endings}")
    if not file.exists():
        raise DataError(f"{file}: no such feature file")
    return TSVStore(file, scans) if file.name.endswith(TSV_ENDINGS) else HDF5Store(file)


def _missing(file: Path, places: Sequence[tuple[str, str]]) -> DataError:
    scan, viewpoint = places[0]
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return DataError(
        f"{file}: no features of viewpoint {viewpoint} in building {scan}{more};"
        " use the feature file of these buildings"
    )


def _half(views: np.ndarray, place: str) -> np.ndarray:
    """Features as float16; what float16 cannot hold is an error, not an infinity."""
    with np.errstate(over="ignore"):
        half = views.astype(np.float16)
    if not np.isfinite(half).all():
        raise DataError(f"{place}: a value is not finite or over 65,504, which float16 cannot hold")
    return half
