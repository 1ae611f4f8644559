"""Binary glTF 2.0, read part by part: nodes depth first in the order of the file, as habitat-sim
takes them (the floor depends on the order of triangles).

Format: Khronos Group, glTF 2.0 specification, and the registry of its extensions. What changes the
picture is read, or refused by its name; nothing is left out without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.simulators.embedded.glb_file import GlbFile, open_glb
from envs.simulators.embedded.parts import (
    CLAMP,
    LINEAR_MIPS,
    MIRROR,
    NEAREST_MIP,
    NO_MIPS,
    REPEAT,
    Part,
    Texture,
    open_image,
    to_bytes,
)
from envs.simulators.rotations import rotation_of
from rayforge.errors import SceneError

TRIANGLES, STRIP, FAN = 4, 5, 6
_WRAP = {10497: REPEAT, 33071: CLAMP, 33648: MIRROR}
_MINIFY = {
    9728: (False, NO_MIPS),
    9729: (True, NO_MIPS),
    9984: (False, NEAREST_MIP),
    9985: (True, NEAREST_MIP),
    9986: (False, LINEAR_MIPS),
    9987: (True, LINEAR_MIPS),
}
_UNREAD_IMAGES = ("KHR_texture_basisu", "MSFT_texture_dds")
_INSTANCES = "EXT_mesh_gpu_instancing"
_GLOSS = "KHR_materials_pbrSpecularGlossiness"
_DRACO = "KHR_draco_mesh_compression"
MOST_PLACED = 1 << 25
"""Vertices and triangles that a file may place, or as many as it has bytes: one mesh can be named
by many nodes and primitives."""
_NORMALISED = 2e-5
"""How far the square of a rotation's length may be off 1 (Magnum)."""


class _Look(NamedTuple):
    colour: np.ndarray  # uint8 [3]
    texture: Texture | None
    set: int  # which TEXCOORD
    transform: np.ndarray | None  # float32 [2, 3], of texture coordinates
    made: bool  # whether the file has a material here


def read_gltf(path: Path, frame: np.ndarray) -> list[Part]:
    """The parts of a .glb with their nodes' transforms applied, then `frame` (float32 [3, 3]).

    Matrices are multiplied in single precision, in habitat-sim's order: on borders of floor cells
    rounding decides.

    Raises:
        SceneError: see `open_glb`; what cannot be read here is named with the remedy.
    """
    file = open_glb(path)
    top = np.eye(4, dtype=np.float32)
    top[:3, :3] = frame
    meshes: dict[int, list[Part]] = {}
    looks: dict[int | None, _Look] = {}
    images: dict[tuple[int, int], Texture] = {}
    parts: list[Part] = []
    placed_values, most = 0, max(MOST_PLACED, path.stat().st_size)
    met: set[int] = set()
    waiting = [(node, top) for node in reversed(_roots(file))]
    while waiting:
        number, above = waiting.pop()
        if number in met:  # nodes are trees: a few of them could else be millions
            raise SceneError(
                f"scene {path}: node {number} is below itself or below two nodes; export it anew"
            )
        met.add(number)
        node = file.item("nodes", number)
        if node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible") is False:
            continue
        matrix = times(above, _transform(file, node, number))
        if not np.isfinite(matrix).all():
            raise SceneError(f"scene {path}: node {number} is moved by no numbers; export it anew")
        if "mesh" in node:
            mesh = int(node["mesh"])
            if mesh not in meshes:
                meshes[mesh] = _primitives(file, mesh, looks, images)
            if any(node.get("weights", ())) and _bends(file, mesh):
                raise _bent(file, f"mesh {mesh} of node {number}")
            if "skin" in node and meshes[mesh]:
                raise SceneError(
                    f"scene {path}: node {number} is moved by a skin, which is not read here; bake"
                    " its pose into the mesh"
                )
            size = 1 + sum(len(part.vertices) + len(part.faces) for part in meshes[mesh])
            placed_values += size * _count(file, node)
            if placed_values > most:
                raise SceneError(
                    f"scene {path}: its nodes and instances place more than {most:,} vertices and"
                    " triangles, which is the limit for a file of its size; export a part of it"
                )
            for placed in _instances(file, node, matrix):
                parts += [moved_part(part, placed) for part in meshes[mesh]]
        waiting += [(int(child), matrix) for child in reversed(node.get("children", []))]
    return parts


