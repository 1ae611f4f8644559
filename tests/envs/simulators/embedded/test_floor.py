"""Known answers on rooms made of boxes, and what holds on any floor."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envs.simulators.embedded.floor import FloorMap
from envs.simulators.embedded.navmesh.assembly import _ranks
from envs.simulators.simulator import Action, Body, Motion, Poses
from rayforge.errors import SceneError
from tests.envs.simulators.embedded.boxes import Part, box, join, ramp, room, stairs

BODY = Body()
FINE = Body(cell_height=0.05)
"""Heights as they are; the default rounds them up to 20 cm."""
ABOVE = 0.1
"""The floor's top is at 0, its underside at -0.1: the first cell of 20 cm ends at 0.1."""
AT_WALL = 0.15
"""The wall's face at 0 touches the cell from 0 to 5 cm; then comes the radius."""


def built(parts: list[Part], body: Body = BODY) -> FloorMap:
    return FloorMap.build(*join(parts), body)


def point(x: float, z: float, y: float = ABOVE) -> np.ndarray:
    return np.array([[x, y, z]], dtype=np.float32)


def walk(floor: FloorMap, x: float, z: float, yaw: float, **motion: bool) -> tuple[list, bool]:
    poses = Poses(point(x, z), np.array([yaw], np.float32))
    moved = floor.step(poses, np.array([Action.MOVE_FORWARD]), Motion(**motion))
    return moved.poses.position[0].tolist(), bool(moved.collided[0])


@pytest.fixture(scope="module")
def empty() -> FloorMap:
    return built(room(5, 4))


@pytest.fixture(scope="module")
def furnished() -> FloorMap:
    """A wall with a door, a table, a cupboard, a kerb."""
    return built(
        [
            *room(8, 6),
            box((4, 0, 0), (4.1, 2.7, 2.5)),
            box((4, 0, 3.5), (4.1, 2.7, 6)),
            box((1, 0.7, 1), (2.5, 0.75, 2.5)),
            box((6, 0, 1), (7, 2, 2)),
            box((5, 0, 4), (6.5, 0.1, 5.5)),
        ]
    )


# Known answers


def test_empty_room_keeps_the_radius_from_its_walls(empty: FloorMap) -> None:
    inside = [(0.2, 0.2), (2.5, 2), (4.8, 3.8)]
    outside = [(0.04, 2), (2.5, 3.97), (-0.05, 2), (6, 2)]
    for (x, z), stands in [*((p, True) for p in inside), *((p, False) for p in outside)]:
        assert empty.navigable(point(x, z))[0] == stands, (x, z)
    assert empty.geodesic_distance(point(0.5, 0.5), point(4.5, 3.5))[0] == pytest.approx(5)
    assert empty.shortest_path(point(1, 1)[0], point(4, 1)[0]).shape == (2, 3)


def test_half_a_metre_of_height_is_forgiven(empty: FloorMap) -> None:
    assert empty.navigable(point(2, 2, ABOVE + 0.49))[0]
    assert not empty.navigable(point(2, 2, ABOVE + 0.51))[0]


def test_snapping_finds_the_floor_within_two_metres(empty: FloorMap) -> None:
    near = empty.snap(np.concatenate([point(2, 2, 1.5), point(-1, 2), point(12, 2)]))
    assert near[0].tolist() == pytest.approx([2, ABOVE, 2])
    assert near[1].tolist() == pytest.approx([AT_WALL, ABOVE, 2])
    assert np.isnan(near[2]).all()


def test_walking_into_a_wall_slides_or_stops(empty: FloorMap) -> None:
    free, collided = walk(empty, 2, 2, yaw=0)
    assert free == pytest.approx([2, ABOVE, 1.75]) and not collided
    slid, collided = walk(empty, 2, 0.2, yaw=np.pi / 4)
    assert collided and slid[0] == pytest.approx(2 - 0.25 * np.sin(np.pi / 4), abs=1e-3)
    assert slid[2] == pytest.approx(AT_WALL)
    stopped, collided = walk(empty, 2, 0.2, yaw=np.pi / 4, sliding=False)
    assert collided and stopped == pytest.approx([1.95, ABOVE, AT_WALL])


