"""A simulator in a process of its own: the same answers, errors told, deaths noticed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from envs.houses.dataset import write_houses
from envs.simulators.opening import open_simulator
from envs.simulators.process import SimulatorDied, SimulatorProcess
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Poses, Scene, Simulator, SimulatorConfig
from rayforge.errors import SceneError


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process") / "houses"
    write_houses(folder, train_houses=1, unseen_houses=0, paths_per_house=2, seed=0)
    return folder / "scenes" / "house00000" / "house00000.glb"


def test_it_answers_as_a_simulator_here(mesh: Path) -> None:
    scene, config = find_scene(mesh), SimulatorConfig()
    here = open_simulator(scene, "embedded", config)
    there = open_simulator(scene, "embedded", config, own_process=True)
    assert isinstance(there, SimulatorProcess)
    try:
        assert there.names == here.names
        points = here.random_points(4, seed=1)
        np.testing.assert_array_equal(there.random_points(4, seed=1), points)
        poses = Poses(points, np.linspace(0, 3, 4, dtype=np.float32))
        for mine, theirs in zip(here.render(poses), there.render(poses), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        actions = np.array([1, 2, 3, 0])
        mine, theirs = here.step(poses, actions), there.step(poses, actions)
        np.testing.assert_array_equal(mine.poses.position, theirs.poses.position)
        np.testing.assert_array_equal(mine.collided, theirs.collided)
        np.testing.assert_array_equal(here.snap(points), there.snap(points))
        np.testing.assert_array_equal(here.navigable(points), there.navigable(points))
        np.testing.assert_array_equal(
            here.geodesic_distance(points[:2], points[2:]),
            there.geodesic_distance(points[:2], points[2:]),
        )
        np.testing.assert_array_equal(
            here.shortest_path(points[0], points[1]), there.shortest_path(points[0], points[1])
        )
        with pytest.raises(AttributeError):  # an error there is told here, and the process goes on
            there.render(None)  # type: ignore[arg-type]
        assert there.render(poses).colour is not None
        os.kill(there.pid or 0, signal.SIGKILL)
        with pytest.raises(SimulatorDied, match=r"house00000\.glb ended \(signal 9\)"):
            there.render(poses)
    finally:
        there.close()
        there.close()
    with pytest.raises(ProcessLookupError):
        os.kill(there.pid or 0, 0)


def test_opening_and_closing_leaves_no_processes(mesh: Path) -> None:
    """What a hundred would leave three do; a hundred openings in one process are another test."""
    mine = psutil.Process()
    left = []
    for turn in range(3):
        there = open_simulator(find_scene(mesh), "embedded", SimulatorConfig(), own_process=True)
        assert isinstance(there, SimulatorProcess) and psutil.pid_exists(there.pid or 0)
        if turn == 1:
            os.kill(there.pid or 0, signal.SIGKILL)  # it may have ended before it is closed
        there.close()
        assert not psutil.pid_exists(there.pid or 0)
        left.append((len(mine.children(recursive=True)), mine.num_fds()))
    assert left[1:] == left[:1] * 2  # the first starts what watches over Python's processes


def _ends(scene: Scene, config: SimulatorConfig) -> Simulator:
    os._exit(3)


def test_a_process_that_ends_while_it_opens_the_scene() -> None:
    """As habitat-sim's does where EGL has no device."""
    with pytest.raises(
        SimulatorDied, match=r"h\.glb ended \(exit code 3\) while it opened .*doctor"
    ):
        SimulatorProcess(Scene(Path("h.glb")), SimulatorConfig(), _ends)


def test_a_scene_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"not a mesh")
    with pytest.raises(SceneError, match=r"broken\.glb"):
        open_simulator(Scene(broken), "embedded", SimulatorConfig(), own_process=True)
