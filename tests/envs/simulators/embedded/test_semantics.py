import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.mesh import Surface
from envs.simulators.embedded.semantics import (
    Annotation,
    read_annotation,
    read_names,
    same_triangles,
    vertex_ids,
)
from envs.simulators.embedded.stored import load_model
from envs.simulators.embedded.textures import NO_TEXTURES
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import QUAD, SIDES, cube, write_scene

HEADER = "HM3D Semantic Annotations\n"


def surface(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None = None) -> Surface:
    return Surface(
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        np.zeros((len(faces), 3), np.uint8),
        np.zeros((0, 3), np.uint8) if colours is None else np.asarray(colours, np.uint8),
        np.zeros((0, 2), np.float32),
        np.full(len(faces), -1, np.int16),
        np.zeros(len(faces), bool),
        NO_TEXTURES,
    )


def test_annotation(tmp_path: Path) -> None:
    file = tmp_path / "made.semantic.txt"
    file.write_text(HEADER + '1,0000BC,"floor",0\n\n12,FFbc00,"chair, broken",3\n')
    names, colours = read_annotation(file)
    assert names == {1: "floor", 12: "chair, broken"}
    assert colours == {0x0000BC: 1, 0xFFBC00: 12}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must start with"),
        ("1,0000BC,floor,0\n", "must start with"),
        (HEADER + "1,0000BC,floor,0\n", "line 2: expected id"),
        (HEADER + '1,0000BC,"floor",0\n2,red,"wall",0\n', "line 3"),
        (HEADER + 'one,0000BC,"floor",0\n', "line 2"),
    ],
)
def test_wrong_annotation(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "made.semantic.txt"
    file.write_text(text)
    with pytest.raises(SceneError, match=message) as caught:
        read_annotation(file)
    assert str(file) in str(caught.value)


def test_linear_vertex_colours_become_the_lists() -> None:
    """128 of 255 is linear for BC, as in habitat-sim's reference; the last vertex decides."""
    colours = [[0, 0, 128], [0, 0, 255], [0, 128, 0], [7, 7, 7]]
    made = surface(np.eye(4, 3), [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 3]], colours)
    annotation = Annotation({}, {0x0000BC: 1, 0x0000FF: 2, 0x00BC00: 3})
    assert vertex_ids(made, annotation, linear=True).tolist() == [3, 1, 2, 0]


def test_ply_vertex_colours_are_the_lists() -> None:
    made = surface(np.eye(3), [[0, 1, 2]], [[0, 0, 0], [0, 0, 0], [0, 0, 0xBC]])
    assert vertex_ids(made, Annotation({}, {0x0000BC: 5}), linear=False).tolist() == [5]


