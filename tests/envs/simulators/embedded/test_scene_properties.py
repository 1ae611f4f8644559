"""What holds of any tree of nodes and any order of triangles, against slow answers."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulators.embedded.embree import Embree
from envs.simulators.embedded.gltf import read_gltf
from envs.simulators.embedded.rays import pixel_rays
from envs.simulators.simulator import Camera
from tests.envs.simulators.embedded.test_views import brute_force

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")


def write_tree(file: Path, nodes: list[dict[str, Any]], roots: list[int]) -> None:
    """A .glb whose every mesh is the same triangle."""
    data = CORNERS.tobytes()
    header = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": roots}], "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data)}],
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(data), 0x004E4942) + data
    file.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)


def slow(
    nodes: list[dict[str, Any]], number: int, above: np.ndarray
) -> list[tuple[np.ndarray, bool]]:
    """(corners [3, 3], whether mirrored) of a node's triangle and those below it, depth first."""
    node = nodes[number]
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    pure = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + 2 * w * pure + 2 * pure @ pure  # Rodrigues, by a quaternion
    own = np.eye(4)
    own[:3, :3] = turn @ np.diag(node.get("scale", (1, 1, 1)))
    own[:3, 3] = node.get("translation", (0, 0, 0))
    matrix = above @ own
    found = []
    if "mesh" in node:
        corners = CORNERS.astype(float) @ matrix[:3, :3].T + matrix[:3, 3]
        found.append((corners, bool(np.linalg.det(matrix[:3, :3]) < 0)))
    for child in node.get("children", ()):
        found += slow(nodes, child, matrix)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_nodes_come_depth_first_in_the_order_of_the_file(seed: int, count: int) -> None:
    """Random trees, moved, turned, scaled and mirrored; nodes are numbered in any order."""
    chance = np.random.default_rng(seed)
    name = chance.permutation(count).tolist()
    nodes: list[dict[str, Any]] = [{} for _ in range(count)]
    roots = []
    for number in range(count):
        turn = chance.normal(size=4)
        node = nodes[name[number]]
        node |= {
            "translation": chance.uniform(-3, 3, 3).tolist(),
            "rotation": (turn / np.linalg.norm(turn)).tolist(),
            "scale": (chance.uniform(0.5, 2, 3) * chance.choice((-1, 1), 3)).tolist(),
        }
        if chance.random() < 0.8:
            node["mesh"] = 0
        if number and chance.random() < 0.7:
            nodes[name[chance.integers(number)]].setdefault("children", []).append(name[number])
        else:
            roots.append(name[number])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tree.glb"
        write_tree(file, nodes, roots)
        parts = read_gltf(file, np.eye(3, dtype=np.float32))
    expected = [found for root in roots for found in slow(nodes, root, np.eye(4))]
    assert len(parts) == len(expected)
    for part, (corners, mirrored) in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part.vertices, corners, atol=2e-4)
        assert part.mirrored == mirrored
        # A mirrored part is turned over, so that its outside stays outside.
        assert part.faces.tolist() == [[2, 1, 0] if mirrored else [0, 1, 2]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_views_do_not_depend_on_the_order_of_triangles(seed: int) -> None:
    """Triangles anywhere, told in two orders and with other corners first: the same depths, and
    those of every ray against every triangle."""
    chance = np.random.default_rng(seed)
    vertices = chance.uniform(-3, 3, (36, 3)).astype(np.float32)
    faces = np.arange(36, dtype=np.int32).reshape(12, 3)
    order = chance.permutation(12)
    turned = np.stack([np.roll(faces[k], chance.integers(3)) for k in order]).astype(np.int32)
    rays = pixel_rays(Camera(15, 15, 120)).astype(np.float32)
    expected = brute_force(vertices, faces, rays)
    depths = []
    for some in (faces, turned):
        hits = Embree(vertices, some).cast(rays * np.float32(0.01), rays)
        depths.append(np.where(hits.face >= 0, hits.depth, 0))
        # A ray along an edge may go either way.
        assert (np.abs(depths[-1] - expected) < 1e-3 * (1 + expected)).mean() > 0.98
    assert (np.abs(depths[0] - depths[1]) < 1e-4).mean() > 0.99
