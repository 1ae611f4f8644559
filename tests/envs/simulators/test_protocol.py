"""What every simulator answers alike, asked of the embedded one and of habitat-sim."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from envs.houses.building import build_house
from envs.houses.house import House
from envs.houses.mesh import habitat_axes
from envs.houses.scenes import write_scene
from envs.simulators.habitat import HabitatSimulator, black_in_habitat
from envs.simulators.habitat_package import conda_command, installed, missing_message
from envs.simulators.habitat_probe import probe_rules, write_probe
from envs.simulators.opening import Kind, open_simulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import (
    Action,
    Camera,
    Motion,
    Poses,
    Scene,
    Simulator,
    SimulatorConfig,
)
from rayforge.errors import SceneError


@pytest.fixture(scope="module")
def house() -> House:
    return build_house(2, 0)


@pytest.fixture(scope="module")
def scene(house: House, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scenes")
    write_scene(folder, house, seed=2)
    return find_scene(folder / house.scan / f"{house.scan}.glb")


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("habitat", marks=pytest.mark.habitat)]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "habitat" and not installed():
        pytest.skip("habitat-sim is not installed")
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="module")
def simulator(kind: Kind, scene: Scene) -> Iterator[Simulator]:
    opened = open_simulator(scene, kind, SimulatorConfig(camera=Camera(width=48, height=32)))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def feet(house: House, simulator: Simulator) -> np.ndarray:
    """Where the viewpoints stand."""
    points = habitat_axes(house.positions)
    points[:, 1] = house.floor
    return simulator.snap(points.astype(np.float32))


def test_viewpoints_are_on_one_floor(house: House, simulator: Simulator, feet: np.ndarray) -> None:
    assert simulator.navigable(feet).all()
    first, second = np.array(house.edges).T
    walks = simulator.geodesic_distance(feet[first], feet[second])
    straight = np.linalg.norm(feet[first] - feet[second], axis=1)
    assert walks.dtype == np.float32
    assert (walks > straight - 0.02).all() and (walks < 1.1 * straight + 0.05).all()
    corners = simulator.shortest_path(feet[0], feet[-1])
    assert np.allclose(corners[[0, -1]], feet[[0, -1]], atol=0.05)
    legs = np.linalg.norm(np.diff(corners, axis=0), axis=1).sum()
    assert legs == pytest.approx(simulator.geodesic_distance(feet[:1], feet[-1:])[0], rel=0.01)


def test_what_cannot_be_reached_is_said(simulator: Simulator, feet: np.ndarray) -> None:
    far = np.array([[500.0, 0.0, 500.0]], dtype=np.float32)
    assert not simulator.navigable(far).any()
    assert np.isnan(simulator.snap(far)).all()
    assert np.isinf(simulator.geodesic_distance(feet[:1], far)).all()
    assert simulator.shortest_path(feet[0], far[0]).shape == (0, 3)
    nothing = np.full((1, 3), np.nan, dtype=np.float32)
    assert not simulator.navigable(nothing).any()


def test_random_points_repeat_and_can_be_reached(simulator: Simulator, feet: np.ndarray) -> None:
    points = simulator.random_points(40, seed=7)
    assert points.shape == (40, 3) and points.dtype == np.float32
    assert np.array_equal(points, simulator.random_points(40, seed=7))
    assert not np.array_equal(points, simulator.random_points(40, seed=8))
    starts = np.repeat(feet[:1], len(points), axis=0)
    assert np.isfinite(simulator.geodesic_distance(starts, points)).all()


def test_steps_and_turns(simulator: Simulator, house: House, feet: np.ndarray) -> None:
    rows = len(feet)
    poses = Poses(feet, np.zeros(rows, dtype=np.float32))
    stayed = simulator.step(poses, np.full(rows, Action.STOP))
    assert np.array_equal(stayed.poses.position, feet) and not stayed.collided.any()
    left = simulator.step(poses, np.full(rows, Action.TURN_LEFT))
    assert np.allclose(left.poses.yaw, np.radians(15), atol=1e-5)
    back = simulator.step(left.poses, np.full(rows, Action.TURN_RIGHT))
    assert np.allclose(back.poses.yaw, 0.0, atol=1e-5)
    # Along an edge nothing is in the way.
    first, second = np.array(house.edges).T
    ahead = feet[second] - feet[first]
    yaw = np.arctan2(-ahead[:, 0], -ahead[:, 2]).astype(np.float32)
    moved = simulator.step(Poses(feet[first], yaw), np.full(len(first), Action.MOVE_FORWARD))
    assert not moved.collided.any()
    lengths = np.linalg.norm((moved.poses.position - feet[first])[:, [0, 2]], axis=1)
    assert np.allclose(lengths, 0.25, atol=0.01)
    # Whoever goes on meets a wall sooner or later, and stays on the floor.
    collided = np.zeros(rows, dtype=bool)
    for _ in range(80):
        moved = simulator.step(poses, np.full(rows, Action.MOVE_FORWARD))
        poses, collided = moved.poses, collided | moved.collided
    assert collided.all()
    assert simulator.navigable(poses.position).all()


def test_views(simulator: Simulator, house: House, feet: np.ndarray) -> None:
    yaw = np.linspace(-3, 3, len(feet), dtype=np.float32)
    views = simulator.render(Poses(feet, yaw))
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    assert views.colour.shape == (len(feet), 32, 48, 3) and views.colour.dtype == np.uint8
    assert views.depth.dtype == np.float32 and views.semantic.dtype == np.int32
    assert (views.depth > 0).mean() > 0.999 and views.depth.max() < 25
    assert {"wall", "floor", "ceiling"} <= set(simulator.names.values())
    floor = next(k for k, name in simulator.names.items() if name == "floor")
    assert set(np.unique(views.semantic)) - {0} <= set(simulator.names)
    # The lowest rows look at the floor: 1.25 m under a camera with 90 degrees across 48 pixels.
    assert simulator.names[floor] == "floor"
    below = views.depth[:, -1, 24]
    assert np.median(below) <= 1.25 / (15.5 / 24) + 0.05
    again = simulator.render(Poses(feet[:2], yaw[:2]))
    assert again.colour is not None and np.array_equal(again.colour, views.colour[:2])


def test_switched_off_sensors_give_nothing(kind: Kind, scene: Scene) -> None:
    only_depth = Camera(width=16, height=16, colour=False, semantic=False)
    opened = open_simulator(
        scene, kind, SimulatorConfig(camera=only_depth, motion=Motion(sliding=False))
    )
    try:
        start = opened.random_points(3, seed=0)
        views = opened.render(Poses(start, np.zeros(3, dtype=np.float32)))
        assert views.colour is None and views.semantic is None
        assert views.depth is not None and views.depth.shape == (3, 16, 16)
        # Without sliding a step that meets no wall stays on its line, and one that meets a wall
        # goes no further than asked (habitat-sim 0.3.4 may leave the line there).
        poses = Poses(start, np.zeros(3, dtype=np.float32))
        for _ in range(60):
            moved = opened.step(poses, np.full(3, Action.MOVE_FORWARD))
            went = moved.poses.position - poses.position
            free = ~moved.collided
            assert np.allclose(went[free, 0], 0, atol=1e-3)
            assert np.allclose(went[free, 2], -0.25, atol=1e-2)
            assert (np.linalg.norm(went[:, [0, 2]], axis=1) < 0.26).all()
            poses = moved.poses
        assert moved.collided.all()
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("python", "channel"),
    [((3, 9), "aihabitat"), ((3, 11), "aihabitat-nightly"), ((3, 12), "aihabitat-nightly")],
)
def test_the_conda_command_is_for_this_python(python: tuple[int, int], channel: str) -> None:
    command = conda_command(python)
    assert command is not None and command.endswith(f"-c conda-forge -c {channel}")
    assert "habitat-sim headless" in command
    assert command in missing_message(python)


def test_the_conda_environment_is_one_that_rayforge_runs_in() -> None:
    file = Path(__file__).resolve().parents[3] / "docs" / "habitat" / "environment.yml"
    environment = yaml.safe_load(file.read_text())
    needed = dict(d.split("=", 1) for d in environment["dependencies"] if d.startswith("python"))
    major, minor = map(int, needed["python"].split("."))
    command = conda_command((major, minor))
    assert command is not None
    assert all(f"-c {channel}" in command for channel in environment["channels"])


def test_a_python_without_build_is_told_so() -> None:
    assert conda_command((3, 13)) is None
    message = missing_message((3, 13))
    assert "no build for Python 3.13" in message and "--simulator embedded" in message
    assert "conda env create -f docs/habitat/environment.yml" in message


def test_a_scaled_stage_is_refused(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "twice.stage_config.json"
    (tmp_path / "twice.glb").write_bytes(scene.mesh.read_bytes())
    file.write_text(json.dumps({"render_asset": "twice.glb", "scale": [2, 2, 2]}))
    with pytest.raises(SceneError, match=r"twice.*scale \[2.0, 2.0, 2.0\] does not reach"):
        HabitatSimulator(find_scene(file), SimulatorConfig())


@pytest.mark.skipif(installed(), reason="habitat-sim is installed here")
def test_a_missing_package_is_one_message(scene: Scene) -> None:
    for _ in range(2):  # a failure leaves the process free for the next
        with pytest.raises(SceneError, match=r"not installed .*`conda install .*embedded") as error:
            HabitatSimulator(scene, SimulatorConfig())
        assert "\n" not in str(error.value)


@pytest.mark.habitat
@pytest.mark.skipif(not installed(), reason="habitat-sim is not installed")
def test_habitat_is_open_once_a_process(scene: Scene) -> None:
    config = SimulatorConfig(camera=Camera(width=16, height=16))
    first = HabitatSimulator(scene, config)
    try:
        with pytest.raises(SceneError, match="a process of its own"):
            HabitatSimulator(scene, config)
    finally:
        first.close()
        first.close()
    HabitatSimulator(scene, config).close()


@pytest.mark.habitat
@pytest.mark.skipif(not installed(), reason="habitat-sim is not installed")
def test_habitat_and_embedded_see_the_same(scene: Scene) -> None:
    config = SimulatorConfig(camera=Camera(width=32, height=32))
    simulators = [open_simulator(scene, kind, config) for kind in ("embedded", "habitat")]
    try:
        points = simulators[0].random_points(20, seed=1)
        poses = Poses(points, np.linspace(-3, 3, 20, dtype=np.float32))
        ours, theirs = (simulator.render(poses) for simulator in simulators)
        assert ours.depth is not None and theirs.depth is not None
        assert (np.abs(ours.depth - theirs.depth) < 0.01).mean() > 0.97
        assert ours.semantic is not None and theirs.semantic is not None
        assert (ours.semantic == theirs.semantic).mean() > 0.97
        assert ours.colour is not None and theirs.colour is not None
        off = np.abs(ours.colour.astype(int) - theirs.colour.astype(int)).max(axis=-1)
        assert (off <= 3).mean() > 0.95
        assert simulators[0].names == simulators[1].names
    finally:
        for simulator in simulators:
            simulator.close()


def test_the_probe_tells_the_rules_apart(tmp_path: Path) -> None:
    """Asked of the embedded simulator: floor by the one rule, none by the other."""
    probe = find_scene(write_probe(tmp_path))
    floor = open_simulator(probe, "embedded", SimulatorConfig(rules="0.3.4"))
    assert np.isfinite(floor.random_points(3, 0)).all()
    floor.close()
    with pytest.raises(SceneError, match="no floor"):
        open_simulator(probe, "embedded", SimulatorConfig(rules="0.3.3"))


@pytest.mark.skipif(installed(), reason="habitat-sim is installed here")
def test_without_habitat_sim_the_probe_has_no_answer() -> None:
    assert probe_rules() is None


@pytest.mark.habitat
@pytest.mark.skipif(not installed(), reason="habitat-sim is not installed")
def test_habitat_sim_follows_one_of_the_rules() -> None:
    assert probe_rules() in ("0.3.4", "0.3.3")


def test_several_cameras_in_one_pose(simulator: Simulator, feet: np.ndarray) -> None:
    cameras = (
        Camera(width=48, height=32),
        Camera(width=20, height=24, field_of_view=60, above_floor=0.6, pitch=-40, semantic=False),
    )
    poses = Poses(feet[:3], np.linspace(-3, 3, 3, dtype=np.float32))
    first, second = simulator.render_with(poses, cameras)
    alone = simulator.render(poses)
    assert first.depth is not None and alone.depth is not None and second.depth is not None
    assert np.array_equal(first.depth, alone.depth)
    assert second.depth.shape == (3, 24, 20) and second.semantic is None
    # It looks down from 0.6 m: what it sees at the bottom is the floor, near.
    assert (second.depth[:, -1, 10] < 1.0).all()


def test_colours_without_a_material_are_told(tmp_path: Path) -> None:
    file = tmp_path / "made.ply"
    lines = ["ply", "format ascii 1.0", "element vertex 3"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    file.write_text("\n".join([*lines, "0 0 0", "1 0 0", "0 0 1", "3 0 1 2"]) + "\n")
    assert "black" in (black_in_habitat(file) or "")
    file.with_suffix(".glb").write_bytes((write_probe(tmp_path).parent / "probe.glb").read_bytes())
    assert black_in_habitat(file.with_suffix(".glb")) is None