def test_turns_and_stop(empty: FloorMap) -> None:
    poses = Poses(np.repeat(point(2, 2), 3, axis=0), np.zeros(3, np.float32))
    actions = np.array([Action.STOP, Action.TURN_LEFT, Action.TURN_RIGHT])
    moved = empty.step(poses, actions, Motion(turn=30))
    assert np.degrees(moved.poses.yaw).tolist() == pytest.approx([0, 30, -30])
    assert np.array_equal(moved.poses.position, poses.position) and not moved.collided.any()


def test_a_wall_without_a_door_parts_two_floors() -> None:
    floor = built([*room(6, 4), box((3, 0, 0), (3.1, 2.7, 4))])
    assert floor.geodesic_distance(point(1, 2), point(5, 2))[0] == np.inf
    assert floor.shortest_path(point(1, 2)[0], point(5, 2)[0]).shape == (0, 3)


def test_a_way_leads_through_the_door(furnished: FloorMap) -> None:
    path = furnished.shortest_path(point(1, 0.5)[0], point(7, 0.5)[0])
    at_wall = path[(path[:, 0] > 3.8) & (path[:, 0] < 4.3)]
    assert len(at_wall) and ((at_wall[:, 2] > 2.5) & (at_wall[:, 2] < 3.5)).all()
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert furnished.geodesic_distance(point(1, 0.5), point(7, 0.5))[0] == pytest.approx(length)


@pytest.mark.parametrize(("rise", "climbs"), [(0.15, True), (0.25, False)])
def test_a_step_is_climbed_up_to_twenty_centimetres(rise: float, climbs: bool) -> None:
    floor = built([*room(6, 4), box((3, 0, 0), (6, rise, 4))], FINE)
    distance = floor.geodesic_distance(point(1, 2, 0), point(5, 2, rise))[0]
    assert np.isfinite(distance) == climbs
    there, collided = walk(floor, 2.85, 2, yaw=-np.pi / 2)
    assert collided != climbs
    assert there[1] == pytest.approx(rise if climbs else 0, abs=0.06)


def test_default_cells_round_heights_up_as_habitat_sim_does() -> None:
    floor = built([*room(6, 4), box((3, 0, 0), (6, 0.25, 4))])
    assert np.isfinite(floor.geodesic_distance(point(1, 2), point(5, 2, 0.3))[0])
    floor = built([*room(6, 4), box((3, 0, 0), (6, 0.45, 4))])
    assert floor.geodesic_distance(point(1, 2), point(5, 2, 0.5))[0] == np.inf


@pytest.mark.parametrize(("degrees", "climbs"), [(20, True), (55, False)])
def test_a_ramp_up_to_the_slope(degrees: float, climbs: bool) -> None:
    rise = float(2 * np.tan(np.radians(degrees)))
    landing = box((5, 0, 0), (8, rise, 4))
    floor = built([*room(8, 4, 5), ramp((3, 5), (0, 4), (0, rise)), landing], FINE)
    start, end = point(1, 2, 0), point(7, 2, rise)
    distance = floor.geodesic_distance(start, end)[0]
    if climbs:
        assert distance == pytest.approx(4 + 2 / np.cos(np.radians(degrees)), rel=0.03)
        half_way = floor.snap(point(4, 2, rise / 2))[0]
        assert half_way[1] == pytest.approx(rise / 2, abs=0.1)
    else:
        assert distance == np.inf


@pytest.mark.parametrize("joined", [True, False])
def test_two_floors(joined: bool) -> None:
    upper = box((4, 2.6, 0), (10, 2.7, 6))
    steps = stairs(1, (1, 2.5), 15, 0.18, 0.2) if joined else []
    floor = built([*room(10, 6, 5.4), upper, *steps])
    low, high = point(5, 4), point(8, 4, 2.8)
    assert floor.snap(high)[0, 1] > 2.6 and floor.snap(low)[0, 1] < 0.5
    assert np.isfinite(floor.geodesic_distance(low, high)[0]) == joined
    heights = floor.random_points(200, seed=0)[:, 1]
    assert (heights < 0.5).any() and (heights > 2.5).any() == joined


