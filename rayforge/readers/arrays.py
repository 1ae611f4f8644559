"""Arrays on the disk: NPZ, NPY and safetensors. Nothing is unpickled, and what a file says about
its size is held against the file before memory is taken."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from rayforge.errors import DataError, UserError
from rayforge.readers import limits
from rayforge.readers.content import check_size
from rayforge.readers.faults import reading, shown


def read_npz(file: Path, kind: type[UserError] = DataError) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file by name.

    Raises `kind` where the file is missing or damaged, holds Python objects, or its arrays are
    larger than the limits or than the file has bytes for.
    """
    arrays: dict[str, np.ndarray] = {}
    with reading(file, kind, "remove it or copy it again"), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        check_size(file, unpacked, limits.unpacked(file.stat().st_size), kind)
        check_size(file, unpacked, limits.ARRAY, kind)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise kind(f"{file}: array {shown(name)} stands twice")
            with archive.open(member) as stream:
                shape, fortran, dtype = _header(stream)
                if dtype.hasobject:
                    raise kind(f"{file}: array {shown(name)} holds Python objects; none is read")
                count = math.prod(shape) * dtype.itemsize
                check_size(f"{file}: array {shown(name)}", count, member.file_size, kind)
                raw = np.empty(count, np.uint8)
                if stream.readinto(raw) != count or stream.read(1):  # type: ignore[attr-defined]
                    raise kind(f"{file}: array {shown(name)} has not the bytes that it says")
            flat = raw.view(dtype) if count else np.empty(0, dtype)
            arrays[name] = flat.reshape(shape, order="F" if fortran else "C")
    return arrays


def map_npy(file: Path, kind: type[UserError] = DataError) -> np.ndarray:
    """The array of an NPY file, mapped into memory and not read."""
    with reading(file, kind, "remove it or copy it again"):
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return array


def read_tensors(file: Path, kind: type[UserError] = DataError) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name."""
    from safetensors.numpy import load_file

    with reading(file, kind, "remove it or copy it again"):
        tensors: dict[str, np.ndarray] = load_file(file)
        return tensors


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type of an NPY stream, which stands behind its header then."""
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"NPY version {version} is not read")
    shape, fortran, dtype = read[version](stream)
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape of {shape}")
    return shape, fortran, dtype
