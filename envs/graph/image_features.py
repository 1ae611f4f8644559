"""Stores of precomputed image features: the TSV and HDF5 files that VLN users have."""

from __future__ import annotations

from pathlib import Path

from envs.episodes.episode import DataError
from envs.graph.features import FeatureStore


def open_image_features(file: Path) -> FeatureStore:
    """The store for a feature file, by its name's ending.

    Raises:
        DataError: another ending than .tsv, .tsv.gz, .h5 or .hdf5.
    """
    raise DataError(f"{file}: image features end in .tsv, .tsv.gz, .h5 or .hdf5")
