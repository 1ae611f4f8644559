from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.simulators.embedded.mesh import Surface
from envs.simulators.embedded.semantics import (
    Annotation,
    read_annotation,
    same_triangles,
    vertex_ids,
)
from envs.simulators.embedded.textures import NO_TEXTURES
from rayforge.errors import SceneError

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
