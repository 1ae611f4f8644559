"""Panoramas rendered at the viewpoints of generated houses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.graph.navigation_data import read_navigation_data
from envs.graph.rendered_features import LOOK, RenderedStore, Rendering
from envs.houses.dataset import read_houses, write_houses
from envs.houses.house import House
from rayforge.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two houses to train in and an unseen one."""
    folder = tmp_path_factory.mktemp("rendered") / "houses"
    write_houses(folder, train_houses=2, unseen_houses=1, paths_per_house=4, seed=0)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "panoramas-cache"))


def test_the_graph_task_reads_them(folder: Path) -> None:
    data = read_navigation_data(folder, splits=["train", "val_unseen"], features="rendered")
    assert "wall" in data.objects
    assert data.tables.dimension == LOOK + len(data.objects)
    assert np.isfinite(data.tables.sectors.astype(np.float32)).all()
    # The categories are training's: given again, the other split reads alike.
    other = read_navigation_data(
        folder, splits=["val_unseen"], features="rendered", objects=data.objects
    )
    both = {v: k for k, v in enumerate(data.buildings.viewpoint_ids)}
    rows = [both[v] for v in other.buildings.viewpoint_ids]
    np.testing.assert_array_equal(data.tables.sectors[rows], other.tables.sectors)


def bearing(house: House, viewpoint: int, x: float, y: float) -> int:
    """Heading bin of a place seen from a viewpoint."""
    east, north = x - house.positions[viewpoint, 0], y - house.positions[viewpoint, 1]
    return round(np.arctan2(east, north) / (np.pi / 6)) % 12


def test_views_look_where_their_headings_say(folder: Path) -> None:
    """The floor is below, the ceiling above, and each view's depth is its neighbour's at least."""
    data = read_navigation_data(folder, splits=["train"], features="rendered")
    house = next(h for scan, h in read_houses(folder).items() if scan in data.graphs)
    store = RenderedStore(list(data.graphs.values()), Rendering(folder / "scenes"), None, ())
    floor, ceiling = (LOOK + store.categories.index(name) for name in ("floor", "ceiling"))
    for row, viewpoint in enumerate(house.viewpoints):
        views = store.panorama(house.scan, viewpoint.id).astype(np.float32)
        assert views.shape == (36, store.dimension)
        assert views[:12, floor].mean() > views[24:, floor].mean()
        assert views[24:, ceiling].mean() > views[:12, ceiling].mean()
        for a, b in house.edges:
            if row in (a, b):
                x, y, _ = house.positions[b if row == a else a]
                metres = np.hypot(x - house.positions[row, 0], y - house.positions[row, 1])
                ahead = views[12 + bearing(house, row, x, y)]
                depths = ahead[[3, 7, 11, 15]] * 10.0
                assert depths.max() > 0.6 * min(metres, 8.0)


def test_what_was_rendered_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_navigation_data(folder, splits=["train"], features="rendered")

    def never(*arguments: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr("envs.graph.rendered_features.open_simulator", never)
    again = read_navigation_data(folder, splits=["train"], features="rendered")
    np.testing.assert_array_equal(first.tables.sectors, again.tables.sectors)


def test_missing_scenes_are_listed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no scene for 2 of 2 buildings .house00000.*--scenes"):
        read_navigation_data(
            folder, splits=["train"], features="rendered", rendering=Rendering(tmp_path)
        )
