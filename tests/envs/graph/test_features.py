"""The semantic store shows what is seen from here, and a neighbour's room only on demand."""

from pathlib import Path

import numpy as np
import pytest

from envs.graph.boxes import ROOM_LABELS, SeenObject, object_words, read_boxes, read_room_labels
from envs.graph.buildings import Buildings, join_graphs
from envs.graph.features import SemanticStore
from envs.graph.navigation_graph import read_connectivity
from envs.graph.observation import observation_tables, pool_sectors
from rayforge.errors import DataError

ROOMS = len(ROOM_LABELS)


class Sources:
    """The parts of a store of building alpha, for tests to change one at a time."""

    def __init__(self, folder: Path) -> None:
        graph = read_connectivity(folder / "connectivity" / "alpha_connectivity.json")
        self.buildings: Buildings = join_graphs([graph])
        self.labels = read_room_labels(folder / "vp2room_label.json", ["alpha"])
        self.boxes = dict(read_boxes(folder / "BBox", ["alpha"]))
        self.objects = object_words(self.boxes, ["alpha"], 1)

    def store(self, neighbour_rooms: bool = False) -> SemanticStore:
        return SemanticStore(
            self.buildings, self.labels, self.boxes, self.objects, neighbour_rooms=neighbour_rooms
        )

    def everything_at(
        self, store: SemanticStore, viewpoint: str
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        index = self.buildings.index("alpha", viewpoint)
        ids = self.buildings.viewpoint_ids
        around = [ids[n] for n in self.buildings.neighbours[index] if n >= 0]
        views = range(36)
        return store.panorama("alpha", viewpoint), {
            there: np.stack([store.towards("alpha", viewpoint, there, view) for view in views])
            for there in around
        }


@pytest.fixture
def sources(tiny_folder: Path) -> Sources:
    return Sources(tiny_folder)


def test_blocks_of_a_view(sources: Sources) -> None:
    sources.objects = ("lamp", "bed")
    sources.labels["alpha", "alpha00"] = "k"
    sources.boxes["alpha", "alpha00"] = (
        SeenObject(("bed", "cover"), (0, 13)),
        SeenObject(("bed",), (13,)),
        SeenObject(("lamp",), (35,)),
    )
    store = sources.store()
    views = store.panorama("alpha", "alpha00")
    assert (views.dtype, views.shape, store.dimension) == (np.float16, (36, ROOMS + 3), ROOMS + 3)
    assert views[:, :ROOMS].sum(axis=0).tolist() == [36.0 * (label == "k") for label in ROOM_LABELS]
    assert np.flatnonzero(views[:, ROOMS]).tolist() == [35]
    assert np.flatnonzero(views[:, ROOMS + 1]).tolist() == [0, 13]
    openness = sources.buildings.openness[0].astype(float) / 10
    assert openness.max() > 0.1
    np.testing.assert_allclose(views[:, ROOMS + 2], np.tile(openness, 3), rtol=1e-3)
    sources.labels["alpha", "alpha00"] = "-"
    assert not sources.store().panorama("alpha", "alpha00")[:, :ROOMS].any()


def test_without_the_setting_nothing_of_a_neighbour_shows(sources: Sources) -> None:
    store = sources.store()
    before = {v: sources.everything_at(store, v) for v in sources.buildings.viewpoint_ids}
    for changed in ("alpha01", "alpha05"):
        sources.labels["alpha", changed] = "Z"
        sources.boxes["alpha", changed] = (SeenObject(("bed", "lamp"), tuple(range(36))),)
    store = sources.store()
    for viewpoint, (panorama, towards) in before.items():
        again, towards_again = sources.everything_at(store, viewpoint)
        if viewpoint in ("alpha01", "alpha05"):
            assert (again != panorama).any()
            continue
        np.testing.assert_array_equal(again, panorama)
        for there in towards:
            np.testing.assert_array_equal(towards_again[there], towards[there])
            np.testing.assert_array_equal(towards[there], panorama)


def test_with_the_setting_only_towards_tells_the_room(sources: Sources) -> None:
    plain = sources.store()
    store = sources.store(neighbour_rooms=True)
    before, before_towards = sources.everything_at(store, "alpha00")
    np.testing.assert_array_equal(before[:, : plain.dimension], plain.panorama("alpha", "alpha00"))
    assert not before[:, plain.dimension :].any()
    sources.labels["alpha", "alpha01"] = "Z"
    after, towards = sources.everything_at(sources.store(neighbour_rooms=True), "alpha00")
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(towards["alpha05"], before_towards["alpha05"])
    block = towards["alpha01"][:, plain.dimension :]
    assert block.argmax(axis=1).tolist() == [ROOM_LABELS.index("Z")] * 36
    assert (block.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(
        towards["alpha01"][:, : plain.dimension], before_towards["alpha01"][:, : plain.dimension]
    )


def test_tables_do_not_leak_either(sources: Sources) -> None:
    """The learner reads the tables: changing one label changes that viewpoint's rows alone."""
    index = sources.buildings.index("alpha", "alpha01")
    rows = sources.buildings.neighbours
    plain = observation_tables(sources.buildings, sources.store())
    telling = observation_tables(sources.buildings, sources.store(neighbour_rooms=True))
    sources.labels["alpha", "alpha01"] = "Z"
    plain_after = observation_tables(sources.buildings, sources.store())
    telling_after = observation_tables(sources.buildings, sources.store(neighbour_rooms=True))

    def changed(before: np.ndarray, after: np.ndarray) -> set[int]:
        axes = tuple(range(1, before.ndim))
        return set(np.flatnonzero((before != after).any(axis=axes)).tolist())

    own_edges = set(plain.edge[index][plain.edge[index] >= 0].tolist())
    edges_there = set(plain.edge[rows == index].tolist())
    assert changed(plain.sectors, plain_after.sectors) == {index}
    assert changed(plain.towards, plain_after.towards) == own_edges
    assert changed(telling.sectors, telling_after.sectors) == {index}
    assert changed(telling.towards, telling_after.towards) == own_edges | edges_there


def test_missing_labels_and_boxes(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    del sources.boxes["alpha", "alpha03"]
    store = sources.store()
    store.check(sources.buildings)
    assert store.without_boxes == 1
    assert not store.panorama("alpha", "alpha03")[:, ROOMS:-1].any()
    assert capsys.readouterr().err == ""
    sources.boxes.clear()
    sources.store().check(sources.buildings)
    assert capsys.readouterr().err.count("building alpha has no object boxes") == 1
    del sources.labels["alpha", "alpha04"]
    with pytest.raises(DataError, match=r"vp2room_label\.json: building alpha: viewpoint alpha04"):
        sources.store().check(sources.buildings)
    sources.objects = ("bed", "lamp", "bed")
    with pytest.raises(DataError, match="word 'bed' stands twice"):
        sources.store()


def test_sectors_pool_three_headings_and_all_elevations() -> None:
    panorama = np.zeros((36, 2), np.float16)
    panorama[12 + 3, 0] = 9  # level, heading 90 degrees
    panorama[24 + 0, 1] = 18  # up, heading 0
    largest = pool_sectors(panorama, "max")
    assert np.flatnonzero(largest[:, 0]).tolist() == [2, 3, 4]
    assert np.flatnonzero(largest[:, 1]).tolist() == [0, 1, 11]
    assert largest.max(axis=0).tolist() == [9, 18]
    mean = pool_sectors(panorama, "mean")
    assert mean[[2, 3, 4], 0].tolist() == [1, 1, 1]
    assert mean[[11, 0, 1], 1].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="pooling is 'sum'"):
        pool_sectors(panorama, "sum")


def test_tables_hold_each_edge_once(sources: Sources) -> None:
    buildings, store = sources.buildings, sources.store(neighbour_rooms=True)
    tables = observation_tables(buildings, store)
    assert tables.dimension == store.dimension
    present = buildings.neighbours >= 0
    assert ((tables.edge >= 0) == present).all()
    assert sorted(tables.edge[present].tolist()) == list(range(len(tables.towards)))
    ids = buildings.viewpoint_ids
    for here, slot in np.argwhere(present):
        there = ids[buildings.neighbours[here, slot]]
        # Neighbours here are level: the view is 12 + the heading's bin.
        view = 12 + round(float(buildings.heading[here, slot]) / np.radians(30)) % 12
        np.testing.assert_array_equal(
            tables.towards[tables.edge[here, slot]], store.towards("alpha", ids[here], there, view)
        )
