"""What a mesh file may say, in every container that can say it: the right picture, or a refusal."""

import base64
import json
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.mesh import read_surface
from envs.simulators.embedded.parts import named_file
from envs.simulators.embedded.polygons import triangles_of
from envs.simulators.embedded.stored import Model
from envs.simulators.simulator import Camera, Poses
from rayforge.errors import SceneError

CAMERA = Camera(2, 2, above_floor=0, semantic=False)
CORNERS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1]], np.float32)
"""A wall that fills the view: its left and right half, lower and upper, are the four pixels."""
QUAD = np.array([0, 1, 2, 0, 2, 3], np.uint16)
UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
PAINT = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
"""The picture: red and green above, blue and yellow below."""
BLUE = np.full((2, 2, 3), [0, 0, 255], np.uint8)


def picture(file: Path) -> np.ndarray:
    surface = read_surface(file, np.eye(3), 64)
    model = Model(surface, np.zeros(len(surface.faces), np.int32), None, {}, "", False)
    views = EmbreeRenderer(model).render(Poses(np.zeros((1, 3)), np.zeros(1)), CAMERA)
    assert views.colour is not None
    return views.colour[0]


class Glb:
    """A .glb of one wall, built up by hand."""

    def __init__(self) -> None:
        self.binary = b""
        self.header: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {}, "material": 0}]}],
            "materials": [{"pbrMetallicRoughness": {}}],
            "accessors": [],
            "bufferViews": [],
        }
        self.primitive = self.header["meshes"][0]["primitives"][0]
        self.primitive["attributes"]["POSITION"] = self.add(CORNERS)
        self.primitive["indices"] = self.add(QUAD)

    def view(self, content: bytes) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.header["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        )
        self.binary += content
        return len(self.header["bufferViews"]) - 1

    def add(self, values: np.ndarray, **more: object) -> int:
        kinds = {"b": 5120, "B": 5121, "h": 5122, "H": 5123, "I": 5125, "f": 5126}
        width = 1 if values.ndim == 1 else values.shape[1]
        self.header["accessors"].append(
            {
                "bufferView": self.view(values.tobytes()),
                "componentType": kinds[values.dtype.char],
                "count": len(values),
                "type": "SCALAR" if width == 1 else f"VEC{width}",
                **more,
            }
        )
        return len(self.header["accessors"]) - 1

    def paint(self, uv: np.ndarray, place: str = "TEXCOORD_0", **more: object) -> dict[str, Any]:
        """Give the wall the picture; returns what the material says of it."""
        self.primitive["attributes"][place] = self.add(uv, **more)
        self.header["images"] = [{"uri": data_uri()}]
        self.header["samplers"] = [{"magFilter": 9728, "minFilter": 9728}]
        self.header["textures"] = [{"source": 0, "sampler": 0}]
        info: dict[str, Any] = {"index": 0}
        self.header["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = info
        return info

    def write(self, file: Path) -> Path:
        self.header["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 4)
        rest = self.binary + b"\0" * (-len(self.binary) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<II", len(rest), 0x004E4942) + rest
        file.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
        return file


def png() -> bytes:
    from io import BytesIO

    stream = BytesIO()
    PIL.Image.fromarray(PAINT).save(stream, "png")
    return stream.getvalue()


def data_uri() -> str:
    return "data:image/png;base64," + base64.b64encode(png()).decode()


def plain(glb: Glb) -> None:
    glb.paint(UV)


def blue_by_vertex(kind: type, width: int, marked: bool = True) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        most = 1 if kind is np.float32 else np.iinfo(kind).max
        colour = np.array([[0, 0, most, most]] * 4, kind)[:, :width]
        glb.primitive["attributes"]["COLOR_0"] = glb.add(
            np.ascontiguousarray(colour), normalized=marked and kind is not np.float32
        )

    return change


def uv_of(kind: type) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        glb.paint((UV * np.iinfo(kind).max).astype(kind), normalized=True)

    return change


def second_set(glb: Glb) -> None:
    info = glb.paint(UV, "TEXCOORD_1")
    glb.primitive["attributes"]["TEXCOORD_0"] = glb.add(np.zeros((4, 2), np.float32))
    info["texCoord"] = 1


def strip(glb: Glb) -> None:
    plain(glb)
    glb.primitive |= {"mode": 5, "indices": glb.add(np.array([0, 1, 3, 2], np.uint8))}


def fan(glb: Glb) -> None:
    plain(glb)
    glb.primitive |= {"mode": 6, "indices": glb.add(np.array([0, 1, 2, 3], np.uint8))}


def no_indices(glb: Glb) -> None:
    glb.paint(np.ascontiguousarray(UV[QUAD]))
    glb.primitive["attributes"]["POSITION"] = glb.add(np.ascontiguousarray(CORNERS[QUAD]))
    del glb.primitive["indices"]


def sparse(glb: Glb) -> None:
    """Positions of which two are written over."""
    plain(glb)
    wrong = CORNERS.copy()
    wrong[[1, 2]] = 0
    number = glb.add(wrong)
    glb.header["accessors"][number]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": glb.view(struct.pack("<HH", 1, 2)), "componentType": 5123},
        "values": {"bufferView": glb.view(CORNERS[[1, 2]].tobytes())},
    }
    glb.primitive["attributes"]["POSITION"] = number


def quantised(glb: Glb) -> None:
    plain(glb)
    number = glb.add(np.column_stack([CORNERS.astype(np.int16), np.zeros(4, np.int16)]))
    glb.header["accessors"][number]["type"] = "VEC3"
    glb.header["bufferViews"][-1]["byteStride"] = 8
    glb.primitive["attributes"]["POSITION"] = number
    glb.header["extensionsRequired"] = ["KHR_mesh_quantization"]


def shiny_texture(glb: Glb) -> None:
    info = glb.paint(UV)
    glb.header["materials"] = [
        {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": info}}}
    ]


def shiny_colour(glb: Glb) -> None:
    gloss = {"diffuseFactor": [0, 0, 1, 1]}
    glb.header["materials"] = [{"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}]


def moved_texture(glb: Glb) -> None:
    """Coordinates halved and turned, and the extension that undoes both."""
    turned = np.column_stack([-UV[:, 1], UV[:, 0]]).astype(np.float32) / 2
    info = glb.paint(turned)
    back = {"scale": [2, 2], "rotation": np.pi / 2}
    info["extensions"] = {"KHR_texture_transform": back}


def mirror_wrap(glb: Glb) -> None:
    """From 1 to 2 a mirrored texture runs backwards."""
    glb.paint(np.column_stack([2 - UV[:, 0], UV[:, 1]]).astype(np.float32))
    glb.header["samplers"][0]["wrapS"] = 33648


def instanced(glb: Glb) -> None:
    """The wall as it lies is behind the camera; its instance is turned round."""
    plain(glb)
    glb.header["nodes"][0] |= {
        "rotation": [0, 1, 0, 0],
        "extensions": {
            "EXT_mesh_gpu_instancing": {
                "attributes": {"ROTATION": glb.add(np.array([[0, 1, 0, 0]], np.float32))}
            }
        },
    }


def fallback_image(glb: Glb) -> None:
    plain(glb)
    glb.header["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": 7}}


def draco_beside_plain(glb: Glb) -> None:
    plain(glb)
    glb.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 99}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (plain, PAINT),
        *[(blue_by_vertex(kind, 4), BLUE) for kind in (np.uint8, np.uint16, np.float32)],
        (blue_by_vertex(np.uint16, 3), BLUE),
        *[(blue_by_vertex(kind, 4, marked=False), BLUE) for kind in (np.uint8, np.uint16)],
        (uv_of(np.uint8), PAINT),
        (uv_of(np.uint16), PAINT),
        (second_set, PAINT),
        (strip, PAINT),
        (fan, PAINT),
        (no_indices, PAINT),
        (sparse, PAINT),
        (quantised, PAINT),
        (shiny_texture, PAINT),
        (shiny_colour, BLUE),
        (moved_texture, PAINT),
        (mirror_wrap, PAINT),
        (instanced, PAINT),
        (fallback_image, PAINT),
        (draco_beside_plain, PAINT),
    ],
)
def test_glb(tmp_path: Path, change: Callable[[Glb], None], expected: np.ndarray) -> None:
    glb = Glb()
    change(glb)
    if glb.primitive["attributes"].get("COLOR_0", 0) and len(glb.binary) % 4:
        glb.binary += b"\0"
    assert np.array_equal(picture(glb.write(tmp_path / "made.glb")), expected)


@pytest.mark.parametrize("uri", ["wall%20paper.png", "wall paper.png", "K%C3%BCche.png"])
def test_glb_with_percent_encoded_names(tmp_path: Path, uri: str) -> None:
    for name in ("wall paper.png", "Küche.png"):
        (tmp_path / name).write_bytes(png())
    glb = Glb()
    plain(glb)
    glb.header["images"] = [{"uri": uri}]
    assert np.array_equal(picture(glb.write(tmp_path / "made.glb")), PAINT)


@pytest.mark.parametrize("named", ["K\u00fcche.png", "Ku\u0308che.png", "a\\wall.png", '"b.png"'])
def test_names_in_other_spellings(tmp_path: Path, named: str) -> None:
    """Of a Mac, whose letters with accents are two signs, of Windows, and in quotes."""
    scene = tmp_path / "scene.obj"
    (tmp_path / "a").mkdir()
    for form in ("NFC", "NFD"):
        for file in tmp_path.glob("K*.png"):
            file.unlink()
        for name in (unicodedata.normalize(form, "K\u00fcche.png"), "a/wall.png", "b.png"):
            (tmp_path / name).write_bytes(png())
        assert named_file(scene, named, uri=False).is_file()


def without(glb: Glb, name: str) -> None:
    del glb.header["accessors"][glb.primitive["attributes"][name]]["bufferView"]


def only_draco(glb: Glb) -> None:
    glb.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 99}}
    without(glb, "POSITION")


