"""Views of simple bodies, whose depth and colours are known."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulators.embedded.embree import EmbreeRenderer
from envs.simulators.embedded.shading import (
    Hits,
    colour_image,
    id_image,
    packed_faces,
    packed_image,
    pixel_rays,
)
from envs.simulators.embedded.stored import load_model
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, SimulatorConfig, Views
from tests.envs.simulators.made_up import (
    COLOURS,
    SIDES,
    cube,
    painted,
    room,
    write_scene,
    write_semantics,
)

CAMERA = Camera(width=32, height=24, above_floor=1.0)
BLACK = np.zeros(3, np.uint8)


def renderer(config: Path, camera: Camera = CAMERA) -> EmbreeRenderer:
    return EmbreeRenderer(load_model(find_scene(config)), SimulatorConfig(camera=camera))


def pose(x: float, y: float, z: float, yaw: float = 0.0) -> Poses:
    return Poses(np.array([[x, y, z]], np.float32), np.array([yaw], np.float32))


def seen(views: Views) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert views.colour is not None and views.depth is not None and views.semantic is not None
    return views.colour, views.depth, views.semantic


def test_cube_from_outside(tmp_path: Path) -> None:
    colour, depth, semantic = seen(renderer(write_scene(tmp_path, cube())).render(pose(0, -1, 5)))
    assert colour.shape == (1, 24, 32, 3) and colour.dtype == np.uint8
    assert depth.shape == (1, 24, 32) and depth.dtype == np.float32
    assert semantic.shape == (1, 24, 32) and semantic.dtype == np.int32
    rays = pixel_rays(CAMERA).reshape(24, 32, 3)
    front = (np.abs(rays[..., :2]) * 4 < 1).all(axis=-1)  # the side at z = 1 is 4 m away
    assert np.allclose(depth[0], np.where(front, 4, 0), atol=1e-5)
    assert np.array_equal(colour[0], np.where(front[..., None], COLOURS[0], BLACK))
    assert not semantic.any()


def test_yaw_grows_to_the_left(tmp_path: Path) -> None:
    draw = renderer(write_scene(tmp_path, room()))
    middle = [
        seen(draw.render(pose(0, 0, 0, yaw)))[0][0, 12, 16].tolist()
        for yaw in np.radians([0, 90, 180, 270])
    ]
    # Seen from inside: -z ahead, then -x to the left, +z behind, +x to the right.
    assert middle == COLOURS[[1, 3, 0, 2]].tolist()


@settings(max_examples=30, deadline=None)
@given(st.floats(-2.5, 2.5), st.floats(-0.9, 1.9), st.floats(-1.5, 1.5), st.floats(-10, 10))
def test_depth_inside_a_room(
    inside: EmbreeRenderer, x: float, y: float, z: float, yaw: float
) -> None:
    _, depth, _ = seen(inside.render(pose(x, y, z, yaw)))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    rays = pixel_rays(CAMERA).astype(float) @ turn.T
    place = np.array([x, y + CAMERA.above_floor, z])
    low, high = np.array([-3, 0, -2]), np.array([3, 3, 2])
    with np.errstate(divide="ignore"):
        expected = np.where(rays > 0, (high - place) / rays, (low - place) / rays).min(axis=1)
    assert np.allclose(depth[0].reshape(-1), expected, atol=1e-4)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> EmbreeRenderer:
    return renderer(write_scene(tmp_path_factory.mktemp("room"), room()))


def test_back_faces_are_not_seen(tmp_path: Path) -> None:
    """From outside a room its near wall is looked through, from within a cube everything is."""
    _, depth, _ = seen(renderer(write_scene(tmp_path, room())).render(pose(0, 0.5, 5)))
    assert depth[0, 12, 16] == pytest.approx(7, abs=1e-4)
    _, depth, _ = seen(renderer(write_scene(tmp_path, cube())).render(pose(0, -1, 0)))
    assert not depth.any()


def test_nothing_nearer_than_a_centimetre_or_farther_than_a_kilometre(tmp_path: Path) -> None:
    draw = renderer(write_scene(tmp_path, cube(100)))
    for away, expected in ((0.005, 0), (0.02, 0.02), (999, 999), (1001, 0)):
        _, depth, _ = seen(draw.render(pose(0, -1, 50 + away)))
        assert depth[0, 12, 16] == pytest.approx(expected, rel=1e-3), away


def test_a_batch_is_its_views(inside: EmbreeRenderer) -> None:
    chance = np.random.default_rng(0)
    count = 200  # more rays than go to Embree at once
    position = chance.uniform([-2, 0, -1], [2, 1, 1], (count, 3)).astype(np.float32)
    yaw = chance.uniform(0, 6, count).astype(np.float32)
    together = seen(inside.render(Poses(position, yaw)))
    for row in (0, 99, 199):
        rows = slice(row, row + 1)
        alone = seen(inside.render(Poses(position[rows], yaw[rows])))
        for many, one in zip(together, alone, strict=True):
            assert np.array_equal(many[rows], one)
    nobody = seen(inside.render(Poses(position[:0], yaw[:0])))
    assert [len(view) for view in nobody] == [0, 0, 0]


def test_sensors_switched_off(tmp_path: Path) -> None:
    camera = Camera(8, 8, colour=False, semantic=False)
    views = renderer(write_scene(tmp_path, cube()), camera).render(pose(0, -1, 5))
    assert views.colour is None and views.semantic is None and views.depth is not None
    tensors = renderer(write_scene(tmp_path, cube()), camera).render_tensors(pose(0, -1, 5))
    assert tensors.colour is None and tensors.depth is not None
    assert np.array_equal(tensors.depth.numpy(), views.depth)


def wall(image: PIL.Image.Image, repeat: float = 1.0) -> list:
    """A wall at z = -1 from (-1, -1) to (1, 1) with a texture."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * repeat
    return [painted(SIDES[0] - [0, 0, 2], image, uv)]


