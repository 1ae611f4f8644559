"""Houses: plans, furniture, navigation graphs and views."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.houses.building import FEWEST, MOST, build_house
from envs.houses.catalogue import FURNITURE
from envs.houses.house import House, house_from_record, house_record
from envs.houses.house_map import relative
from envs.houses.sight import rays_blocked
from envs.houses.viewpoints import MAX_EDGE, line_of_sight
from envs.houses.views import SIGHT, boxes, visible_things
from rayforge.errors import DataError

seeds = st.integers(0, 10_000)
few = settings(max_examples=12, deadline=None)


@given(seeds)
@few
def test_rooms_tile_the_floor_and_doors_connect_them(seed: int) -> None:
    house = build_house(seed, 0)
    assert 6 <= len(house.rooms) <= 12
    assert {"h", "k", "b", "a", "l"} <= {r.label for r in house.rooms}
    corner = [max(r.high[a] for r in house.rooms) for a in (0, 1)]
    assert math.isclose(sum(r.area for r in house.rooms), corner[0] * corner[1])
    for a, b in itertools.combinations(house.rooms, 2):
        overlap = [min(a.high[k], b.high[k]) - max(a.low[k], b.low[k]) for k in (0, 1)]
        assert min(overlap) <= 1e-9
    reached = {0}
    for _ in house.rooms:
        reached |= {r for d in house.doors if reached & {*d.rooms} for r in d.rooms}
    assert reached == set(range(len(house.rooms)))
    for door in house.doors:
        for room in (house.rooms[r] for r in door.rooms):
            along = door.along
            assert room.low[along] <= door.centre[along] - door.width / 2
            assert door.centre[along] + door.width / 2 <= room.high[along]
            assert door.centre[1 - along] in (room.low[1 - along], room.high[1 - along])


@given(seeds)
@few
def test_furniture_stands_in_its_room_and_nothing_overlaps(seed: int) -> None:
    house = build_house(seed, 1)
    for piece in house.furniture:
        room = house.rooms[piece.room]
        for axis in (0, 1):
            assert room.low[axis] < piece.low[axis] < piece.high[axis] < room.high[axis]
        assert 0.0 <= piece.low[2] < piece.high[2] <= house.ceiling
    for a, b in itertools.combinations(house.furniture, 2):
        overlap = [min(a.high[k], b.high[k]) - max(a.low[k], b.low[k]) for k in range(3)]
        flat = "rug" in (a.name, b.name)
        assert min(overlap) <= (0.021 if flat else 0.002), (a, b)


def crosses(p: np.ndarray, q: np.ndarray, wall: tuple[float, float, float, float]) -> bool:
    """Whether segment pq touches an axis-aligned wall line, worked out without slabs."""
    axis = 1 if wall[1] == wall[3] else 0
    at, low, high = wall[axis], wall[1 - axis], wall[3 - axis]
    if p[axis] == q[axis]:
        span = sorted((p[1 - axis], q[1 - axis]))
        return bool(p[axis] == at and span[0] <= high and low <= span[1])
    t = (at - p[axis]) / (q[axis] - p[axis])
    return bool(0 <= t <= 1 and low <= p[1 - axis] + t * (q[1 - axis] - p[1 - axis]) <= high)


@given(seeds)
@few
def test_graph_is_connected_and_no_edge_meets_a_wall_or_furniture(seed: int) -> None:
    house = build_house(seed, 2)
    assert FEWEST <= len(house.viewpoints) <= MOST
    assert {v.room for v in house.viewpoints} == set(range(len(house.rooms)))
    ids = {v.id for v in house.viewpoints}
    assert len(ids) == len(house.viewpoints)
    assert all(len(i) == 32 and int(i, 16) >= 0 for i in ids)
    for v in house.viewpoints:
        assert house.rooms[v.room].contains(*v.position[:2])
    reached = {0}
    for _ in house.viewpoints:
        reached |= {v for e in house.edges if reached & {*e} for v in e}
    assert len(reached) == len(house.viewpoints)
    solid = [f for f in house.furniture if f.high[2] > 0.1 and f.low[2] < 1.8]
    sight = line_of_sight(house)
    tall = [f for f in solid if f.high[2] > 1.5]
    for a, b in house.edges:
        p, q = house.positions[a][:2], house.positions[b][:2]
        assert np.linalg.norm(p - q) <= MAX_EDGE
        assert not any(crosses(p, q, wall) for wall in house.walls)
        for t in np.linspace(0, 1, 30):
            x, y = p + t * (q - p)
            assert not any(f.low[0] < x < f.high[0] and f.low[1] < y < f.high[1] for f in solid)
        assert sight[a, b] or tall
    assert (sight == sight.T).all()
    assert not sight.diagonal().any()


def test_same_seed_same_house_and_others_differ() -> None:
    assert build_house(7, 3) == build_house(7, 3)
    houses = [build_house(7, k) for k in range(6)] + [build_house(8, 0)]
    assert len({(h.rooms, h.furniture) for h in houses}) == 7
    assert houses[3].scan == "house00003"


def test_walls_are_cut_at_doors_and_shared_ones_appear_once(row_house: House) -> None:
    walls = row_house.walls
    middle = [w for w in walls if w[1] == w[3] == 2.0]
    assert [round(x, 6) for w in middle for x in (w[0], w[2])] == [
        *(0.0, 1.05, 1.95, 4.05),
        *(4.95, 7.05, 7.95, 9.0),
    ]
    assert [w for w in walls if w[0] == w[2] == 3.0] == [(3.0, 2.0, 3.0, 6.0)]


def test_rays_and_boxes_known_answers() -> None:
    low, high = np.array([[1.0, -1.0]]), np.array([[2.0, 1.0]])
    starts = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.5, 0.0], [0.0, 0.0]])
    ends = np.array([[3.0, 0.0], [0.9, 0.0], [3.0, 2.0], [1.6, 0.0], [-3.0, 0.0]])
    assert rays_blocked(starts, ends, low, high)[:, 0].tolist() == [True, False, False, True, False]


def test_record_round_trip_and_a_clear_error(row_house: House) -> None:
    for house in (row_house, build_house(1, 1)):
        assert house_from_record(house_record(house), "here") == house
    record = house_record(row_house)
    del record["doors"]
    with pytest.raises(DataError, match=r"houses\.json: house 4.*doors"):
        house_from_record(record, "houses.json: house 4")
    record = house_record(row_house)
    record["edges"].append([0, 77])
    with pytest.raises(DataError, match="viewpoint index 77"):
        house_from_record(record, "houses.json: house 4")


def test_views_of_a_known_house(row_house: House) -> None:
    records = dict(
        zip([v.position[:2] for v in row_house.viewpoints], boxes(row_house), strict=True)
    )
    seen = {r["name"]: r for r in records[4.5, 4.0].values()}
    fridge = seen["refrigerator"]  # straight north, 1.1 m away, to 1.8 m high
    views = dict(zip(fridge["visible_pos"], fridge["bbox2d"], strict=True))
    assert {0, 12} <= set(views)
    x, y, width, height = views[12]
    assert x + width / 2 == pytest.approx(320, abs=1)
    # its top is 0.3 m above the camera: above the middle of the level view
    assert y < 240 < y + height
    assert all(v % 12 in (10, 11, 0, 1, 2) for v in views)
    assert "bed" not in seen  # behind a wall
    from_hall = {r["name"]: r for r in records[4.5, 1.0].values()}
    assert "refrigerator" not in from_hall  # 4.1 m away: out of sight
    assert "door" in from_hall
    doors = [r["visible_pos"] for r in records[1.5, 1.0].values() if r["name"] == "door"]
    assert any(12 in views for views in doors)
    toilet = next(r for r in records[7.5, 4.0].values() if r["name"] == "toilet")
    assert 3 in toilet["visible_pos"]  # to the east and low


def test_boxes_of_generated_houses_are_well_formed() -> None:
    house = build_house(2, 0)
    known = {p.name for pieces in FURNITURE.values() for p in pieces}
    names = set()
    for record in boxes(house):
        for thing in record.values():
            names.add(thing["name"])
            assert thing["visible_pos"] == sorted(set(thing["visible_pos"]))
            assert len(thing["visible_pos"]) == len(thing["bbox2d"]) > 0
            assert all(0 <= v < 36 for v in thing["visible_pos"])
            for x, y, width, height in thing["bbox2d"]:
                assert 0 <= x < x + width <= 640
                assert 0 <= y < y + height <= 480
    assert len(names & known) > 15
    seen, distance = visible_things(house)
    assert (distance[seen] <= SIGHT).all()


@pytest.mark.parametrize(
    ("before", "after", "turn"),
    [(0, 90, 90), (90, 0, -90), (350, 10, 20), (10, 350, -20), (0, 180, 180), (270, 90, 180)],
)
def test_turns_are_positive_to_the_right(before: float, after: float, turn: float) -> None:
    assert relative(before, after) == turn
