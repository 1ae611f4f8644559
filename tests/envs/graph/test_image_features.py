"""TSV and HDF5 feature files: small ones written here, whole and broken."""

import base64
import gzip
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from envs.graph.buildings import Buildings, join_graphs
from envs.graph.image_features import HDF5Store, TSVStore, open_image_features
from envs.graph.navigation_data import read_navigation_data
from envs.graph.navigation_graph import read_connectivity
from rayforge.errors import DataError

Features = dict[tuple[str, str], np.ndarray]


@pytest.fixture
def buildings(tiny_folder: Path) -> Buildings:
    files = sorted((tiny_folder / "connectivity").glob("*.json"))
    return join_graphs([read_connectivity(file) for file in files])


@pytest.fixture
def features(buildings: Buildings) -> Features:
    chance = np.random.default_rng(5)
    return {place: chance.normal(size=(36, 16)).astype(np.float32) for place in buildings.places()}


def tsv_line(scan: str, viewpoint: str, views: np.ndarray) -> bytes:
    encoded = base64.b64encode(views.astype("<f4").tobytes()).decode()
    return f"{scan}\t{viewpoint}\t640\t480\t60\t{encoded}\n".encode()


def write_tsv(file: Path, features: Features) -> Path:
    content = b"".join(tsv_line(*place, views) for place, views in features.items())
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def write_hdf5(file: Path, features: Features) -> Path:
    with h5py.File(file, "w") as datasets:
        for (scan, viewpoint), views in features.items():
            datasets[f"{scan}_{viewpoint}"] = views
    return file


@pytest.mark.parametrize("name", ["f.tsv", "f.tsv.gz", "f.h5", "f.hdf5"])
def test_stores_give_back_what_was_written(
    tmp_path: Path, tiny_folder: Path, buildings: Buildings, features: Features, name: str
) -> None:
    write = write_tsv if ".tsv" in name else write_hdf5
    store = open_image_features(write(tmp_path / name, features))
    store.check(buildings)
    assert (store.dimension, store.pooling) == (16, "mean")
    for (scan, viewpoint), views in features.items():
        panorama = store.panorama(scan, viewpoint)
        assert panorama.dtype == np.float16
        np.testing.assert_array_equal(panorama, views.astype(np.float16))
        toward = store.towards(scan, viewpoint, "any", 17)
        np.testing.assert_array_equal(toward, views[17].astype(np.float16))
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.panorama(*buildings.places()[0]),
                                  store.panorama(*buildings.places()[0]))  # fmt: skip

    data = read_navigation_data(tiny_folder, splits=["train"], features=str(tmp_path / name))
    assert data.tables.dimension == 16
    assert data.objects == ()
    place = data.buildings.places()[3]
    pooled = features[place].astype(np.float16).reshape(3, 12, 16)[:, [11, 0, 1]].mean((0, 1))
    np.testing.assert_allclose(data.tables.sectors[3, 0], pooled, atol=2e-3)


def test_tsv_keeps_the_asked_buildings_and_skips_a_header(
    tmp_path: Path, features: Features
) -> None:
    file = write_tsv(tmp_path / "f.tsv", features)
    file.write_bytes(b"scanId\tviewpointId\timage_w\timage_h\tvfov\tfeatures\n" + file.read_bytes())
    store = TSVStore(file, scans=["beta"])
    assert store.panorama("beta", "beta00").shape == (36, 16)
    with pytest.raises(DataError, match="no features of viewpoint alpha00 in building alpha"):
        store.panorama("alpha", "alpha00")
    with pytest.raises(DataError, match=r"f\.tsv: no features of the buildings delta in it"):
        TSVStore(file, scans=["delta"])


ONE = np.ones((36, 8), np.float32)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a\tw\t640\n", r"line 2: 3 fields; expected the 6 fields scanId"),
        (b"a\tw\t640\t480\t60\t???\n", r"line 2 \(building a, viewpoint w\): .* not base64"),
        (tsv_line("a", "w", ONE[:35]), r"features have 1120 bytes; expected float32 \[36, 8\]"),
        (tsv_line("a", "w", ONE[:, :4]), r"expected float32 \[36, 8\]"),
        (tsv_line("a", "v", ONE), "has features in an earlier line too"),
        (tsv_line("a", "w", ONE * np.nan), "a value is not finite or over 65,504"),
        (tsv_line("a", "w", ONE * 1e6), "a value is not finite or over 65,504"),
    ],
)
def test_bad_tsv_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "f.tsv"
    file.write_bytes(tsv_line("a", "v", ONE) + line)
    with pytest.raises(DataError, match=message) as caught:
        TSVStore(file)
    assert str(caught.value).startswith(f"{file}: line 2")


def test_first_line_with_another_number_of_views(tmp_path: Path) -> None:
    file = tmp_path / "f.tsv"
    file.write_bytes(tsv_line("a", "v", np.ones((35, 7))))
    with pytest.raises(DataError, match=r"expected float32 \[36, D\]"):
        TSVStore(file)


def test_missing_viewpoints_are_counted_before_work_starts(
    tmp_path: Path, buildings: Buildings, features: Features
) -> None:
    for place in (("beta", "beta01"), ("beta", "beta07"), ("gamma", "gamma02")):
        del features[place]
    for store in (
        TSVStore(write_tsv(tmp_path / "f.tsv", features)),
        HDF5Store(write_hdf5(tmp_path / "f.h5", features)),
    ):
        with pytest.raises(
            DataError, match="viewpoint beta01 in building beta and 2 more"
        ) as caught:
            store.check(buildings)
        assert str(tmp_path) in str(caught.value)


def test_bad_hdf5(tmp_path: Path, buildings: Buildings, features: Features) -> None:
    place = ("beta", "beta03")
    features[place] = features[place][:, :9]
    store = HDF5Store(write_hdf5(tmp_path / "f.h5", features))
    with pytest.raises(DataError, match=r"f\.h5: dataset beta_beta03 is \(36, 9\); .* \(36, 16\)"):
        store.check(buildings)
    features[place] = np.full((36, 16), np.inf)
    store = HDF5Store(write_hdf5(tmp_path / "g.h5", features))
    store.check(buildings)
    with pytest.raises(DataError, match=r"g\.h5: dataset beta_beta03: a value is not finite"):
        store.panorama(*place)
    first = {("alpha", "alpha00"): np.zeros((12, 16))}
    with pytest.raises(DataError, match=r"dataset alpha_alpha00 is \(12, 16\); expected \[36, D\]"):
        HDF5Store(write_hdf5(tmp_path / "h.h5", first)).panorama("alpha", "alpha00")
    with pytest.raises(DataError, match="no features in it"):
        HDF5Store(write_hdf5(tmp_path / "i.h5", {})).panorama("a", "b")
    (tmp_path / "j.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(DataError, match=r"j\.h5: cannot be read .*is it a whole HDF5 file"):
        HDF5Store(tmp_path / "j.h5").check(buildings)


def test_feature_files_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.npy: features are 'semantic' or a file that ends"):
        open_image_features(tmp_path / "f.npy")
    for name in ("f.tsv", "f.tsv.gz", "f.hdf5"):
        with pytest.raises(DataError, match="no such feature file"):
            open_image_features(tmp_path / name)
    write_tsv(tmp_path / "f.tsv.gz", {("a", "v"): ONE})
    cut = (tmp_path / "f.tsv.gz").read_bytes()[:-12]
    (tmp_path / "f.tsv.gz").write_bytes(cut)
    with pytest.raises(DataError, match="the gzip is cut short or damaged"):
        TSVStore(tmp_path / "f.tsv.gz")