def test_no_way_leads_over_floor_without_area(furnished: FloorMap) -> None:
    mesh = furnished.mesh
    door = mesh.points[mesh.polygon][..., 0]  # polygons that reach into the door
    in_door = ((door > 3.9) & (door < 4.2) & (mesh.polygon >= 0)).any(axis=1)
    shut = dataclasses.replace(furnished, mesh=mesh._replace(usable=mesh.usable & ~in_door))
    assert shut.geodesic_distance(point(1, 0.5), point(7.5, 0.5))[0] == np.inf
    assert shut.shortest_path(point(1, 0.5)[0], point(7.5, 0.5)[0]).shape == (0, 3)


def test_a_table_is_an_island(furnished: FloorMap) -> None:
    assert furnished.navigable(point(1.75, 1.75, 0.9))[0]  # on it, as habitat-sim has it
    assert not furnished.navigable(point(1.75, 1.75))[0]  # 70 cm under it are too low
    assert furnished.geodesic_distance(point(1.75, 1.75, 0.9), point(3, 3))[0] == np.inf
    points = furnished.random_points(500, seed=1)
    assert (points[:, 1] < 0.5).all()
    around = furnished.geodesic_distance(point(0.5, 1.75), point(3, 1.75))[0]
    assert around > 2.8


def test_furniture_under_a_square_metre_is_no_floor() -> None:
    floor = built([*room(5, 4), box((1, 0.7, 1), (2, 0.75, 2))])
    assert not floor.navigable(point(1.5, 1.5, 0.8))[0]


def test_the_roof_is_no_place_for_random_points() -> None:
    floor = built([*room(5, 4), box((2, 0, 1), (4, 2, 3)), box((-0.1, 2.7, -0.1), (5.1, 2.8, 4.1))])
    assert floor.navigable(point(3, 2, 2.9))[0]  # larger than the floor below it
    assert (floor.random_points(100, seed=0)[:, 1] < 0.5).all()


def test_random_points_are_uniform_and_repeat(furnished: FloorMap) -> None:
    points = furnished.random_points(4000, seed=3)
    assert furnished.navigable(points).all()
    assert np.array_equal(points, furnished.random_points(4000, seed=3))
    assert not np.array_equal(points, furnished.random_points(4000, seed=4))
    left = ((points[:, 0] < 2) & (points[:, 2] > 3)).mean()
    right = ((points[:, 0] > 2) & (points[:, 0] < 4) & (points[:, 2] > 3)).mean()
    assert left == pytest.approx(right, rel=0.2)


# What holds anywhere

places = st.tuples(st.floats(-1, 9), st.floats(-0.5, 1.5), st.floats(-1, 7))


@settings(max_examples=60, deadline=None)
@example(points=[(0.0, 0.0, 2.5), (2.0, 0.0, 2.0)])  # 4.55 m there, 3.05 m back
@given(points=st.lists(places, min_size=2, max_size=12))
def test_distances_and_snapping(furnished: FloorMap, points: list) -> None:
    snapped = furnished.snap(np.array(points, np.float32))
    snapped = snapped[~np.isnan(snapped).any(axis=1)]
    assert furnished.navigable(snapped).all()
    assert np.allclose(furnished.snap(snapped), snapped, atol=1e-3)
    starts, ends = snapped[:-1], snapped[1:]
    there = furnished.geodesic_distance(starts, ends)
    back = furnished.geodesic_distance(ends, starts)
    straight = np.linalg.norm(ends - starts, axis=1)
    assert (there >= straight - 1e-3).all()
    assert np.array_equal(np.isinf(there), np.isinf(back))
    finite = np.isfinite(there)
    # A* over polygons, as habitat-sim's, judges them by the middles of their edges, and may go
    # around the other side on the way back (of 4,000 pairs 0.2 % differ by a quarter, at most by
    # 1.7 times). So a distance is held against the way itself, whose corners can be stood on.
    assert (np.maximum(there, back)[finite] <= 2 * np.minimum(there, back)[finite] + 0.1).all()
    for start, end, metres in zip(starts[finite], ends[finite], there[finite], strict=True):
        way = furnished.shortest_path(start, end)
        assert np.linalg.norm(np.diff(way, axis=0), axis=1).sum() == pytest.approx(metres, abs=1e-3)
        assert furnished.navigable(way.astype(np.float32)).all()
    assert (furnished.geodesic_distance(snapped, snapped) == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), sliding=st.booleans())