def only_basis(glb: Glb) -> None:
    plain(glb)
    glb.header["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]


def compressed(glb: Glb) -> None:
    glb.header["bufferViews"][0]["buffer"] = 1


def skinned(glb: Glb) -> None:
    glb.header["nodes"][0]["skin"] = 0


def bent(glb: Glb) -> None:
    glb.primitive["targets"] = [{"POSITION": 0}]
    glb.header["meshes"][0]["weights"] = [0.5]


def own_child(glb: Glb) -> None:
    glb.header["nodes"][0]["children"] = [0]


def no_coordinates(glb: Glb) -> None:
    plain(glb)
    del glb.primitive["attributes"]["TEXCOORD_0"]


def beyond(glb: Glb) -> None:
    glb.header["accessors"][0]["count"] = 1 << 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (only_draco, "KHR_draco_mesh_compression"),
        (only_basis, "KHR_texture_basisu"),
        (compressed, r"buffers\[1\] is named|EXT_meshopt_compression"),
        (skinned, "skin"),
        (bent, "morph targets"),
        (own_child, "node 0 is below itself"),
        (no_coordinates, "no TEXCOORD_0"),
        (beyond, "accessor 0 needs"),
    ],
)
def test_glb_refused_by_name(tmp_path: Path, change: Callable[[Glb], None], message: str) -> None:
    glb = Glb()
    change(glb)
    with pytest.raises(SceneError, match=message) as caught:
        picture(glb.write(tmp_path / "made.glb"))
    assert "made.glb" in str(caught.value) and "\n" not in str(caught.value)