def times(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The product of two matrices, float32 [4, 4], summed from the first column on."""
    total = first[:, 0, None] * second[0]
    for column in range(1, 4):
        total = total + first[:, column, None] * second[column]
    product: np.ndarray = total
    return product


def moved_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points, float32 [V, 3], under a matrix [4, 4] (or [3, 4]), summed in the same order."""
    x, y, z = (points[:, axis, None] for axis in range(3))
    linear = matrix[:3].T
    result: np.ndarray = ((x * linear[0] + y * linear[1]) + z * linear[2]) + linear[3]
    return result


def _roots(file: GlbFile) -> list[int]:
    scenes = file.header.get("scenes", [])
    if scenes:
        scene = file.item("scenes", file.header.get("scene", 0))
        return [int(node) for node in scene.get("nodes", ())]
    # Without a scene all nodes that are nobody's child.
    nodes = file.header.get("nodes", [])
    children = {int(child) for node in nodes for child in node.get("children", [])}
    return [number for number in range(len(nodes)) if number not in children]


def _transform(file: GlbFile, node: dict[str, Any], number: int) -> np.ndarray:
    if "matrix" in node:
        values = np.array(node["matrix"], dtype=np.float32)
        if values.shape != (16,):
            raise SceneError(f"scene {file.path}: node {number}: a matrix has 16 numbers")
        return np.ascontiguousarray(values.reshape(4, 4).T)
    return _placed(
        np.array(node.get("translation", (0, 0, 0)), dtype=np.float32),
        np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float32),
        np.array(node.get("scale", (1, 1, 1)), dtype=np.float32),
    )