def test_steps_never_leave_the_floor(furnished: FloorMap, seed: int, sliding: bool) -> None:
    chance = np.random.default_rng(seed)
    poses = Poses(furnished.random_points(8, seed), chance.uniform(0, 7, 8).astype(np.float32))
    for _ in range(25):
        actions = chance.choice([1, 1, 1, 2, 3], size=8)
        moved = furnished.step(poses, actions, Motion(sliding=sliding))
        walked = np.linalg.norm(moved.poses.position - poses.position, axis=1)
        assert furnished.navigable(moved.poses.position).all()
        assert (walked <= 0.25 + 0.21).all()  # and a step up or down
        assert (~moved.collided | (walked < 0.25)).all()
        poses = moved.poses
    distance = furnished.geodesic_distance(furnished.random_points(8, seed), poses.position)
    assert np.isfinite(distance).all()


def test_a_batch_answers_as_its_rows_do(furnished: FloorMap) -> None:
    chance = np.random.default_rng(0)
    poses = Poses(furnished.random_points(32, 5), chance.uniform(0, 7, 32).astype(np.float32))
    actions = chance.integers(0, 4, 32)
    whole = furnished.step(poses, actions, Motion())
    for row in range(32):
        one = slice(row, row + 1)
        alone = furnished.step(Poses(poses.position[one], poses.yaw[one]), actions[one], Motion())
        assert np.array_equal(alone.poses.position, whole.poses.position[one])
        assert alone.collided[0] == whole.collided[row]


# Files


def test_a_saved_floor_is_the_same(furnished: FloorMap, tmp_path: Path) -> None:
    file = tmp_path / "home.floor.npz"
    furnished.save(file)
    read = FloorMap.load(file)
    assert read.body == furnished.body
    for name, value in furnished.mesh._asdict().items():
        other = getattr(read.mesh, name)
        assert np.array_equal(other, value) and other.dtype == value.dtype, name
    assert list(tmp_path.iterdir()) == [file]


