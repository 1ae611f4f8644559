"""Meshes from files, whole and broken."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh

from envs.simulators.embedded.mesh import Surface, files_of, read_surface
from rayforge.errors import SceneError
from tests.envs.simulators.made_up import COLOURS, SIDES, cube, painted, write_scene

STAY = np.eye(3)


def read(file: Path) -> Surface:
    return read_surface(file, STAY, 64)


def outward(surface: Surface) -> np.ndarray:
    """Whether every triangle of a body around the origin is seen from outside."""
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    return (np.cross(b - a, c - a) * a).sum(axis=1) > 0


def test_glb(tmp_path: Path) -> None:
    write_scene(tmp_path, cube())
    surface = read(tmp_path / "made.glb")
    assert surface.vertices.dtype == np.float32 and surface.faces.dtype == np.int32
    assert len(surface.faces) == 12 and outward(surface).all()
    assert np.allclose(np.abs(surface.vertices), 1)
    assert np.array_equal(np.unique(surface.face_colour, axis=0), np.unique(COLOURS, axis=0))
    assert len(surface.vertex_colour) == len(surface.uv) == 0
    assert (surface.face_texture == -1).all()


def test_ply_and_obj_hold_the_same_triangles(tmp_path: Path) -> None:
    whole = trimesh.util.concatenate([trimesh.Trimesh(p.vertices, p.faces) for p in cube()])
    for suffix in ("ply", "obj", "glb"):
        whole.export(tmp_path / f"made.{suffix}")
        surface = read(tmp_path / f"made.{suffix}")
        assert len(surface.faces) == 12 and outward(surface).all(), suffix
        assert (surface.face_colour == 255).all()  # no material: white


def test_ply_keeps_vertex_colours(tmp_path: Path) -> None:
    colours = np.arange(16, dtype=np.uint8).reshape(4, 4)
    part = trimesh.Trimesh(SIDES[0], [[0, 1, 2], [0, 2, 3]], vertex_colors=colours, process=False)
    part.export(tmp_path / "made.ply")
    assert np.array_equal(read(tmp_path / "made.ply").vertex_colour, colours[:, :3])


@pytest.mark.parametrize("scale", [(2, 3, 4), (-1, 1, 1)])
def test_transforms_of_nodes(tmp_path: Path, scale: tuple[float, ...]) -> None:
    """Moved, scaled and mirrored: the outside stays outside."""
    scene = trimesh.Scene()
    move = np.diag([*scale, 1.0])
    move[:3, 3] = 10, 20, 30
    parent = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0])
    scene.graph.update(frame_to="group", frame_from="world", matrix=parent)
    for number, part in enumerate(cube()):
        scene.add_geometry(part, node_name=str(number), parent_node_name="group", transform=move)
    (tmp_path / "made.glb").write_bytes(scene.export(file_type="glb"))
    surface = read(tmp_path / "made.glb")
    middle = surface.vertices.mean(axis=0)
    assert np.allclose(middle, [30, 20, -10], atol=1e-5)
    extent = np.ptp(surface.vertices, axis=0)
    assert np.allclose(extent, 2 * np.abs([scale[2], scale[1], scale[0]]), atol=1e-5)
    assert outward(surface._replace(vertices=surface.vertices - middle)).all()


def test_textures_are_halved_until_they_fit(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (200, 50), (10, 20, 30))
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    write_scene(tmp_path, [painted(SIDES[0], image, uv), *cube(1.0)])
    surface = read(tmp_path / "made.glb")
    assert surface.textures.level[0, 0].tolist() == [0, 50, 12]
    assert surface.textures.levels.tolist() == [6]
    assert (surface.textures.texels == [10, 20, 30]).all()
    assert sorted(surface.face_texture.tolist()) == [-1] * 12 + [0, 0]
    assert np.allclose(surface.uv[surface.faces[surface.face_texture == 0]].max(axis=(0, 1)), 1)


def test_files_that_are_no_meshes(tmp_path: Path) -> None:
    for suffix in ("glb", "ply", "obj"):
        file = tmp_path / f"made.{suffix}"
        for content in (b"", b"hello", bytes(range(256)) * 4):
            file.write_bytes(content)
            with pytest.raises(SceneError, match=f"made.{suffix}"):
                read(file)


def test_cut_off_glb(tmp_path: Path) -> None:
    write_scene(tmp_path, cube())
    file = tmp_path / "made.glb"
    whole = file.read_bytes()
    for share in (0.3, 0.9, 0.999):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(SceneError, match=r"made\.glb is cut off"):
            read(file)


def test_header_that_promises_less_than_the_file_needs(tmp_path: Path) -> None:
    write_scene(tmp_path, cube())
    file = tmp_path / "made.glb"
    short = file.read_bytes()[:-200]
    file.write_bytes(short[:8] + struct.pack("<I", len(short)) + short[12:])
    with pytest.raises(SceneError, match=r"made\.glb: accessor .* is cut off"):
        read(file)


def test_empty_mesh(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 3\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    file = tmp_path / "made.ply"
    file.write_text(header + "end_header\n0 0 0\n1 0 0\n0 1 0\n")
    with pytest.raises(SceneError, match="holds no triangles"):
        read(file)


def test_vertices_that_are_no_numbers(tmp_path: Path) -> None:
    parts = cube()
    parts[1].vertices[2, 1] = np.nan
    write_scene(tmp_path, parts)
    with pytest.raises(SceneError, match=r"made\.glb: vertex 2 of 4 is \[.*nan"):
        read(tmp_path / "made.glb")


def test_triangle_of_a_vertex_that_is_not_there(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 3\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    file = tmp_path / "made.ply"
    file.write_text(header + "0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    with pytest.raises(SceneError, match=r"made\.ply"):
        read(file)


def edited(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a .glb."""
    content = file.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    header = json.loads(content[20 : 20 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + length :]
    total = struct.pack("<II", 20 + len(text) + len(rest), len(text))
    file.write_bytes(content[:8] + total[:4] + total[4:] + content[16:20] + text + rest)


def textured(folder: Path) -> Path:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    write_scene(folder, [painted(SIDES[0], PIL.Image.new("RGB", (4, 4)), uv)])
    return folder / "made.glb"


def test_missing_texture(tmp_path: Path) -> None:
    file = textured(tmp_path)
    edited(file, lambda header: header.update(images=[{"uri": "wood.png"}]))
    with pytest.raises(SceneError, match=r"made\.glb names .*wood\.png, which is missing"):
        read(file)
    (tmp_path / "wood.png").write_bytes(b"not an image")
    with pytest.raises(SceneError, match=r"texture wood\.png is no image"):
        read(file)
    PIL.Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "wood.png")
    assert files_of(file) == [file, tmp_path / "wood.png"]
    assert (read(file).textures.texels == [1, 2, 3]).all()


