"""A data folder: splits, buildings held out, vocabulary, and what is refused."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from envs.graph.navigation_data import NavigationData, read_navigation_data
from rayforge.errors import DataError


def scans(data: NavigationData, split: str) -> set[str]:
    return {episode.scan for episode in data.splits[split]}


def test_only_the_buildings_of_the_asked_splits_are_loaded(tiny_folder: Path) -> None:
    data = read_navigation_data(tiny_folder, splits=["train", "val_seen"])
    assert data.buildings.scans == ("alpha", "beta")
    assert list(data.graphs) == ["alpha", "beta"]
    assert {split: len(episodes) for split, episodes in data.splits.items()} == {
        "train": 36,
        "val_seen": 15,
    }
    viewpoints = len(data.buildings.viewpoint_ids)
    assert viewpoints == 33
    assert data.tables.sectors.shape == (33, 12, 30 + len(data.objects) + 1)
    assert data.tables.edge.shape == data.buildings.neighbours.shape
    # Another building's bad graph is nobody's business here.
    (tiny_folder / "connectivity" / "gamma_connectivity.json").write_text("[")
    read_navigation_data(tiny_folder, splits=["val_seen"])


def test_held_out_buildings_leave_train_and_val_seen(tiny_folder: Path) -> None:
    data = read_navigation_data(
        tiny_folder, splits=["train", "held_out"], held_out=["alpha"], min_object_count=1
    )
    assert scans(data, "train") == {"beta"}
    assert scans(data, "held_out") == {"alpha"}
    whole = read_navigation_data(tiny_folder, splits=["train", "val_seen"])
    expected = [
        episode
        for split in ("train", "val_seen")
        for episode in whole.splits[split]
        if episode.scan == "alpha"
    ]
    assert list(data.splits["held_out"]) == expected
    alone = read_navigation_data(tiny_folder, splits=["train"], held_out=["alpha"])
    assert alone.buildings.scans == ("beta",)
    with pytest.raises(DataError, match="split 'val_seen' has no episodes left"):
        read_navigation_data(tiny_folder, splits=["val_seen"], held_out=["alpha"])


def test_training_in_some_buildings_alone_leaves_the_others_splits_as_they_are(
    tiny_folder: Path,
) -> None:
    data = read_navigation_data(
        tiny_folder, splits=["train", "held_out", "val_unseen"], held_out=["alpha"], only=["beta"]
    )
    assert scans(data, "train") == {"beta"}
    assert scans(data, "held_out") == {"alpha"}
    assert scans(data, "val_unseen") == {"gamma"}
    alone = read_navigation_data(tiny_folder, splits=["train", "val_seen"], only=["alpha"])
    assert scans(alone, "train") == scans(alone, "val_seen") == {"alpha"}
    assert len(alone.splits["train"]) == 18
    with pytest.raises(DataError, match=r"training building 'betta' .* nearest name is beta"):
        read_navigation_data(tiny_folder, splits=["train"], only=["betta"])
    with pytest.raises(DataError, match="'beta' is held out and to be trained in"):
        read_navigation_data(tiny_folder, splits=["train"], held_out=["beta"], only=["beta"])


def test_vocabulary_is_of_the_training_buildings(tiny_folder: Path) -> None:
    for file in (tiny_folder / "BBox").glob("alpha_*.json"):
        viewpoint = file.stem.removeprefix("alpha_")
        file.write_text(json.dumps({viewpoint: {"1": {"name": "piano#stool", "visible_pos": [1]}}}))
    everything = read_navigation_data(tiny_folder, splits=["val_unseen"])
    assert {"piano", "lamp"} <= set(everything.objects)
    without = read_navigation_data(tiny_folder, splits=["val_unseen"], held_out=["alpha"])
    assert "piano" not in without.objects and "lamp" in without.objects
    given = read_navigation_data(tiny_folder, splits=["val_unseen"], objects=("piano",))
    assert given.objects == ("piano",)
    assert given.tables.dimension == 32
    assert not given.tables.sectors[..., 30].any()
    # A folder with new buildings only, as at evaluation: its own words unless told others.
    (tiny_folder / "R2R_train.json").unlink()
    (tiny_folder / "R2R_val_seen.json").unlink()
    alone = read_navigation_data(tiny_folder, splits=["val_unseen"])
    assert "piano" not in alone.objects and "lamp" in alone.objects


def test_an_archive_of_boxes_serves_as_well(tiny_folder: Path) -> None:
    folder = read_navigation_data(tiny_folder, splits=["train"], neighbour_rooms=True)
    with tarfile.open(tiny_folder / "BBox.tar.gz", "w:gz") as archive:
        archive.add(tiny_folder / "BBox", "BBox")
    shutil.rmtree(tiny_folder / "BBox")
    packed = read_navigation_data(tiny_folder, splits=["train"], neighbour_rooms=True)
    np.testing.assert_array_equal(packed.tables.towards, folder.tables.towards)
    np.testing.assert_array_equal(packed.tables.sectors, folder.tables.sectors)
    assert packed.tables.dimension == 30 + len(packed.objects) + 1 + 30


def test_bad_requests(tiny_folder: Path) -> None:
    def refused(message: str, **request: object) -> None:
        settings = {"splits": ["train"]} | request
        with pytest.raises(DataError, match=message):
            read_navigation_data(tiny_folder, **settings)  # type: ignore[arg-type]

    refused("no split 'test'.*it has train, val_seen, val_unseen", splits=["test"])
    refused("no split asked for; it has train", splits=[])
    refused("names a split twice", splits=["train", "train"])
    refused("'held_out' is asked for, but no building is held out", splits=["held_out"])
    refused("held-out building 'alhpa' .* nearest name is alpha", held_out=["alhpa"])
    refused("held-out building 'gamma'", held_out=["gamma"])
    refused("split 'train' has no episodes left", held_out=["alpha", "beta"])
    refused("neighbour_rooms belongs to semantic", features="f.h5", neighbour_rooms=True)
    refused("'semantic' or a file that ends in", features="clip")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_navigation_data(tiny_folder / "nowhere", splits=["train"])


def _drop_graph(folder: Path) -> None:
    (folder / "connectivity" / "beta_connectivity.json").unlink()


def _cut_graph(folder: Path) -> None:
    file = folder / "connectivity" / "beta_connectivity.json"
    file.write_text(file.read_text()[:500])


def _leave_path(folder: Path) -> None:
    file = folder / "R2R_train.json"
    records = json.loads(file.read_text())
    records[3]["path"][-1] = "beta99"
    file.write_text(json.dumps(records))


def _jump(folder: Path) -> None:
    file = folder / "R2R_train.json"
    records = json.loads(file.read_text())
    records[3]["path"] = ["beta00", "beta17"]
    file.write_text(json.dumps(records))


def _drop_label(folder: Path) -> None:
    file = folder / "vp2room_label.json"
    labels = json.loads(file.read_text())
    del labels["pano_info"]["beta"]["beta05"]
    file.write_text(json.dumps(labels))


def _drop_boxes(folder: Path) -> None:
    shutil.rmtree(folder / "BBox")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_graph, "beta_connectivity.json: no such file"),
        (_cut_graph, "beta_connectivity.json: not valid JSON"),
        (_leave_path, r"R2R_train.json: path_id 104: viewpoint 'beta99' is not in the graph"),
        (_jump, r"R2R_train.json: path_id 104: step 0 from beta00 to beta17 is no edge"),
        (_drop_label, r"vp2room_label.json: building beta: viewpoint beta05 has no room label"),
        (_drop_boxes, r"semantic features need BBox/ or BBox.tar.gz"),
    ],
)
def test_damaged_folders(tiny_folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(tiny_folder)
    with pytest.raises(DataError, match=message):
        read_navigation_data(tiny_folder, splits=["train"])


def test_an_episode_may_not_be_in_both_sources_of_the_held_out_split(tiny_folder: Path) -> None:
    train = json.loads((tiny_folder / "R2R_train.json").read_text())
    file = tiny_folder / "R2R_val_seen.json"
    file.write_text(json.dumps([*json.loads(file.read_text()), train[0]]))
    read_navigation_data(tiny_folder, splits=["train", "val_seen"])
    with pytest.raises(DataError, match="episode 101_0 is in two of its files"):
        read_navigation_data(tiny_folder, splits=["held_out"], held_out=["alpha"])
