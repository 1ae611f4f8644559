"""Furnished scenes as HSSD and ReplicaCAD publish them, in made-up samples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulators.articulated import links
from envs.simulators.embedded.simulator import EmbeddedSimulator
from envs.simulators.embedded.stored import load_model, placed_parts
from envs.simulators.opening import open_simulator
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Placed, Poses, SimulatorConfig
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import COLOURS, SIDES, coloured, cube, room, write_scene

URDF = """<?xml version="1.0"?>
<robot name="drawers">
  <link name="root"/>
  <link name="case"><visual><origin xyz="0 0 1"/>
    <geometry><mesh filename="../meshes/box.glb" scale="1 2 1"/></geometry></visual></link>
  <link name="drawer"><visual><geometry><mesh filename="../meshes/box.glb"/></geometry>
    </visual></link>
  <link name="door"><visual><geometry><mesh filename="../meshes/box.glb"/></geometry>
    </visual></link>
  <joint name="still" type="fixed"><parent link="root"/><child link="case"/>
    <origin xyz="0 1 0" rpy="0 0 1.5707963"/></joint>
  <joint name="pull" type="prismatic"><parent link="case"/><child link="drawer"/>
    <axis xyz="2 0 0"/></joint>
  <joint name="hinge" type="revolute"><parent link="root"/><child link="door"/>
    <origin xyz="1 0 0"/><axis xyz="0 1 0"/></joint>