def ply(
    file: Path,
    form: str,
    columns: list[tuple[str, str, np.ndarray]],
    faces: list[list[int]],
    comment: str = "",
    behind: bytes = b"",
) -> Path:
    """A .ply in any of its three forms."""
    lines = ["ply", f"format {form} 1.0", *([f"comment {comment}"] if comment else [])]
    lines += [f"element vertex {len(columns[0][2])}"]
    lines += [f"property {kind} {name}" for kind, name, _ in columns]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    body = "\n".join(lines).encode() + b"\n"
    code = {"float": "f", "double": "d", "uchar": "B", "ushort": "H"}
    order = "<" if form == "binary_little_endian" else ">"
    for row in range(len(columns[0][2])):
        if form == "ascii":
            body += (" ".join(str(values[row]) for _, _, values in columns) + "\n").encode()
        else:
            for kind, _, values in columns:
                body += struct.pack(order + code[kind], values[row].item())
    for face in faces:
        if form == "ascii":
            body += (" ".join(map(str, [len(face), *face])) + "\n").encode()
        else:
            body += struct.pack(f"{order}B{len(face)}i", len(face), *face)
    file.write_bytes(body + behind)
    return file


FORMS = ["ascii", "binary_little_endian", "binary_big_endian"]


def places(kind: str = "float") -> list[tuple[str, str, np.ndarray]]:
    return [(kind, axis, CORNERS[:, k].astype(np.float64)) for k, axis in enumerate("xyz")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("faces", [[[0, 1, 2, 3]], [[0, 1, 2], [0, 2, 3]]])
@pytest.mark.parametrize(
    ("kind", "names", "most"),
    [
        ("uchar", ("red", "green", "blue"), 255),
        ("ushort", ("red", "green", "blue"), 65535),
        ("float", ("red", "green", "blue"), 1),
        ("uchar", ("diffuse_red", "diffuse_green", "diffuse_blue"), 255),
    ],
)
def test_ply_colours(
    tmp_path: Path, form: str, faces: list[list[int]], kind: str, names: tuple[str, ...], most: int
) -> None:
    shades = [np.zeros(4), np.zeros(4), np.full(4, most)]
    if kind != "float":
        shades = [shade.astype(np.int64) for shade in shades]
    coordinates = [("float", name, UV[:, k]) for k, name in enumerate("st")]  # in no texture
    columns = [*places("double"), *coordinates]
    columns += [(kind, name, shade) for name, shade in zip(names, shades, strict=True)]
    file = ply(tmp_path / "made.ply", form, columns, faces, behind=b"\n")
    assert np.array_equal(picture(file), BLUE)


@pytest.mark.parametrize("form", FORMS)
def test_ply_with_faces_of_three_four_and_five_corners(tmp_path: Path, form: str) -> None:
    corners = np.array([[0, 0], [2, 0], [2, 1], [1, 2], [0, 1], [3, 0], [3, 1]])
    columns = [("float", axis, corners[:, k].astype(np.float64)) for k, axis in enumerate("xy")]
    columns.append(("float", "z", np.zeros(7)))
    faces = [[0, 1, 2, 3, 4], [1, 5, 6], [1, 6, 2, 2]]
    surface = read_surface(ply(tmp_path / "made.ply", form, columns, faces), np.eye(3), 64)
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)[:, 2] / 2
    assert len(surface.faces) == 6 and area.sum() == pytest.approx(4) and (area >= 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_ply_cut_off_is_refused(tmp_path: Path, form: str) -> None:
    file = ply(tmp_path / "made.ply", form, places(), [[0, 1, 2, 3]])
    whole = file.read_bytes()
    for left in (4, 12, 40):
        file.write_bytes(whole[:-left])
        with pytest.raises(SceneError, match=r"made\.ply.*(cut off|no list of numbers|vertex)"):
            picture(file)


def test_a_long_word_among_a_plys_numbers_is_cut_in_the_message(tmp_path: Path) -> None:
    file = ply(tmp_path / "made.ply", "ascii", places(), [[0, 1, 2, 3]])
    file.write_bytes(file.read_bytes() + b"[" * 20_000)
    with pytest.raises(SceneError, match=r"made\.ply.*no list of numbers") as refused:
        picture(file)
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)


