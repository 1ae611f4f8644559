"""The floor against habitat-sim's recorded answers."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.parity import recorded_config
from benchmarks.parity_floor import check_floor
from envs.simulators.embedded.floor import FloorMap
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Moved, Poses, SimulatorConfig

pytestmark = pytest.mark.data


class Walker:
    """A floor as a simulator without eyes."""

    def __init__(self, floor: FloorMap, config: SimulatorConfig) -> None:
        self.motion = config.motion
        self.snap, self.navigable = floor.snap, floor.navigable
        self.geodesic_distance, self.floor = floor.geodesic_distance, floor

    def step(self, poses: Poses, actions: np.ndarray) -> Moved:
        return self.floor.step(poses, actions, self.motion)


@pytest.mark.parametrize(
    ("folder", "name", "recording"),
    [
        ("habitat_reference", "rooms", "rooms"),
        ("habitat_reference", "house16", "house16"),
        ("habitat_034", "floors", "floors_A"),
        ("habitat_034", "floors", "floors_C"),
        ("habitat_034", "scan", "scan_A"),
    ],
)
def test_recorded_answers_repeat(shared_data: Path, folder: str, name: str, recording: str) -> None:
    file = shared_data / folder / f"{recording}.npz"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    with np.load(file, allow_pickle=False) as arrays:
        recorded = dict(arrays)
    scene = find_scene(file.with_name(f"{name}.stage_config.json"))
    config = recorded_config(recorded)
    model = load_model(scene)
    surface = model.surface
    floor = FloorMap.build(
        surface.vertices, surface.floor_faces(), config.body, str(scene.mesh), config.rules
    )
    checks = check_floor(Walker(floor, config), recorded)  # type: ignore[arg-type]
    assert len(checks) == 6 + ("snap" in recorded)
    for check in checks:
        assert check.passed, check
        # Not near to habitat-sim but the same: anything less means that a step was changed.
        assert check.value == (1 if check.at_least else pytest.approx(0, abs=1e-4)), check