def test_the_cache_knows_mesh_and_body(tmp_path: Path) -> None:
    mesh = join(room(3, 3))
    first = FloorMap.cached(*mesh, BODY, tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    assert np.array_equal(FloorMap.cached(*mesh, BODY, tmp_path).mesh.points, first.mesh.points)
    assert file.stat().st_mtime_ns == written
    FloorMap.cached(*mesh, dataclasses.replace(BODY, radius=0.2), tmp_path)
    FloorMap.cached(mesh[0] + np.float32(1), mesh[1], BODY, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_cache_is_built_anew(tmp_path: Path) -> None:
    mesh = join(room(3, 3))
    FloorMap.cached(*mesh, BODY, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no floor"):
        file.write_bytes(damaged)
        with pytest.raises(SceneError, match="not a floor"):
            FloorMap.load(file)
        assert FloorMap.cached(*mesh, BODY, tmp_path).navigable(point(1, 1))[0]
        FloorMap.load(file)


# Bad input


def test_bad_meshes_have_clear_errors() -> None:
    vertices, faces = join(room(3, 3))
    broken = vertices.copy()
    broken[7, 1] = np.nan
    beyond = faces.copy()
    beyond[4, 2] = len(vertices)
    floor, down = ramp((0, 3), (0, 3), (0, 0))
    assert FloorMap.build(floor, down, BODY).navigable(point(1, 1, 0.2))[0]
    cases = [
        (broken, faces, "home: vertex 7"),
        (vertices, beyond, "home: face 4"),
        (vertices, faces[:0], "0 faces"),
        (vertices[:, :2], faces, "vertices are"),
        (vertices * 1000, faces, "unit the metre"),
        (vertices * np.float32(0.1), faces, "no floor"),  # a doll's house
        (floor, down[:, ::-1], "no floor"),  # it looks down
        (floor * np.float32([0.001, 1, 1]), down, "no floor"),  # thinner than a cell
    ]
    for bad_vertices, bad_faces, message in cases:
        with pytest.raises(SceneError, match=message):
            FloorMap.build(bad_vertices, bad_faces, BODY, "home")


def test_a_ceiling_too_low_leaves_no_floor() -> None:
    low = [*room(4, 4, 1.2), box((-0.1, 1.2, -0.1), (4.1, 6, 4.1))]
    tall = dataclasses.replace(BODY, height=1.5)
    floor = built(low, tall)  # on top alone
    assert not floor.navigable(point(2, 2))[0]


@given(st.integers(1, 12), st.integers(-2, 3))
@settings(max_examples=25)
def test_headroom_to_the_cell(cells: int, spare: int) -> None:
    """A slab over a floor, so many cells above it: the body needs as many (0.3.4), or one more."""
    room_above = cells + spare
    if room_above < 1:
        return
    body = dataclasses.replace(BODY, height=0.2 * cells - 0.01, climb=0.0)
    low = np.float32([[0, 0, 0], [0, 0, 3], [3, 0, 3], [3, 0, 0]])
    # The floor's top is at one cell, since a span is at least one cell thick.
    slab = low + np.float32([0, 0.2 * (1 + room_above) + 0.05, 0])
    under = np.array([[0, 1, 2], [0, 2, 3]])
    vertices = np.concatenate([low, slab])
    faces = np.concatenate([under, under[:, ::-1] + 4]).astype(np.int32)
    for rules, needed in (("0.3.4", cells), ("0.3.3", cells + 1)):
        try:
            floor = FloorMap.build(vertices, faces, body, "slab", rules)  # type: ignore[arg-type]
        except SceneError:
            assert room_above < needed, rules
            continue
        assert room_above >= needed and floor.navigable(point(1.5, 1.5, 0.2))[0], rules


@given(st.integers(0, 3), st.integers(0, 4))
@settings(max_examples=20)
def test_a_step_of_exactly_the_climb_is_walked(climb: int, step: int) -> None:
    """Two floors side by side, `step` cells apart: one walks over up to `climb` cells."""
    body = dataclasses.replace(BODY, climb=0.2 * climb + 0.001)
    parts = [box((0, -1, 0), (3, 0, 4)), box((3, -1, 0), (6, 0.2 * step, 4))]
    floor = built(parts, body)
    walk = floor.geodesic_distance(point(1, 2), point(5, 2, 0.2 * step))[0]
    assert np.isfinite(walk) == (step <= climb)


def test_of_two_polygons_at_an_edge_the_first_in_the_tree_is_taken() -> None:
    """Boxes of four polygons in a row along x, told in another order."""
    x = np.array([6, 0, 4, 2])
    bounds = np.column_stack([x, x * 0, x * 0, x + 2, x * 0 + 1, x * 0 + 1]).astype(np.int32)
    assert _ranks(bounds).tolist() == [3, 0, 2, 1]
    same = np.repeat(bounds[:1], 3, axis=0)
    assert _ranks(same).tolist() == [0, 1, 2]


def test_without_sliding_by_both_rules() -> None:
    """Into a wall at an angle: both stop where the line meets it."""
    floor = built(room(4, 4, 2.5), BODY)
    poses = Poses(point(0.3, 2), np.array([np.pi / 4], np.float32))
    for rules in ("0.3.4", "0.3.3"):
        one = dataclasses.replace(floor, rules=rules)
        moved = one.step(poses, np.array([Action.MOVE_FORWARD]), Motion(sliding=False))
        went = (moved.poses.position - poses.position)[0]
        assert moved.collided[0] and went[0] == pytest.approx(went[2], abs=1e-4), rules


@pytest.mark.parametrize("seed", range(12))
def test_triangle_soup_has_a_floor_or_none(seed: int) -> None:
    chance = np.random.default_rng(seed)
    vertices = (chance.random((40, 3)) * [12, 1, 12]).astype(np.float32)
    faces = chance.integers(0, 40, (chance.integers(1, 150), 3)).astype(np.int32)
    try:
        floor = FloorMap.build(vertices, faces, Body(height=0.2))
    except SceneError:
        return
    points = floor.random_points(50, seed)
    assert floor.navigable(points).all()
    assert np.isfinite(floor.geodesic_distance(points[:25], points[25:])).all()


def test_poses_off_the_floor_are_named(empty: FloorMap) -> None:
    with pytest.raises(SceneError, match="agent 1 stands at"):
        poses = Poses(np.concatenate([point(2, 2), point(np.nan, 2)]), np.zeros(2, np.float32))
        empty.step(poses, np.ones(2, np.int64), Motion())
    assert empty.geodesic_distance(point(np.nan, 2), point(2, 2))[0] == np.inf
    assert not empty.navigable(point(np.inf, 2))[0]
    with pytest.raises(ValueError, match=r"points are \[N, 3\]"):
        empty.snap(np.zeros(3))