</robot>
"""


def data_set(folder: Path, *objects: dict[str, Any], **instance: Any) -> Path:
    """A stage (a room of 6 x 3 x 4 m), two kinds of box and a chest; returns the instance."""
    write_scene(folder / "stages", room(), "flat", up=[0, 1, 0])
    write_scene(folder / "meshes", cube(1.0), "box")
    shifted = [coloured(side / 2 + [0.5, 0.5, 0.5], COLOURS[0]) for side in SIDES]
    write_scene(folder / "meshes", shifted, "corner")
    for file in (folder / "meshes").glob("*.json"):
        file.unlink()
    for name, config in {
        "box": {"render_asset": "../../meshes/box.glb", "semantic_id": 7},
        "corner": {"render_asset": "../../meshes/corner.glb"},
        "heavy": {
            "render_asset": "../../meshes/corner.glb",
            "COM": [0, 0, 0.5],
            "scale": [2, 1, 1],
        },
    }.items():  # fmt: skip
        place = folder / "configs" / "objects" / f"{name}.object_config.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(config))
    (folder / "urdf").mkdir()
    (folder / "urdf" / "drawers.urdf").write_text(URDF)
    document = {
        "stages": {"paths": {".json": ["stages/*"]}},
        "objects": {"paths": {".json": ["configs/objects"]}},
        "articulated_objects": {"paths": {".urdf": ["urdf"]}},
    }
    (folder / "made.scene_dataset_config.json").write_text(json.dumps(document))
    scenes = folder / "configs" / "scenes"
    scenes.mkdir()
    file = scenes / "flat_0.scene_instance.json"
    whole = {
        "stage_instance": {"template_name": "stages/flat"}, "default_lighting": "lighting/flat",
        "translation_origin": "asset_local", "object_instances": list(objects), **instance,
    }  # fmt: skip
    file.write_text(json.dumps(whole))
    return file


def boxes(file: Path) -> list[np.ndarray]:
    """The corners of the box around each object, [2, 3]."""
    scene = find_scene(file)
    found = []
    for placed in scene.objects:
        parts, _ = placed_parts([placed])
        every = np.concatenate([part.vertices for part in parts])
        found.append(np.stack([every.min(axis=0), every.max(axis=0)]))
    return found


def test_objects_stand_where_the_instance_says(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    file = data_set(
        tmp_path,
        {"template_name": "objects/box", "translation": [1, 0.5, 0]},
        {"template_name": "corner", "translation": [1, 0, 0], "rotation": [half, 0, half, 0]},
        {"template_name": "corner", "translation": [1, 0, 0], "translation_origin": "COM"},
        {"template_name": "heavy", "translation": [0, 0, 0], "translation_origin": "COM"},
        {"template_name": "corner", "uniform_scale": 2.0, "non_uniform_scale": [1, 1, -1]},
    )  # fmt: skip
    expected = [
        [[0.5, 0, -0.5], [1.5, 1, 0.5]],
        [[1, 0, -1], [2, 1, 0]],  # turned left by a quarter: x goes to -z, z to x
        [[0.5, -0.5, -0.5], [1.5, 0.5, 0.5]],
        [[0, 0, -0.5], [2, 1, 0.5]],
        [[0, 0, -2], [2, 2, 0]],
    ]
    for found, right in zip(boxes(file), expected, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-6)


def test_a_furnished_scene_is_seen_walked_and_named(tmp_path: Path) -> None:
    file = data_set(tmp_path, {"template_name": "box", "translation": [0, 0.5, 0]})
    scene = find_scene(file)
    assert scene.name == "flat_0"
    config = SimulatorConfig(camera=Camera(width=15, height=15, above_floor=0.5))
    simulator = EmbeddedSimulator(scene, config, tmp_path)
    views = simulator.render(Poses(np.array([[0, 0, 1.8]], np.float32), np.zeros(1, np.float32)))
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    assert views.colour[0, 7, 7].tolist() == COLOURS[0].tolist()  # the side that looks along +z
    assert views.depth[0, 7, 7] == pytest.approx(1.3, abs=1e-4)
    assert (views.semantic[0, 7, 7], simulator.names) == (7, {7: "box"})
    assert not simulator.navigable(np.array([[0, 0, 0]], np.float32))[0]
    around = simulator.geodesic_distance(
        np.array([[-1.5, 0, 0]], np.float32), np.array([[1.5, 0, 0]], np.float32)
    )
    assert 3.1 < around[0] < 4.5
    # The stage alone is another scene, with another key.
    alone = find_scene(tmp_path / "stages" / "flat.stage_config.json")
    assert load_model(alone, tmp_path).key != load_model(scene, tmp_path).key


def test_a_mirrored_object_keeps_its_outside_outside(tmp_path: Path) -> None:
    file = data_set(tmp_path, {"template_name": "box", "non_uniform_scale": [-1, 1, 1]})
    parts, ids = placed_parts(find_scene(file).objects)
    assert (ids == 7).all() and all(part.mirrored for part in parts)
    for part in parts:
        a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
        assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0).all()


def test_articulated_parts_stand_in_their_pose(tmp_path: Path) -> None:
    chest = {
        "template_name": "drawers", "translation": [0, 0, 5],
        "initial_joint_pose": {"pull": 0.25, "hinge": math.pi / 2},
    }  # fmt: skip
    file = data_set(tmp_path, articulated_object_instances=[chest])
    case, drawer, door = (found.mean(axis=0) for found in boxes(file))
    np.testing.assert_allclose(case, [0, 1, 6], atol=1e-5)
    np.testing.assert_allclose(drawer, [0, 1.25, 5], atol=1e-5)  # its x is the object's y
    np.testing.assert_allclose(door, [1, 0, 5], atol=1e-5)
    size = boxes(file)[0]
    np.testing.assert_allclose(size[1] - size[0], [2, 1, 1], atol=1e-5)
    in_order = [place for *_, place in links(tmp_path / "urdf" / "drawers.urdf", [0.25])]
    np.testing.assert_allclose(in_order[1][:3, 3], [0, 1.25, 0], atol=1e-6)


angles = st.floats(-3.1, 3.1)


@settings(deadline=None)
@given(turn=st.tuples(angles, angles, angles), move=st.tuples(angles, angles, angles))
def test_places_by_a_slow_formula(turn: tuple[float, ...], move: tuple[float, ...]) -> None:
    """Rotation about z, then y, then x, by matrices of sines and cosines; a quaternion says it."""
    from envs.simulators.scene_instance import _placement

    w, x, y, z = 1.0, 0.0, 0.0, 0.0
    slow = np.eye(3)
    for axis, angle in enumerate(turn):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        single = np.eye(3)
        single[one, one] = single[two, two] = math.cos(angle)
        single[two, one], single[one, two] = math.sin(angle), -math.sin(angle)
        slow = single @ slow
        cosine, (a, b, c) = math.cos(angle / 2), np.eye(3)[axis] * math.sin(angle / 2)
        w, x, y, z = (
            cosine * w - a * x - b * y - c * z, cosine * x + a * w + b * z - c * y,
            cosine * y - a * z + b * w + c * x, cosine * z + a * y - b * x + c * w,
        )  # fmt: skip
    found = _placement({"translation": list(move), "rotation": [w, x, y, z]}, "here")
    np.testing.assert_allclose(found[:3, :3], slow, atol=1e-5)
    np.testing.assert_allclose(found[:3, 3], move, atol=1e-6)


@pytest.mark.parametrize(
    ("objects", "instance", "message"),
    [
        ([{"template_name": "sofa"}], {}, "object_instances 0: objects template 'sofa' is not in"),
        ([{"template_name": 3}], {}, "template_name must be a text, got 3"),
        ([{"template_name": "box", "rotation": [0, 0, 0, 0]}], {}, "is no quaternion"),
        ([{"template_name": "box", "translation": [1, 2]}], {}, "translation must be 3 numbers"),
        ([{"template_name": "box", "translation_origin": "corner"}], {}, "neither asset_local nor"),
        (["box"], {}, "object_instances 0 must be an object, got 'box'"),
        (
            [], {"stage_instance": {"template_name": "flat", "translation": [0, 1, 0]}},
            "the stage is moved or turned",
        ),
        ([], {"stage_instance": None}, "it has no stage_instance"),
        ([], {"object_instances": {}}, "object_instances must be a list"),
        ([], {"articulated_object_instances": [{"template_name": "drawers",
              "initial_joint_pose": {"handle": 1}}]}, "initial_joint_pose has 'handle'"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, objects: list[Any], instance: dict[str, Any], message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        find_scene(data_set(tmp_path, *objects, **instance))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('<mesh filename="../meshes/box.glb"/>', '<box size="1 1 1"/>', "is drawn as 'box'"),
        ('type="revolute"', 'type="planar"', "is 'planar', which is not read here"),
        ('<child link="drawer"/>', '<child link="case"/>', "link 'case' hangs on two joints"),
        ('<parent link="root"/><child link="case"/>', '<parent link="drawer"/><child link="case"/>',
         "hangs on itself"),
        ('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "no document type or entities"),
        ("</robot>", "", "not XML that can be read"),
        ("../meshes/box.glb", "../../outside.glb", "is outside of the data set"),
        ("../meshes/box.glb", "package://box.glb", "is in a package"),
        ('axis xyz="0 1 0"', 'axis xyz="0 0 0"', "joint 'hinge' has no axis"),
        ('xyz="0 1 0" rpy', 'xyz="0 1" rpy', "expected three numbers, got '0 1'"),
    ],
)  # fmt: skip
def test_what_is_refused_in_a_urdf(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = data_set(tmp_path / "set", articulated_object_instances=[{"template_name": "drawers"}])
    (tmp_path / "outside.glb").write_bytes((tmp_path / "set/meshes/box.glb").read_bytes())
    urdf = tmp_path / "set" / "urdf" / "drawers.urdf"
    assert old in URDF
    urdf.write_text(URDF.replace(old, new))
    with pytest.raises(SceneError, match=message):
        find_scene(file)


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "../\0/b.glb"])
@pytest.mark.parametrize(
    "config", ["stages/flat.stage_config.json", "configs/objects/box.object_config.json"]
)
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str, config: str) -> None:
    file = data_set(tmp_path, {"template_name": "box"})
    document = json.loads((tmp_path / config).read_text())
    (tmp_path / config).write_text(json.dumps(document | {"render_asset": name}))
    with pytest.raises(SceneError, match=config.rsplit("/", 1)[1]) as refused:
        find_scene(file)
    assert len(str(refused.value)) < 500


def test_without_a_configuration_of_the_data_set(tmp_path: Path) -> None:
    file = data_set(tmp_path, {"template_name": "box"})
    moved = tmp_path / "flat_0.scene_instance.json"
    file.rename(moved)
    (tmp_path / "made.scene_dataset_config.json").unlink()
    assert len(find_scene(moved).objects) == 1


def test_what_the_other_simulator_does_not_show(tmp_path: Path) -> None:
    scene = find_scene(data_set(tmp_path, {"template_name": "box"}))
    with pytest.raises(SceneError, match="the adapter opens stages alone"):
        open_simulator(scene, "habitat", SimulatorConfig())
    with pytest.raises(SceneError, match="has no lights"):
        open_simulator(scene, "embedded", SimulatorConfig(lighting=True))


def test_a_placed_mesh_compares() -> None:
    one = Placed(Path("a"), ((1.0,),), None, ((1.0,),), 0, "a")
    assert one == Placed(Path("a"), ((1.0,),), None, ((1.0,),), 0, "a")