def test_broken_texture_within(tmp_path: Path) -> None:
    file = textured(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"PNG", b"GNP"))
    with pytest.raises(SceneError, match="texture 0 is no image"):
        read(file)


def test_extensions_that_are_not_read(tmp_path: Path) -> None:
    file = textured(tmp_path)
    edited(file, lambda header: header.update(extensionsRequired=["KHR_texture_basisu"]))
    with pytest.raises(SceneError, match="needs KHR_texture_basisu"):
        read(file)


def test_obj_with_materials(tmp_path: Path) -> None:
    file = tmp_path / "made.obj"
    file.write_text(
        "mtllib made.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
        "usemtl red\nf 1/1 2/2 3/3\n"
    )
    with pytest.raises(SceneError, match=r"made\.mtl, which is missing"):
        read(file)
    (tmp_path / "made.mtl").write_text("newmtl red\nKd 1 0 0\nmap_Kd wood.png\n")
    with pytest.raises(SceneError, match=r"wood\.png, which is missing"):
        read(file)
    PIL.Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "wood.png")
    surface = read(file)
    assert (surface.textures.texels == 9).all() and surface.face_texture.tolist() == [0]
    (tmp_path / "made.mtl").write_text("newmtl red\nKd 1 0 0\n")
    assert read(file).face_colour.tolist() == [[255, 0, 0]]