@given(st.lists(st.integers(0, 0xFFFFFF), min_size=1, max_size=20, unique=True))
def test_any_list_survives_being_stored_in_eight_linear_bits(codes: list[int]) -> None:
    """Every id comes back, but of colours so dark that eight linear bits hold them as one."""
    channels = np.array([[c >> 16, c >> 8 & 255, c & 255] for c in codes]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    stored = np.rint(255 * linear).astype(np.uint8)
    made = surface(np.zeros((len(codes), 3)), np.arange(len(codes))[:, None].repeat(3, 1), stored)
    annotation = Annotation({}, {code: number for number, code in enumerate(codes, 1)})
    ids = vertex_ids(made, annotation, linear=True)
    alone = np.array([(stored == row).all(axis=1).sum() == 1 for row in stored])
    assert (ids[alone] == np.arange(1, len(codes) + 1)[alone]).all()


@given(st.integers(1, 30), st.integers(0, 1000))
def test_same_triangles_in_any_order(count: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    vertices = chance.uniform(-5, 5, (count + 2, 3))
    faces = chance.integers(0, count + 2, (count, 3))
    order, move = chance.permutation(count), chance.permutation(count + 2)
    back = np.argsort(move)
    first = surface(vertices, faces)
    second = surface(vertices[move], np.roll(back[faces[order]], chance.integers(3), axis=1))
    match = same_triangles(first, second)
    assert match is not None
    for row, other in enumerate(match):
        ours, theirs = first.vertices[faces[row]], second.vertices[second.faces[other]]
        assert any(np.array_equal(ours, np.roll(theirs, k, axis=0)) for k in range(3))
    assert same_triangles(first, surface(vertices + 0.1, faces)) is None
    assert same_triangles(first, surface(vertices, faces[:-1])) is None


HOUSE = """ASCII 1.1
H made made 0 0 0 0 0 2 2 1 0 1 0 0 0 0 0 0 0 0 6 3 4 0 0 0 0 0
L 0 1 ground 0 0 0 0 0 0 6 3 4 0 0 0 0 0
C 0 12 kitchen#chair 3 chair 0 0 0 0 0
C 1 40 wall 1 wall 0 0 0 0 0
O 1 0 0 0 0 0 1 0 0 0 1 0 1 1 1 0 0 0 0 0 0 0 0
O 7 0 1 0 0 0 1 0 0 0 1 0 1 1 1 0 0 0 0 0 0 0 0
O 8 0 -1 0 0 0 1 0 0 0 1 0 1 1 1 0 0 0 0 0 0 0 0
E 0 1 0 1 0 0 0 0 0 0 1 1 1 0 0 0 0 0
"""
"""The lines of a .house, its fields as the format's description orders them."""


def write_ids(file: Path, ids: list[int], quads: bool, kind: str) -> None:
    """A cube's sides as faces with an object id each, z up."""
    lines = ["ply", "format ascii 1.0", f"element vertex {4 * len(SIDES)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    share = 1 if quads else 2
    lines += [f"element face {share * len(SIDES)}", "property list uchar int vertex_indices"]
    lines += [f"property {kind} object_id", "end_header"]
    lines += [f"{x} {-z} {y}" for side in SIDES for x, y, z in side]
    for number, own in enumerate(ids):
        a, b, c, d = range(4 * number, 4 * number + 4)
        lines += [f"4 {a} {b} {c} {d} {own}"] if quads else [f"3 {a} {b} {c} {own}"]
        lines += [] if quads else [f"3 {a} {c} {d} {own}"]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("quads", [False, True])
def test_matterports_annotation(tmp_path: Path, quads: bool) -> None:
    """A side of a cube with each of two objects, and sides of none."""
    parts = cube()
    for part in parts:
        x, y, z = part.vertices.T.copy()
        part.vertices = np.column_stack([x, -z, y])
    write_scene(tmp_path, parts).unlink()  # without configuration: z is up
    none = 4294967295
    write_ids(tmp_path / "made_semantic.ply", [1, 7, 8, none, none, none], quads, "uint")
    (tmp_path / "made.house").write_text(HOUSE)
    model = load_model(find_scene(tmp_path / "made.glb"))
    assert model.names == {1: "chair", 7: "wall"}
    camera = Camera(4, 4, 20, above_floor=0.0)
    poses = Poses(
        np.array([[0, 0, 4], [0, 0, -4], [4, 0, 0], [-4, 0, 0]]), np.radians([0, 180, 90, 270])
    )
    views = EmbreeRenderer(model).render(poses, camera)
    assert views.semantic is not None and views.depth is not None
    assert views.semantic[:, 2, 2].tolist() == [1, 7, 8, 0]
    assert np.allclose(views.depth, 3)


def test_replicas_annotation(tmp_path: Path) -> None:
    write_ids(tmp_path / "mesh_semantic.ply", [3, 3, 3, 5, 5, 65535], True, "ushort")
    write_scene(
        tmp_path,
        cube(),
        semantic_asset="mesh_semantic.ply",
        semantic_descriptor_filename="info_semantic.json",
        semantic_up=[0, 0, 1],
        semantic_front=[0, 1, 0],
    )
    objects = [{"id": 3, "class_name": "lamp"}, {"id": 5, "class_name": "sofa"}]
    (tmp_path / "info_semantic.json").write_text(json.dumps({"objects": objects}))
    model = load_model(find_scene(tmp_path / "made.glb"))
    assert model.names == {3: "lamp", 5: "sofa"}
    assert model.face_id.tolist() == [3] * 6 + [5] * 4 + [0] * 2 and model.annotated is None


def test_colours_of_sixteen_bits_tell_dark_ids_apart(tmp_path: Path) -> None:
    """Of HM3D's list, colours that 8 linear bits hold as one and 16 do not."""
    codes = [0x000001, 0x000002, 0x000003, 0x010000, 0x020000, 0x030201]
    lines = ["HM3D Semantic Annotations"]
    lines += [f'{number},{code:06X},"thing {number}",0' for number, code in enumerate(codes, 1)]
    (tmp_path / "made.semantic.txt").write_text("\n".join(lines) + "\n")
    write_scene(tmp_path, cube())
    positions = np.concatenate(SIDES).astype("<f4")
    faces = np.concatenate([QUAD + 4 * k for k in range(6)]).astype("<u4")
    shares = np.array([[c >> 16, c >> 8 & 255, c & 255] for c in codes]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    assert len(np.unique(np.rint(255 * linear), axis=0)) < len(codes)
    colours = np.repeat(np.rint(65535 * linear), 4, axis=0)
    colours = np.column_stack([colours, np.full(24, 65535)]).astype("<u2")
    data, views = b"", []
    for block in (positions, colours, faces):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": block.nbytes})
        data += block.tobytes()
    kinds = ((5126, 24, "VEC3", False), (5123, 24, "VEC4", True), (5125, 36, "SCALAR", False))
    accessors = [
        {"bufferView": k, "componentType": c, "count": n, "type": t, "normalized": whole}
        for k, (c, n, t, whole) in enumerate(kinds)
    ]
    accessors[0] |= {"min": [-1, -1, -1], "max": [1, 1, 1]}
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}
    header = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}], "meshes": [{"primitives": [primitive]}], "bufferViews": views,
        "accessors": accessors, "buffers": [{"byteLength": len(data)}],
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(data), 0x004E4942) + data
    whole = struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks
    (tmp_path / "made.semantic.glb").write_bytes(whole)
    named = {
        "semantic_asset": "made.semantic.glb", "semantic_descriptor_filename": "made.semantic.txt"
    }  # fmt: skip
    model = load_model(find_scene(write_scene(tmp_path, cube(), **named)))
    assert model.face_id.tolist() == [k for k in range(1, 7) for _ in range(2)]


