"""Views of simple bodies, whose depth and colours are known."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulators.embedded.coincident import opposite_sides
from envs.simulators.embedded.embree import Embree, EmbreeRenderer
from envs.simulators.embedded.parts import CLAMP, MIRROR, REPEAT, Texture
from envs.simulators.embedded.rays import pixel_rays
from envs.simulators.embedded.shading import (
    Hits,
    _sampled,
    colour_image,
    id_image,
    packed_faces,
    packed_image,
)
from envs.simulators.embedded.stored import load_model
from envs.simulators.embedded.textures import build_textures
from envs.simulators.scene import find_scene
from envs.simulators.simulator import Camera, Poses, Views
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


class Draw:
    """A scene and its camera."""

    def __init__(self, config: Path, camera: Camera) -> None:
        self.camera, self.renderer = camera, EmbreeRenderer(load_model(find_scene(config)))
        self.model = self.renderer._model

    def render(self, poses: Poses) -> Views:
        return self.renderer.render(poses, self.camera)


def renderer(config: Path, camera: Camera = CAMERA) -> Draw:
    return Draw(config, camera)


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
def test_depth_inside_a_room(inside: Draw, x: float, y: float, z: float, yaw: float) -> None:
    _, depth, _ = seen(inside.render(pose(x, y, z, yaw)))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    rays = pixel_rays(CAMERA).astype(float) @ turn.T
    place = np.array([x, y + CAMERA.above_floor, z])
    low, high = np.array([-3, 0, -2]), np.array([3, 3, 2])
    with np.errstate(divide="ignore"):
        expected = np.where(rays > 0, (high - place) / rays, (low - place) / rays).min(axis=1)
    assert np.allclose(depth[0].reshape(-1), expected, atol=1e-4)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Draw:
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


def test_a_batch_is_its_views(inside: Draw) -> None:
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
    tensors = renderer(write_scene(tmp_path, cube()), camera).renderer.render_tensors(
        pose(0, -1, 5), camera
    )
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


def test_a_bare_glb_stands_on_its_z_axis(tmp_path: Path, inside: Draw) -> None:
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


def test_packed_triangles_look_as_before(inside: Draw) -> None:
    """Colours of vertices and ids in one pass, in more pixels than are fetched at once."""
    chance = np.random.default_rng(5)
    vertices, count, pixels = 300, 500, 3000
    surface = inside.model.surface._replace(
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
    assert packed_faces(inside.model.surface, inside.model.face_id) is None


def brute_force(vertices: np.ndarray, faces: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Depth of the first front face on rays from the origin, every ray against every triangle."""
    a, b, c = (vertices[faces[:, k]].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a)
    depth = np.full(len(rays), np.inf)
    for row, ray in enumerate(rays.astype(float)):
        along = normal @ ray
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (normal * a).sum(axis=1) / along
            hit = away[:, None] * ray
            inside = (along < 0) & (away > 0.01)
            for first, second in ((a, b), (b, c), (c, a)):
                inside &= (np.cross(second - first, hit - first) * normal).sum(axis=1) >= -1e-9
        depth[row] = away[inside].min(initial=np.inf)
    return np.where(np.isfinite(depth), depth, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_faces_back_to_back_are_seen_from_both_sides(seed: int) -> None:
    """Rectangles with a twin that looks the other way, cut along the other diagonal."""
    chance = np.random.default_rng(seed)
    vertices, faces = [], []
    for number in range(4):
        axes = np.linalg.qr(chance.normal(size=(3, 3)))[0][:2] * chance.uniform(0.3, 1.5, (2, 1))
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ axes
        vertices.append(corner + chance.uniform(-3, 3, 3))
        faces += [[0, 1, 2], [0, 2, 3], [1, 0, 3], [1, 3, 2]]
        faces[-4:] = [[4 * number + k for k in face] for face in faces[-4:]]
    place, triangle = np.concatenate(vertices).astype(np.float32), np.array(faces, np.int32)
    rays = pixel_rays(Camera(15, 15, 120)).astype(np.float32)
    hits = Embree(place, triangle).cast(rays * np.float32(0.01), rays)
    expected = brute_force(place, triangle, rays)
    found = np.where(hits.face >= 0, hits.depth, 0)
    close = np.abs(found - expected) < 1e-3 * (1 + expected)
    # A ray along an edge may go either way.
    assert close.mean() > 0.98
    sides = opposite_sides(place, triangle)
    assert set(sides.tolist()) == {1, 2}


def test_only_faces_back_to_back_are_kept_apart(inside: Draw) -> None:
    surface = inside.model.surface
    assert not opposite_sides(surface.vertices, surface.faces).any()


@settings(max_examples=20, deadline=None)
@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(-3, 3))
def test_pitch_and_roll(inside: Draw, pitch: float, roll: float, yaw: float) -> None:
    """The camera's axes turned by hand, in a room whose walls are known."""
    camera = Camera(9, 7, above_floor=1.0, colour=False, pitch=pitch, roll=roll)
    views = inside.renderer.render(pose(0.5, 0.2, 0.3, yaw), camera)
    a, b, c = np.radians(pitch), np.radians(roll), yaw
    around_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    around_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    around_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    level = pixel_rays(Camera(9, 7)).astype(float)
    rays = level @ (around_y @ around_z @ around_x).T
    low, high = np.array([-3, 0, -2]), np.array([3, 3, 2])
    place = np.array([0.5, 1.2, 0.3])
    rays = np.where(rays == 0, 1e-12, rays)
    expected = np.where(rays > 0, (high - place) / rays, (low - place) / rays).min(axis=1)
    assert views.depth is not None
    assert np.allclose(views.depth[0].reshape(-1), expected, atol=1e-3)


def test_looking_up_and_down(inside: Draw) -> None:
    for pitch, side in ((90, 4), (-90, 5)):  # the ceiling's colour, the floor's
        camera = Camera(4, 4, 20, above_floor=1.0, pitch=pitch)
        colour, _, _ = seen(inside.renderer.render(pose(0, 0, 0, 1.0), camera))
        assert (colour == COLOURS[side]).all(), pitch


def test_samplers_of_textures() -> None:
    """Nearest texels, and what lies beyond the border."""
    image = PIL.Image.fromarray(np.array([[[0] * 3, [100] * 3], [[200] * 3, [40] * 3]], np.uint8))
    expected = {REPEAT: 0, CLAMP: 100, MIRROR: 100}
    for wrap, value in expected.items():
        textures = build_textures([Texture(image, (wrap, wrap), near=False)], 64)
        colour = _sampled(
            textures.texels,
            textures.level[0],
            textures.levels[0],
            textures.sampler[0],
            np.float32(1.2),
            np.float32(0.2),
            np.float32(0),
        )
        assert colour == (value,) * 3, wrap
