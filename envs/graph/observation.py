"""Observation tables: what the learner gathers by viewpoint and slot instead of storing it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from envs.graph.buildings import HEADING_BINS, VIEWS, Buildings, view_index
from envs.graph.features import FeatureStore
from envs.progress import Progress


@dataclass(frozen=True, eq=False)
class ObservationTables:
    """Features and directions of V viewpoints and E directed edges, at most K a viewpoint.

    Attributes:
        sectors: float16 [V, 12, D], the views within 45 degrees of each heading bin (three
            headings, three elevations), pooled as the store says.
        towards: float16 [E, D], how the neighbour looks, one row a directed edge.
        edge: int32 [V, K], row of `towards`, -1 pads.
        heading, elevation: float32 [V, K], absolute, radians.
        length: float32 [V, K], metres.
    """

    sectors: np.ndarray = field(repr=False)
    towards: np.ndarray = field(repr=False)
    edge: np.ndarray = field(repr=False)
    heading: np.ndarray = field(repr=False)
    elevation: np.ndarray = field(repr=False)
    length: np.ndarray = field(repr=False)

    @property
    def dimension(self) -> int:
        """D, the features of a view."""
        return int(self.sectors.shape[2])


def pool_sectors(panorama: np.ndarray, pooling: str) -> np.ndarray:
    """Pool [..., 36, D] views into [..., 12, D] sectors: bins h-1, h, h+1 at all elevations.

    Raises:
        ValueError: `pooling` is neither "max" nor "mean".
    """
    if pooling not in ("max", "mean"):
        raise ValueError(f"pooling is {pooling!r}; it must be 'max' or 'mean'")
    rows = panorama.astype(np.float32).reshape(
        *panorama.shape[:-2], VIEWS // HEADING_BINS, HEADING_BINS, panorama.shape[-1]
    )
    if pooling == "max":
        level = rows.max(axis=-3)
        left, right = np.roll(level, 1, axis=-2), np.roll(level, -1, axis=-2)
        found: np.ndarray = np.maximum(np.maximum(left, level), right).astype(np.float16)
        return found
    level = rows.mean(axis=-3)
    left, right = np.roll(level, 1, axis=-2), np.roll(level, -1, axis=-2)
    found = ((left + level + right) / 3).astype(np.float16)
    return found


def observation_tables(buildings: Buildings, store: FeatureStore) -> ObservationTables:
    """Read every viewpoint and edge of `buildings` from `store` once.

    Raises:
        DataError: the store does not serve these buildings (`FeatureStore.check`).
    """
    store.check(buildings)
    count = len(buildings.viewpoint_ids)
    present = buildings.neighbours >= 0
    edge = np.full(present.shape, -1, dtype=np.int32)
    edge[present] = np.arange(present.sum(), dtype=np.int32)
    views = view_index(buildings.heading, buildings.elevation)
    sectors = np.empty((count, HEADING_BINS, store.dimension), dtype=np.float16)
    towards = np.empty((int(present.sum()), store.dimension), dtype=np.float16)
    with Progress("reading features", count) as progress:
        for index, viewpoint in enumerate(buildings.viewpoint_ids):
            scan = buildings.scans[buildings.building[index]]
            sectors[index] = pool_sectors(store.panorama(scan, viewpoint), store.pooling)
            for slot in np.flatnonzero(present[index]):
                neighbour = buildings.viewpoint_ids[buildings.neighbours[index, slot]]
                towards[edge[index, slot]] = store.towards(
                    scan, viewpoint, neighbour, int(views[index, slot])
                )
            progress.add()
    return ObservationTables(
        sectors=sectors,
        towards=towards,
        edge=edge,
        heading=buildings.heading,
        elevation=buildings.elevation,
        length=buildings.length,
    )
