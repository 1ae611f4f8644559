"""Scenes of others that must not be drawn wrong in silence, ask for everything, or reach out."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from envs.simulators.embedded.mesh import read_surface
from envs.simulators.embedded.parts import to_bytes
from rayforge.errors import SceneError
from tests.envs.simulators.embedded.test_formats import BLUE, PAINT, UV, Glb, picture, png

CORNERS = ("-1 -1 -1", "1 -1 -1", "1 1 -1", "-1 1 -1")
PLACES = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "f 1/1 2/2 3/3 4/4\n"


def refused(file: Path, said: str) -> None:
    with pytest.raises(SceneError, match=said):
        read_surface(file, np.eye(3), 64)


def large_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def bent_by_its_node(glb: Glb) -> None:
    glb.primitive["targets"] = [{"POSITION": glb.add(np.ones((4, 3), np.float32))}]
    glb.header["nodes"][0]["weights"] = [0.5]


def doubled(glb: Glb) -> None:
    more = [{"children": [k, k]} for k in range(60)]
    glb.header["nodes"] += more
    glb.header["scenes"][0]["nodes"] = [60]


def twice(glb: Glb) -> None:
    glb.header["scenes"][0]["nodes"] = [0, 0]


def many_instances(glb: Glb) -> None:
    glb.header["accessors"].append({"componentType": 5126, "type": "VEC3", "count": 2**23})
    where = {"TRANSLATION": len(glb.header["accessors"]) - 1}
    glb.header["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": where}}


def without_data(glb: Glb) -> None:
    accessor = glb.header["accessors"][0]
    del accessor["bufferView"]
    accessor["count"] = 2**29


def nowhere(glb: Glb) -> None:
    glb.header["nodes"][0]["scale"] = [1, float("nan"), 1]


def places_of_nan(glb: Glb) -> None:
    glb.paint(np.full((4, 2), np.nan, np.float32))


def short_colour(glb: Glb) -> None:
    glb.header["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [1.0]


def image_of(content: bytes) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        glb.paint(UV)
        glb.header["images"] = [{"bufferView": glb.view(content)}]

    return change


def named(uri: str) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        glb.paint(UV)
        glb.header["images"] = [{"uri": uri}]

    return change


def many_images(glb: Glb) -> None:
    glb.paint(UV)
    view = glb.view(large_png(8192))
    glb.header["images"] = [{"bufferView": view}] * 5
    glb.header["textures"] = [{"source": k} for k in range(5)]
    looks = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": k}}} for k in range(5)]
    glb.header["materials"] = looks
    glb.header["meshes"][0]["primitives"] = [{**glb.primitive, "material": k} for k in range(5)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (bent_by_its_node, "morph targets"),
        (doubled, "below two nodes"),
        (twice, "below two nodes"),
        (many_instances, "limit for a file of its size"),
        (without_data, "wants 536870912 values"),
        (nowhere, "moved by no numbers"),
        (places_of_nan, "texture coordinates of vertex 0"),
        (short_colour, "four numbers"),
        (image_of(large_png(13000)), "too large"),
        (image_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n"), "no image"),
        (many_images, "5 textures have 335,544,320 pixels"),
        (named("../up.png"), "outside of its folder"),
        (named("%2E%2E/up.png"), "outside of its folder"),
        (named("/dev/zero"), "outside of its folder"),
        (named("a\0b"), "is missing"),
        (named("a" * 5000), "is missing"),
    ],
)
def test_a_glb_is_refused(tmp_path: Path, change: Callable[[Glb], None], said: str) -> None:
    glb = Glb()
    change(glb)
    PIL.Image.fromarray(PAINT).save(tmp_path / "up.png")
    (tmp_path / "in").mkdir()
    refused(glb.write(tmp_path / "in" / "a.glb"), said)


def test_a_scene_without_nodes_holds_nothing_and_others_are_left_alone(tmp_path: Path) -> None:
    glb = Glb()
    glb.header["scenes"] = [{"nodes": [0]}, {}]
    assert len(read_surface(glb.write(tmp_path / "a.glb"), np.eye(3), 64).faces) == 2
    glb.header["scene"] = 1
    refused(glb.write(tmp_path / "b.glb"), "no triangles")


def ply(file: Path, properties: str, row: str, faces: str = "4 0 1 2 3", more: str = "") -> Path:
    header = f"ply\nformat ascii 1.0\n{more}element vertex 4\nproperty float x\nproperty float y\n"
    header += f"property float z\n{properties}element face {len(faces.splitlines())}\n"
    lists = "property list uchar int vertex_indices\n"
    if "texcoord" in more:
        lists += "property list uchar float texcoord\n"
    points = "".join(f"{corner} {row}\n" for corner in CORNERS)
    file.write_text(f"{header}{lists}end_header\n{points}{faces}\n")
    return file


@pytest.mark.parametrize(
    ("kind", "row"),
    [("int", "0 0 255"), ("uint", "0 0 255"), ("short", "0 0 255"), ("char", "0 0 -1"),
     ("uint", "0 0 4294967295"), ("ushort", "0 0 65535"), ("double", "0 0 1")],
)  # fmt: skip
@pytest.mark.parametrize("red", ["red", "Red"])
def test_ply_colours_of_any_kind_are_blue(tmp_path: Path, kind: str, row: str, red: str) -> None:
    names = (red, "green", "blue")
    file = ply(tmp_path / "a.ply", "".join(f"property {kind} {n}\n" for n in names), row)
    np.testing.assert_array_equal(picture(file), BLUE)


def test_plys_that_say_a_thing_twice_or_half(tmp_path: Path) -> None:
    file = tmp_path / "a.ply"
    refused(ply(file, "property uchar x\n", "1"), "element vertex, property x stands twice")
    refused(ply(file, "element vertex 0\n", ""), "element vertex stands twice")
    colours = "".join(f"property float {name}\n" for name in ("red", "green", "blue"))
    refused(ply(file, colours, "0 0 nan"), "a colour is no number")
    (tmp_path / "t.png").write_bytes(png())
    texture = "comment TextureFile t.png\ncomment texcoord\n"
    half = "4 0 1 2 3 8 0 0 1 0 1 1 0 1\n3 0 1 2 0"
    refused(ply(file, "", "", half, texture), "texture coordinates .* for every corner")


def obj(folder: Path, body: str, material: bytes | None = None) -> Path:
    file = folder / "a.obj"
    head = "" if material is None else "mtllib a.mtl\nusemtl m\n"
    if material is not None:
        (folder / "a.mtl").write_bytes(material)
    file.write_text(head + body)
    return file


@pytest.mark.parametrize(
    "material",
    [b"newmtl m\nmap_kd t.png\n", b"\xef\xbb\xbfnewmtl m\nMAP_KD t.png\n",
     "newmtl m\nmap_Kd Küche.png\n".encode("cp1252"), "newmtl m\nmap_Kd Küche.png\n".encode()],
)  # fmt: skip
def test_obj_materials_of_other_hands(tmp_path: Path, material: bytes) -> None:
    for name in ("t.png", "Küche.png"):
        (tmp_path / name).write_bytes(png())
    points = "".join(f"v {corner}\n" for corner in CORNERS)
    np.testing.assert_array_equal(picture(obj(tmp_path, points + PLACES + FACE, material)), PAINT)


def test_obj_vertices_of_which_some_have_a_colour(tmp_path: Path) -> None:
    points = "".join(f"v {corner}{' 0 0 255' * (k > 0)}\n" for k, corner in enumerate(CORNERS))
    surface = read_surface(obj(tmp_path, points + "f 1 2 3 4\n"), np.eye(3), 64)
    assert surface.vertex_colour.tolist() == [[255] * 3, *[[0, 0, 255]] * 3]


@pytest.mark.parametrize(
    ("body", "material", "said"),
    [("call other.obj\nv 0 0 0\n", None, "call names another file"),
     (PLACES, b"newmtl m\nmap_Kd ../t.png\n", "outside of its folder"),
     (PLACES, b"newmtl m\nmap_Kd /etc/t.png\n", "outside of its folder"),
     ("".join(f"v {c}\n" for c in CORNERS) + "f 1 2 3\n", b"newmtl m\nKd nan 0 0\n", "no number")],
)  # fmt: skip
def test_an_obj_is_refused(tmp_path: Path, body: str, material: Any, said: str) -> None:
    refused(obj(tmp_path, body, material), said)


def test_colours_beyond_are_cut_off_and_nan_is_none() -> None:
    assert to_bytes(np.array([-1.0, 0.5, 2.0, np.inf])).tolist() == [0, 128, 255, 255]
    with pytest.raises(ValueError, match="no number"):
        to_bytes(np.array([0.5, np.nan]))