def test_ply_with_a_texture(tmp_path: Path) -> None:
    PIL.Image.fromarray(PAINT).resize((64, 64), PIL.Image.Resampling.NEAREST).save(
        tmp_path / "my wall.png"
    )
    columns = [*places(), ("float", "u", UV[:, 0]), ("float", "v", 1 - UV[:, 1])]
    file = ply(tmp_path / "made.ply", FORMS[1], columns, [[0, 1, 2, 3]], "TextureFile my wall.png")
    assert np.array_equal(picture(file), PAINT)


@pytest.mark.parametrize(
    "line",
    [
        "map_Kd my wall.png",
        "map_Kd -s 1 1 1 my wall.png",
        "map_Kd -blendu on -o 0 0 my wall.png",
        "map_Kd -s 2 2 1 -o -0.5 -0.5 my wall.png",
    ],
)
def test_obj_with_texture_options(tmp_path: Path, line: str) -> None:
    PIL.Image.fromarray(PAINT).resize((64, 64), PIL.Image.Resampling.NEAREST).save(
        tmp_path / "my wall.png"
    )
    (tmp_path / "house one.mtl").write_text(f"newmtl wall\nKd 1 1 1\n{line}\n")
    uv = np.column_stack([UV[:, 0], 1 - UV[:, 1]])
    if "-s 2" in line:
        uv = (uv + 0.5) / 2
    text = "mtllib house one.mtl\n"
    text += "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    text += "".join(f"vt {u} {v}\n" for u, v in uv)
    text += "usemtl wall\nf -4/-4 \\\n-3/-3 -2/-2 -1/-1\n"
    (tmp_path / "made.obj").write_text(text)
    assert np.array_equal(picture(tmp_path / "made.obj"), PAINT)


def test_obj_refuses_what_it_does_not_read(tmp_path: Path) -> None:
    file = tmp_path / "made.obj"
    file.write_text("v 0 0 0\ncstype bezier\n")
    with pytest.raises(SceneError, match=r"made\.obj, line 2: free-form curves"):
        picture(file)
    (tmp_path / "a.mtl").write_text("newmtl wall\n")
    file.write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl door\nf 1 2 3\n")
    with pytest.raises(SceneError, match=r"material 'door' is in none"):
        picture(file)


@given(st.lists(st.floats(0.3, 1), min_size=3, max_size=9))
def test_triangles_of_a_star_cover_it(radii: list[float]) -> None:
    """Corners around a point, near and far by turns: seldom convex, never crossing itself."""
    angle = np.arange(len(radii)) * 2 * np.pi / len(radii)
    points = np.column_stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)])
    points *= np.array(radii)[:, None]
    places, owner = triangles_of(np.arange(len(radii)), np.array([0, len(radii)]), points)
    a, b, c = (points[places[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)[:, 2] / 2
    x, y = points[:, 0], points[:, 1]
    whole = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    assert len(places) == len(radii) - 2 and not owner.any()
    assert area.sum() == pytest.approx(whole, abs=1e-9) and area.min() > -1e-9