def test_texture_is_upright(tmp_path: Path) -> None:
    texels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    big = PIL.Image.fromarray(texels).resize((64, 64), PIL.Image.Resampling.NEAREST)
    camera = Camera(16, 16, above_floor=0)
    colour, _, _ = seen(renderer(write_scene(tmp_path, wall(big)), camera).render(pose(0, 0, 0)))
    quarters = colour[0][[4, 4, 11, 11], [4, 11, 4, 11]]  # row by row
    assert np.array_equal(quarters, texels.reshape(4, 3))


@pytest.mark.parametrize("side", [64, 32, 16, 8])
def test_a_pixel_is_the_mean_of_its_texels(tmp_path: Path, side: int) -> None:
    """64 texels across the view: a pixel covers 1, 2, 4 or 8 of them each way."""
    texels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    camera = Camera(side, side, above_floor=0)
    config = write_scene(tmp_path, wall(PIL.Image.fromarray(texels)))
    colour, _, _ = seen(renderer(config, camera).render(pose(0, 0, 0)))
    covered = 64 // side
    expected = texels.reshape(side, covered, side, covered, 3).mean(axis=(1, 3))
    assert np.abs(colour[0] - expected).max() <= 2.5  # levels are rounded, one after another


def test_far_texture_is_averaged(tmp_path: Path) -> None:
    """A fine checkerboard seen from afar is grey, whichever squares the rays hit."""
    squares = np.indices((256, 256)).sum(axis=0) % 2 * 255
    image = PIL.Image.fromarray(squares.astype(np.uint8)).convert("RGB")
    camera = Camera(16, 16, above_floor=0)
    draw = renderer(write_scene(tmp_path, wall(image, repeat=4)), camera)
    colour, depth, _ = seen(draw.render(pose(0, 0, 3)))
    assert (depth > 0).sum() >= 16
    assert np.abs(colour[depth > 0].astype(int) - 127).max() <= 1


def test_vertex_colours_are_blended(tmp_path: Path) -> None:
    part = wall(PIL.Image.new("RGB", (2, 2)))[0]
    part.visual = type(part.visual)().to_color()
    part.visual.vertex_colors = [
        [0, 0, 0, 255],
        [200, 0, 0, 255],
        [200, 100, 0, 255],
        [0, 100, 0, 255],
    ]
    camera = Camera(16, 16, above_floor=0)
    colour, _, _ = seen(renderer(write_scene(tmp_path, [part]), camera).render(pose(0, 0, 0)))
    share = (np.arange(16) + 0.5) / 16
    assert np.abs(colour[0, :, :, 0] - 200 * share[None]).max() <= 1
    assert np.abs(colour[0, :, :, 1] - 100 * share[::-1, None]).max() <= 1


def test_a_bare_glb_stands_on_its_z_axis(tmp_path: Path, inside: EmbreeRenderer) -> None:
    """The same room with Matterport's axes, without a configuration, and at half the size."""
    parts = room()
    for part in parts:
        x, y, z = part.vertices.T.copy()
        part.vertices = np.column_stack([x, -z, y]) / 2
    config = write_scene(tmp_path, parts, up=[0, 0, 1], front=[0, 1, 0], scale=[2, 2, 2])
    where = pose(1, 0.2, 0.5, 0.7)
    expected = seen(inside.render(where))
    for one, other in zip(seen(renderer(config).render(where)), expected, strict=True):
        assert np.allclose(one, other, atol=1e-5)
    config.unlink()
    half = renderer(tmp_path / "made.glb", Camera(32, 24, above_floor=0.5))
    colour, depth, _ = seen(half.render(pose(0.5, 0.1, 0.25, 0.7)))
    assert np.array_equal(colour, expected[0]) and np.allclose(2 * depth, expected[1], atol=1e-5)


