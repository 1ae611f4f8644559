"""habitat-sim's navigation mesh files. `room.navmesh` holds the memory of a real Detour tile: what
Recast (the version in habitat-sim 0.3.3) found in the room that `made` is built from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulators.embedded.floor import FloorMap
from envs.simulators.embedded.navmesh.habitat_file import SET_HEADER, SETTINGS, TILE_HEADER
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Body, SimulatorConfig
from rayforge.errors import SceneError
from tests.envs.simulators.embedded.boxes import box, join, ramp, room
from tests.envs.simulators.made_up import room as made_up_room
from tests.envs.simulators.made_up import write_scene

FILE = Path(__file__).with_name("room.navmesh")
TILE = SET_HEADER.itemsize + SETTINGS.itemsize + 8


@pytest.fixture(scope="module")
def made() -> FloorMap:
    parts = [
        *room(8, 6),
        box((4, 0, 0), (4.1, 2.7, 2.5)),
        box((4, 0, 3.5), (4.1, 2.7, 6)),
        box((1, 0.7, 1), (2.5, 0.75, 2.5)),
        ramp((5, 7), (3.7, 5.5), (0, 0.7)),
    ]
    return FloorMap.build(*join(parts), Body())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that tests write their own bytes to."""
    return tmp_path_factory.mktemp("navmesh") / "other.navmesh"


def test_the_file_holds_what_is_built_here(made: FloorMap) -> None:
    read = FloorMap.read_navmesh(FILE, top=2.7)
    assert read.is_for(made.body) and not read.is_for(Body(radius=0.2))
    for name in ("points", "polygon", "beside", "island", "usable", "low", "high", "bounds"):
        ours, theirs = getattr(made.mesh, name), getattr(read.mesh, name)
        assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype, name
    points, others = made.random_points(200, 0), made.random_points(200, 1)
    assert np.allclose(made.snap(points), read.snap(points), atol=1e-5)
    assert np.allclose(
        made.geodesic_distance(points, others), read.geodesic_distance(points, others)
    )
    assert np.array_equal(read.random_points(20, 0), read.random_points(20, 0))


def test_islands_without_a_ceiling_are_roofs() -> None:
    assert not FloorMap.read_navmesh(FILE, top=5).mesh.is_roof.any()
    assert FloorMap.read_navmesh(FILE, top=1).mesh.is_roof.all()


def test_a_first_version_has_no_settings(other: Path) -> None:
    data = bytearray(FILE.read_bytes())
    data[4:8] = (1).to_bytes(4, "little")
    head = SET_HEADER.itemsize
    del data[head : head + SETTINGS.itemsize]
    other.write_bytes(data)
    assert FloorMap.read_navmesh(other, top=2.7).is_for(Body())


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 7, "magic 0x7"),
        (4, 9, "version 9"),
        (8, 3, "3 tiles"),
        (TILE, 7, "tile magic"),
        (TILE + 24, 2**20, "polygons"),
        (TILE + 24, 0, "0 polygons"),
        (TILE + 28, 2**20, "cut off"),  # corners
        (TILE + TILE_HEADER.itemsize, 0x7FC00000, "no numbers"),  # a corner's x
    ],
)
def test_changed_files_have_clear_errors(other: Path, at: int, value: int, message: str) -> None:
    data = bytearray(FILE.read_bytes())
    data[at : at + 4] = value.to_bytes(4, "little")
    other.write_bytes(data)
    with pytest.raises(SceneError, match=rf"(?s)other.navmesh: not a .navmesh.*{message}"):
        FloorMap.read_navmesh(other, top=2.7)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"nowhere\.navmesh: No such file"):
        FloorMap.read_navmesh(tmp_path / "nowhere.navmesh", top=2.7)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(other: Path, data: st.DataObject) -> None:
    whole = bytearray(FILE.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    other.write_bytes(whole[:cut])
    try:
        floor = FloorMap.read_navmesh(other, top=2.7)
    except SceneError:
        return
    points = np.array([[2, 0.1, 3], [7, 0.1, 1]], np.float32)
    floor.snap(points)
    floor.geodesic_distance(points, points[::-1])


@pytest.mark.parametrize("radius", [0.1, 0.2])
def test_a_scene_with_a_file_walks_on_it(tmp_path: Path, radius: float) -> None:
    """Its floor is that of another room, so that one can tell; another body gets its own."""
    stage = write_scene(tmp_path, made_up_room(), "home")
    (tmp_path / "home.navmesh").write_bytes(FILE.read_bytes())
    config = SimulatorConfig(body=Body(radius=radius))
    simulator = EmbeddedSimulator(find_scene(stage), config, tmp_path / "cache")
    assert simulator.navigable(np.array([[7, 0.1, 1]], np.float32))[0] == (radius == 0.1)
    simulator.close()


def test_a_scene_with_a_broken_file_names_it(tmp_path: Path) -> None:
    stage = write_scene(tmp_path, made_up_room(), "home")
    (tmp_path / "home.navmesh").write_bytes(b"MSET")
    with pytest.raises(SceneError, match=r"home\.navmesh"):
        EmbeddedSimulator(find_scene(stage), SimulatorConfig(), tmp_path / "cache")