def test_gibsons_files(tmp_path: Path) -> None:
    """A mesh whose name says that z is up, and the names of an annotated one."""
    (tmp_path / "mesh_z_up.obj").write_text("v 0 0 1\nv 1 0 1\nv 0 1 1\nf 1 2 3\n")
    surface = load_model(find_scene(tmp_path / "mesh_z_up.obj")).surface
    np.testing.assert_allclose(surface.vertices[:, 1], 1, atol=1e-6)
    write_scene(tmp_path, cube()).unlink()
    write_ids(tmp_path / "made_semantic.ply", [1, 2, 2, 2, 2, 2], False, "int")
    objects = [{"id": 1, "class_": "chair", "location": [0, 0, 0]}, {"id": 2, "class_": "sofa"}]
    (tmp_path / "made.scn").write_text(json.dumps({"objects": objects}))
    assert load_model(find_scene(tmp_path / "made.glb")).names == {1: "chair", 2: "sofa"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("made.house", "ASCII 1.0\n", "must start with"),
        ("made.house", "ASCII 1.1\nC zero\n", "line 2"),
        ("made.json", "[]", "objects with id and class_name"),
        ("made.json", '{"objects": [{"id": 1e400}]}', "made.json"),
    ],
)
def test_names_of_other_formats(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SceneError, match=message) as caught:
        read_names(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