def _placed(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    matrix = np.eye(4, dtype=np.float32)
    length = np.sum(rotation * rotation, dtype=np.float32)
    if abs(length - 1) >= _NORMALISED and length > 0:
        rotation = rotation / np.sqrt(length)
    matrix[:3, :3] = rotation_of(rotation) * scale
    matrix[:3, 3] = translation
    return matrix


def _count(file: GlbFile, node: dict[str, Any]) -> int:
    """How often a node's mesh stands."""
    extension = node.get("extensions", {}).get(_INSTANCES)
    if extension is None:
        return 1
    numbers = extension["attributes"].values()
    return max((int(file.item("accessors", number)["count"]) for number in numbers), default=0)


def _bends(file: GlbFile, mesh: int) -> bool:
    return any(primitive.get("targets") for primitive in file.item("meshes", mesh)["primitives"])


def _bent(file: GlbFile, place: str) -> SceneError:
    return SceneError(
        f"scene {file.path}: {place} is bent by morph targets, which are not read here; bake them"
        " into the mesh"
    )


def _instances(file: GlbFile, node: dict[str, Any], matrix: np.ndarray) -> list[np.ndarray]:
    """Where a node's mesh stands: once, or as often as its instances say."""
    extension = node.get("extensions", {}).get(_INSTANCES)
    if extension is None:
        return [matrix]
    given = extension["attributes"]
    count = _count(file, node)
    moves, turns, sizes = (
        file.values(int(given[name])) if name in given else np.tile(unmoved, (count, 1))
        for name, unmoved in (
            ("TRANSLATION", (0, 0, 0)),
            ("ROTATION", (0, 0, 0, 1)),
            ("SCALE", (1, 1, 1)),
        )
    )
    return [
        times(matrix, _placed(*(value.astype(np.float32) for value in row)))
        for row in zip(moves, turns, sizes, strict=True)
    ]


def moved_part(part: Part, matrix: np.ndarray) -> Part:
    """A part under a matrix, float32 [4, 4]; a mirrored one keeps its outside outside."""
    vertices = moved_points(part.vertices, matrix)
    if np.linalg.det(matrix[:3, :3].astype(np.float64)) >= 0:
        return part._replace(vertices=vertices)
    faces = np.ascontiguousarray(part.faces[:, ::-1])
    return part._replace(vertices=vertices, faces=faces, mirrored=not part.mirrored)


def _primitives(
    file: GlbFile,
    mesh: int,
    looks: dict[int | None, _Look],
    images: dict[tuple[int, int], Texture],
) -> list[Part]:
    whole = file.item("meshes", mesh)
    parts: list[Part] = []
    size, most = 0, max(MOST_PLACED, file.path.stat().st_size)
    for number, primitive in enumerate(whole["primitives"]):
        place = f"mesh {mesh}, primitive {number}"
        if primitive.get("mode", TRIANGLES) not in (TRIANGLES, STRIP, FAN):
            continue  # points and lines have no surface
        if primitive.get("targets") and any(whole.get("weights", ())):
            raise _bent(file, place)
        if _DRACO in primitive.get("extensions", {}) and not file.has_data(primitive):
            raise SceneError(
                f"scene {file.path}: {place} needs {_DRACO}, which is not read here; export it"
                " with plain vertices"
            )
        parts.append(_primitive(file, primitive, looks, images, place))
        size += 1 + len(parts[-1].vertices) + len(parts[-1].faces)
        if size > most:
            raise SceneError(
                f"scene {file.path}: mesh {mesh} names more than {most:,} vertices and triangles,"
                " which is the limit for a file of its size; export it anew"
            )
    return parts


def _primitive(
    file: GlbFile,
    primitive: dict[str, Any],
    looks: dict[int | None, _Look],
    images: dict[tuple[int, int], Texture],
    place: str,
) -> Part:
    attributes = primitive["attributes"]
    if "POSITION" not in attributes:
        raise SceneError(f"scene {file.path}: {place} has no positions; export it anew")
    vertices = file.values(int(attributes["POSITION"])).astype(np.float32)
    faces = _faces(file, primitive, len(vertices), place)
    material = primitive.get("material")
    if material not in looks:
        looks[material] = _look(file, material, images)
    look = looks[material]
    colour = uv = fine = None
    if "COLOR_0" in attributes:
        number = int(attributes["COLOR_0"])
        values = file.values(number, normalised=True)[:, :3]
        colour = to_bytes(values)
        if file.item("accessors", number)["componentType"] not in (5120, 5121):  # not bytes
            fine = np.clip(np.nan_to_num(np.asarray(values, np.float32)), 0, 1)
        _check_length(file, colour, vertices, f"{place}: COLOR_0")
    if look.texture is not None:
        name = f"TEXCOORD_{look.set}"
        if name not in attributes:
            raise SceneError(
                f"scene {file.path}: {place} has a texture but no {name}; export it anew"
            )
        uv = file.values(int(attributes[name])).astype(np.float32)
        _check_length(file, uv, vertices, f"{place}: {name}")
        if look.transform is not None:
            uv = uv @ look.transform[:, :2].T + look.transform[:, 2]
        uv = np.ascontiguousarray(uv, dtype=np.float32)
    base = np.broadcast_to(look.colour, (len(faces), 3))
    texture = look.texture if uv is not None else None
    return Part(vertices, faces, base, colour, uv, texture, material=look.made, fine_colour=fine)


def _check_length(file: GlbFile, values: np.ndarray, vertices: np.ndarray, what: str) -> None:
    if len(values) != len(vertices):
        raise SceneError(
            f"scene {file.path}: {what} has {len(values)} entries for {len(vertices)} vertices"
        )


def _faces(file: GlbFile, primitive: dict[str, Any], vertices: int, place: str) -> np.ndarray:
    if "indices" in primitive:
        order = file.values(int(primitive["indices"]), whole=True).reshape(-1).astype(np.int64)
    else:
        order = np.arange(vertices)
    if len(order) and (order.min() < 0 or order.max() >= vertices):
        raise SceneError(
            f"scene {file.path}: {place}: a triangle names vertex {order.max()} of {vertices};"
            " repair it"
        )
    mode = primitive.get("mode", TRIANGLES)
    if mode == TRIANGLES:
        faces = order[: len(order) // 3 * 3].reshape(-1, 3)
    else:
        row = np.arange(max(len(order) - 2, 0))
        if mode == STRIP:  # every second triangle is turned over
            odd = row % 2
            faces = np.stack([row, row + 1 + odd, row + 2 - odd], axis=1)
        else:
            faces = np.stack([row + 1, row + 2, np.zeros_like(row)], axis=1)
        faces = order[faces]
    return np.ascontiguousarray(faces, dtype=np.int32)


def _look(file: GlbFile, number: int | None, images: dict[tuple[int, int], Texture]) -> _Look:
    if number is None:
        return _Look(np.full(3, 255, np.uint8), None, 0, None, False)
    material = file.item("materials", number)
    shiny = material.get("extensions", {}).get(_GLOSS, {})
    plain = material.get("pbrMetallicRoughness", {})
    # Where both stand, habitat-sim takes the base colour.
    colour = plain.get("baseColorFactor", shiny.get("diffuseFactor", (1, 1, 1)))
    info = plain.get("baseColorTexture", shiny.get("diffuseTexture"))
    if len(colour) < 3:
        raise SceneError(f"scene {file.path}: material {number}: a colour has four numbers")
    base = to_bytes(np.array(colour[:3], dtype=np.float64))
    if info is None:
        return _Look(base, None, 0, None, True)
    moved = info.get("extensions", {}).get("KHR_texture_transform")
    which = info.get("texCoord", 0)
    transform = None
    if moved is not None:
        which = moved.get("texCoord", which)
        transform = _texture_transform(moved)
    texture = _texture(file, int(info["index"]), images)
    return _Look(base, texture, int(which), transform, True)


def _texture_transform(moved: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform: scaled, turned counter-clockwise, moved; float32 [2, 3]."""
    angle = float(moved.get("rotation", 0.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    wide, tall = moved.get("scale", (1, 1))
    right, down = moved.get("offset", (0, 0))
    rows = [[cosine * wide, sine * tall, right], [-sine * wide, cosine * tall, down]]
    return np.array(rows, dtype=np.float32)


def _texture(file: GlbFile, number: int, images: dict[tuple[int, int], Texture]) -> Texture:
    texture = file.item("textures", number)
    source, extensions = texture.get("source"), texture.get("extensions", {})
    if source is None:  # WebP is decoded; other images are not
        source = extensions.get("EXT_texture_webp", {}).get("source")
    if source is None:
        unread = [name for name in _UNREAD_IMAGES if name in extensions]
        raise SceneError(
            f"scene {file.path}: texture {number} has no image"
            + (f" but by {unread[0]}, which is not read here" if unread else "")
            + "; export it with PNG or JPEG textures (HM3D: the -glb files, not -basis)"
        )
    key = int(source), int(texture.get("sampler", -1))
    if key not in images:
        sampler = file.item("samplers", key[1]) if key[1] >= 0 else {}
        far, mips = _MINIFY[sampler.get("minFilter", 9987)]
        images[key] = Texture(
            open_image(file.path, f"texture {file.image_name(key[0])}", file.image(key[0])),
            (_WRAP[sampler.get("wrapS", 10497)], _WRAP[sampler.get("wrapT", 10497)]),
            sampler.get("magFilter", 9729) != 9728,
            far,
            mips,
        )
    return images[key]
