"""Shortest paths as arrays, and other ways than a given one."""

import numpy as np
import pytest

from envs.graph.buildings import Buildings, join_graphs
from envs.graph.shortest_paths import other_ways, shortest_paths
from tests.conftest import made_up_graph

LIMIT = 9


@pytest.fixture(scope="module")
def buildings() -> Buildings:
    return join_graphs([made_up_graph("alpha", 5), made_up_graph("beta", 6)])


def test_paths_are_shortest_and_end_with_a_stop(buildings: Buildings) -> None:
    start, goal = np.array([0, 4, 7, 18]), np.array([4, 0, 7, 29])
    paths, arrives = shortest_paths(buildings, start, np.zeros(4, np.int32), goal, LIMIT)
    assert arrives.all()
    for row in range(4):
        count = int(paths.length[row])
        at = paths.viewpoint[row, :count]
        assert (at[0], at[-1]) == (start[row], goal[row])
        assert paths.action[row, count - 1] == 0
        walked = buildings.distance(at[:-1], at[1:]).sum()
        assert walked == pytest.approx(buildings.distance(start[row], goal[row]), abs=1e-4)
        for step in range(count - 1):
            slot = int(paths.action[row, step]) - 1
            assert buildings.neighbours[at[step], slot] == at[step + 1]
    assert not paths.action[:, int(paths.length.max()) :].any()


def test_a_way_that_is_too_long_is_told(buildings: Buildings) -> None:
    _, arrives = shortest_paths(buildings, np.array([0]), np.zeros(1, np.int32), np.array([4]), 3)
    assert arrives.tolist() == [False]


def test_other_ways_start_there_and_end_elsewhere(buildings: Buildings) -> None:
    rng = np.random.default_rng(0)
    start, goal = np.array([0, 20, 6]), np.array([4, 26, 6])
    paths, _ = shortest_paths(buildings, start, np.arange(3, dtype=np.int32), goal, LIMIT)
    ways, present = other_ways(buildings, paths, 3, LIMIT, rng)
    assert present.shape == (3, 3)
    assert present[:2].all()
    for number in np.flatnonzero(present.ravel()).tolist():
        row = number // 3
        end = ways.viewpoint[number, ways.length[number] - 1]
        assert ways.viewpoint[number, 0] == start[row]
        assert ways.heading[number, 0] == row
        assert buildings.building[end] == buildings.building[start[row]]
        assert buildings.distance(end, goal[row]) >= 3.0
    again, _ = other_ways(buildings, paths, 3, LIMIT, np.random.default_rng(0))
    np.testing.assert_array_equal(again.viewpoint, ways.viewpoint)


def test_a_building_without_another_place_has_no_other_way() -> None:
    small = join_graphs([made_up_graph("small", 1)])
    paths, _ = shortest_paths(small, np.array([0]), np.zeros(1, np.int32), np.array([1]), LIMIT)
    _, present = other_ways(small, paths, 30, LIMIT, np.random.default_rng(0))
    assert present.sum() <= 1, "two viewpoints are left, and one of them is within 3 m"
