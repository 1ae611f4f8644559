import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.simulators.rotations import axes_rotation
from envs.simulators.scene import Z_UP, find_scene, read_stage
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import cube, room, write_scene, write_semantics


def test_configuration_names_the_files(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, room(), "home")
    scene = find_scene(config)
    assert scene.name == "home"
    assert scene.mesh == tmp_path / "home.glb"
    assert scene.semantic_mesh == tmp_path / "home.semantic.glb"
    assert scene.semantic_names == tmp_path / "home.semantic.txt"
    assert scene.navmesh is None
    (tmp_path / "home.navmesh").write_bytes(b"x")
    assert find_scene(config).navmesh == tmp_path / "home.navmesh"
    assert find_scene(tmp_path / "home.glb").stage_config == config  # beside the mesh, as there
    assert read_stage(scene).up == (0, 1, 0)


def test_bare_mesh_is_taken_as_habitat_takes_it(tmp_path: Path) -> None:
    write_semantics(tmp_path, cube(), "home")
    for file in tmp_path.glob("*.json"):
        file.unlink()
    scene = find_scene(tmp_path / "home.glb")
    assert scene.stage_config is None
    assert scene.semantic_mesh == tmp_path / "home.semantic.glb"
    assert read_stage(scene) == Z_UP
    (tmp_path / "home.ply").write_bytes(b"ply")
    assert read_stage(find_scene(tmp_path / "home.ply")).up == (0, 1, 0)


def test_semantic_mesh_lies_as_the_scene_unless_told(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, cube(), "home", up=[0, 0, 1], front=[0, 1, 0])
    assert read_stage(find_scene(config)).semantic_up == (0, 0, 1)
    document = json.loads(config.read_text()) | {"semantic_up": [0, 1, 0]}
    config.write_text(json.dumps(document))
    stage = read_stage(find_scene(config))
    assert stage.semantic_up == (0, 1, 0) and stage.semantic_front == (0, 0, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"render_asset": "gone.glb"}, r"render_asset 'gone\.glb' does not exist"),
        ({"render_asset": 3}, "render_asset must be a file, got 3"),
        ({"render_asset": ""}, 'names no "render_asset"'),
        ({"up": [0, 0, -1]}, "must be perpendicular"),
        ({"up": [0, "x", 1]}, "up must be three numbers"),
        ({"up": [0, 0, 0]}, "no direction"),
        ({"semantic_asset": "made.glb"}, "semantic_descriptor_filename"),
        ({"semantic_descriptor_filename": "gone.txt"}, r"'gone\.txt' does not exist"),
    ],
)
def test_wrong_configuration(tmp_path: Path, change: dict[str, object], message: str) -> None:
    config = write_scene(tmp_path, cube(), **change)
    with pytest.raises(SceneError, match=message) as caught:
        find_scene(config)
    assert str(config) in str(caught.value)


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"gone\.glb does not exist"):
        find_scene(tmp_path / "gone.glb")
    with pytest.raises(SceneError, match="neither a mesh"):
        find_scene(tmp_path / "scene.txt")
    write_scene(tmp_path, cube())
    with pytest.raises(SceneError, match=r"is a folder: name one of made\.glb"):
        find_scene(tmp_path)
    with pytest.raises(SceneError, match="no such file"):
        find_scene(tmp_path / "gone.stage_config.json")
    (tmp_path / "broken.stage_config.json").write_text("{")
    with pytest.raises(SceneError, match="not valid JSON"):
        find_scene(tmp_path / "broken.stage_config.json")
    (tmp_path / "list.stage_config.json").write_text("[]")
    with pytest.raises(SceneError, match="expected an object, found a list"):
        find_scene(tmp_path / "list.stage_config.json")


def test_matterport_axes() -> None:
    turn = axes_rotation((0, 0, 1), (0, 1, 0))
    assert np.allclose(turn @ [1, 2, 3], [1, 3, -2])
    assert np.allclose(axes_rotation((0, 1, 0), (0, 0, -1)), np.eye(3))


@given(st.integers(0, 5), st.integers(0, 5))
def test_axes_become_the_scenes(first: int, second: int) -> None:
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    up, front = axes[first], axes[second]
    if up @ front:
        return
    turn = axes_rotation(tuple(up), tuple(front))
    assert np.allclose(turn @ up, [0, 1, 0], atol=1e-6)
    assert np.allclose(turn @ front, [0, 0, -1], atol=1e-6)
    assert np.isclose(np.linalg.det(turn), 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"render_asset": "../made.glb"}, "is not in the configuration's folder"),
        ({"semantic_descriptor_filename": "/etc/passwd"}, "is not in the configuration's folder"),
        ({"nav_asset": "../../x.navmesh"}, "is not in the configuration's folder"),
        ({"render_asset": "a" * 5000 + ".glb"}, "cannot be read"),
        ({"up": [1e308, 0, 0]}, "is no direction or size"),
        ({"scale": [0, 1e-300, 0]}, "is no direction or size"),
        ({"up": [[]] * 1000}, "up must be three numbers"),
    ],
)
def test_a_stage_names_files_of_its_folder_and_small_numbers(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "made.glb").touch()
    (tmp_path / "in" / "made.glb").touch()
    config = tmp_path / "in" / "made.stage_config.json"
    config.write_text(json.dumps({"render_asset": "made.glb"} | change))
    with pytest.raises(SceneError, match=why) as caught:
        find_scene(config)
    assert len(str(caught.value)) < 400 + len(str(tmp_path)) * 2