def test_vertex_colours_multiply_the_material(tmp_path: Path) -> None:
    part = cube()[0]
    part.visual.material.baseColorFactor = [0.5, 1.0, 0.0, 1.0]
    part.visual.vertex_attributes["color"] = np.full((4, 4), 100, np.uint8)
    colour, _, _ = seen(renderer(write_scene(tmp_path, [part])).render(pose(0, -1, 2)))
    assert colour[0, 12, 16].tolist() == [50, 100, 0]


def test_a_mesh_need_not_be_a_manifold(tmp_path: Path) -> None:
    """Doubled triangles, ones without area and a third wall on an edge are drawn as they are."""
    parts = [*cube(), *cube()]
    parts[0].faces = np.concatenate([parts[0].faces, [[0, 0, 1], [2, 2, 2]]])
    parts[1].vertices += [0, 0, 1]
    _, depth, _ = seen(renderer(write_scene(tmp_path, parts)).render(pose(0, -1, 5)))
    assert depth[0, 12, 16] == pytest.approx(4)


def test_semantic_ids(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, room())
    model = load_model(find_scene(config))
    assert model.annotated is None  # the same triangles: one ray answers all sensors
    assert model.names[2] == "thing, number 2"
    colour, _, semantic = seen(renderer(config).render(pose(1, 0, 0.5, 0.3)))
    assert set(np.unique(semantic)) <= set(range(1, 7))
    assert np.array_equal(COLOURS[semantic - 1], colour)


def test_semantic_mesh_with_triangles_of_its_own(tmp_path: Path) -> None:
    config = write_semantics(tmp_path, room())
    parts = room()
    parts[2] = parts[2].subdivide()
    write_scene(tmp_path, parts, "made")
    again = write_semantics(tmp_path / "other", room())
    (tmp_path / "other" / "made.glb").write_bytes((tmp_path / "made.glb").read_bytes())
    assert load_model(find_scene(again)).annotated is not None
    where = pose(1, 0, 0.5, 0.3)
    before = seen(renderer(write_semantics(tmp_path, room())).render(where))[2]
    assert np.array_equal(seen(renderer(again).render(where))[2], before)
    assert config.exists()


def test_semantic_ids_painted_in_a_texture(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8))
    write_scene(tmp_path, wall(image), "made.semantic")
    lines = ["HM3D Semantic Annotations", '4,090909,"left",0', '7,080808,"right",0']
    (tmp_path / "made.semantic.txt").write_text("\n".join(lines))
    config = write_scene(
        tmp_path,
        wall(image),
        semantic_asset="made.semantic.glb",
        semantic_descriptor_filename="made.semantic.txt",
        has_semantic_textures=True,
    )
    camera = Camera(16, 16, above_floor=0)
    _, _, semantic = seen(renderer(config, camera).render(pose(0, 0, 0)))
    assert (semantic[0, :, :8] == 4).all() and (semantic[0, :, 8:] == 7).all()


def test_packed_triangles_look_as_before(inside: EmbreeRenderer) -> None:
    """Colours of vertices and ids in one pass, in more pixels than are fetched at once."""
    chance = np.random.default_rng(5)
    vertices, count, pixels = 300, 500, 3000
    surface = inside._model.surface._replace(
        vertices=chance.normal(size=(vertices, 3)).astype(np.float32),
        faces=chance.integers(vertices, size=(count, 3)).astype(np.int32),
        face_colour=chance.integers(256, size=(count, 3)).astype(np.uint8),
        vertex_colour=chance.integers(256, size=(vertices, 3)).astype(np.uint8),
        face_texture=np.full(count, -1, np.int16),
    )
    ids = chance.integers(1 << 20, size=count).astype(np.int32)
    u, v = chance.dirichlet([1, 1, 1], size=pixels).T[:2].astype(np.float32)
    face = chance.integers(-1, count, size=pixels).astype(np.int32)
    hits = Hits(np.ones(pixels, np.float32), face, u, v)
    colour, packed_colour = np.empty((2, pixels, 3), np.uint8)
    semantic, packed_semantic = np.empty((2, pixels), np.int32)
    rays = pixel_rays(CAMERA)
    colour_image(hits, surface, pose(0, 0, 0), CAMERA, rays, colour)
    id_image(face, ids, semantic)
    packed = packed_faces(surface, ids)
    assert packed is not None
    packed_image(face, u, v, packed, packed_colour, packed_semantic)
    assert np.array_equal(packed_colour, colour) and np.array_equal(packed_semantic, semantic)
    assert (face < 0).any() and len(np.unique(colour)) > 200
    assert packed_faces(inside._model.surface, inside._model.face_id) is None
