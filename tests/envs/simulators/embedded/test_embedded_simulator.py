import multiprocessing
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Action, Poses, Simulator, SimulatorConfig
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import cube, room, write_scene, write_semantics


def open_room(folder: Path) -> EmbeddedSimulator:
    return EmbeddedSimulator(find_scene(write_semantics(folder, room())), SimulatorConfig())


def test_whole_protocol_on_a_room(tmp_path: Path) -> None:
    simulator: Simulator = open_room(tmp_path)
    assert simulator.names[6] == "thing, number 6"
    points = simulator.random_points(20, seed=1)
    assert simulator.navigable(points).all()
    assert np.allclose(simulator.snap(points), points, atol=1e-4)
    assert np.array_equal(points, simulator.random_points(20, seed=1))
    poses = Poses(points, np.zeros(20, np.float32))
    views = simulator.render(poses)
    assert views.depth is not None and views.semantic is not None and views.colour is not None
    # Straight ahead is the wall at z = -2, which is side 2.
    assert np.allclose(views.depth[:, 32, 32], 2 + points[:, 2], atol=0.05)
    assert (views.semantic[:, 32, 32] == 2).all()
    turned = simulator.step(poses, np.full(20, Action.TURN_LEFT))
    assert np.allclose(turned.poses.yaw, np.radians(15)) and not turned.collided.any()
    walls = np.array([[0, 0, -1.8]], np.float32)
    moved = simulator.step(Poses(walls, np.zeros(1, np.float32)), np.array([Action.MOVE_FORWARD]))
    assert moved.collided.all()
    ends = np.array([[[-2, 0, 0]], [[2, 0, 0]]], np.float32)
    assert simulator.geodesic_distance(ends[0], ends[1])[0] == pytest.approx(4, abs=0.05)
    assert np.allclose(simulator.shortest_path(ends[0, 0], ends[1, 0])[-1], ends[1, 0], atol=0.2)
    simulator.close()


def test_closed_simulator_does_not_render(tmp_path: Path) -> None:
    simulator = open_room(tmp_path)
    simulator.close()
    simulator.close()
    with pytest.raises(SceneError, match=r"made\.glb is closed"):
        simulator.render(Poses(np.zeros((1, 3), np.float32), np.zeros(1, np.float32)))


def test_poses_that_are_none(tmp_path: Path) -> None:
    simulator = open_room(tmp_path)
    position, yaw = np.zeros((3, 3), np.float32), np.zeros(3, np.float32)
    position[1, 2] = np.nan
    with pytest.raises(SceneError, match=r"agent 1 stands at \[0\.0, 0\.0, nan\]"):
        simulator.render(Poses(position, yaw))
    with pytest.raises(SceneError, match="must be"):
        simulator.render(Poses(position[0], yaw))


def test_scene_without_floor(tmp_path: Path) -> None:
    """Walls alone; the file is named."""
    config = write_scene(tmp_path, cube()[:4])
    with pytest.raises(SceneError, match=r"made\.glb: .*floor"):
        EmbeddedSimulator(find_scene(config), SimulatorConfig())


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("warp")
    config = write_scene(tmp_path, room())
    with pytest.raises(SceneError, match="set gpu_device_id"):
        EmbeddedSimulator(find_scene(config), SimulatorConfig(gpu_device_id=99))


def test_several_threads_share_one_scene(tmp_path: Path) -> None:
    simulator = open_room(tmp_path)
    points = simulator.random_points(64, seed=0)
    poses = Poses(points, np.linspace(0, 6, 64, dtype=np.float32))
    expected = simulator.render(poses).depth
    answers: list[np.ndarray | None] = []
    threads = [
        threading.Thread(target=lambda: answers.append(simulator.render(poses).depth))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(np.array_equal(answer, expected) for answer in answers)


def test_a_hundred_opens_leave_nothing(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, room())
    pose = Poses(np.zeros((1, 3), np.float32), np.zeros(1, np.float32))
    process = psutil.Process()
    for turn in range(110):
        simulator = EmbeddedSimulator(find_scene(config), SimulatorConfig())
        simulator.render(pose)
        simulator.close()
        if turn == 9:
            memory, threads = process.memory_info().rss, process.num_threads()
            files = process.num_fds()
    assert process.memory_info().rss - memory < 20 << 20
    assert process.num_threads() <= threads
    assert process.num_fds() <= files
    assert not multiprocessing.active_children()
