"""The batched simulator on a square with one diagonal, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.graph.buildings import Buildings, heading_bin, join_graphs
from envs.graph.navigation_graph import NavigationGraph
from envs.graph.simulator import GraphSimulator, SimulatorError


@pytest.fixture
def square() -> Buildings:
    """a (0, 0), b (0, 2) north of it, c (2, 2), d (2, 0); edges ab, bc, cd."""
    adjacency = np.zeros((4, 4), dtype=bool)
    for here, there in ((0, 1), (1, 2), (2, 3)):
        adjacency[here, there] = adjacency[there, here] = True
    positions = np.array([[0, 0, 0], [0, 2, 0], [2, 2, 0], [2, 0, 0]], dtype=float)
    graph = NavigationGraph("square", tuple("abcd"), positions, adjacency, adjacency)
    return join_graphs([graph])


def test_expert_walks_the_only_way_and_faces_along_it(square: Buildings) -> None:
    simulator = GraphSimulator(square, max_steps=10)
    simulator.reset(np.array([0, 3]), np.array([6, 6]))
    goal = np.array([3, 3])
    bins = []
    while not simulator.done.all():
        simulator.step(simulator.expert(goal))
        bins.append(int(simulator.heading_bin[0]))
    assert simulator.viewpoint.tolist() == [3, 3]
    assert bins == [0, 3, 6, 6]  # north, east, south, and stopping does not turn
    assert simulator.steps.tolist() == [4, 1]
    assert simulator.heading_bin[1] == 6


def test_last_action_is_a_forced_stop(square: Buildings) -> None:
    simulator = GraphSimulator(square, max_steps=2)
    simulator.reset(np.array([1]), np.array([0]))
    assert simulator.legal().tolist() == [[True, True, True]]
    simulator.step(np.array([1]))
    assert simulator.legal().tolist() == [[True, False, False]]
    with pytest.raises(SimulatorError, match="building square, step 1 of 2: only 0"):
        simulator.step(np.array([1]))
    simulator.step(np.array([0]))
    assert simulator.done.all()


def test_illegal_action_names_row_and_changes_nothing(square: Buildings) -> None:
    simulator = GraphSimulator(square, max_steps=5)
    simulator.reset(np.array([1, 0]), np.array([0, 0]))
    for action in (2, 3, -1, 99):
        with pytest.raises(SimulatorError, match="viewpoint a of building square") as caught:
            simulator.step(np.array([1, action]))
        assert caught.value.row == 1
    assert simulator.viewpoint.tolist() == [1, 0]
    assert simulator.steps.tolist() == [0, 0]


@st.composite
def walks(draw: st.DrawFn) -> tuple[Buildings, int, list[int]]:
    count = draw(st.integers(1, 7))
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    adjacency = np.triu(chance.random((count, count)) < 0.5, 1)
    adjacency |= adjacency.T
    names = tuple(str(number) for number in range(count))
    graph = NavigationGraph("any", names, chance.normal(size=(count, 3)), adjacency, adjacency)
    starts = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5))
    return join_graphs([graph]), draw(st.integers(1, 6)), starts


@settings(max_examples=60, deadline=None)
@given(walk=walks(), seed=st.integers(0, 99))
def test_every_random_walk_keeps_to_edges_and_ends_in_time(
    walk: tuple[Buildings, int, list[int]], seed: int
) -> None:
    buildings, max_steps, starts = walk
    chance = np.random.default_rng(seed)
    simulator = GraphSimulator(buildings, max_steps)
    simulator.reset(np.array(starts), np.zeros(len(starts), int))
    for _ in range(max_steps):
        legal = simulator.legal()
        assert legal[:, 0].all()
        # Packed: the legal actions are 0..count-1.
        count = simulator.legal_count()
        assert (legal == (np.arange(legal.shape[1]) < count[:, None])).all()
        assert not legal[simulator.done, 1:].any()
        before, done = simulator.viewpoint.copy(), simulator.done.copy()
        facing, steps = simulator.heading_bin.copy(), simulator.steps.copy()
        action = chance.integers(0, count)
        simulator.step(np.where(done, 99, action))  # what a finished row is told does not matter
        moved = ~done & (action > 0)
        went = buildings.neighbours[before, action - 1]
        assert (simulator.viewpoint == np.where(moved, went, before)).all()
        toward = heading_bin(buildings.heading[before, action - 1])
        assert (simulator.heading_bin == np.where(moved, toward, facing)).all()
        assert (simulator.done == (done | (action == 0))).all()
        assert (simulator.steps == steps + ~done).all()
    assert simulator.done.all()


@settings(max_examples=60, deadline=None)
@given(walk=walks(), seed=st.integers(0, 99))
def test_expert_arrives_over_the_geodesic(
    walk: tuple[Buildings, int, list[int]], seed: int
) -> None:
    buildings, _, starts = walk
    start = np.array(starts)
    goal = np.random.default_rng(seed).integers(len(buildings.viewpoint_ids), size=len(start))
    distance = buildings.distance(start, goal)
    near = np.isfinite(distance)
    simulator = GraphSimulator(buildings, 20)
    simulator.reset(start, np.zeros(len(start), int))
    if not near.all():
        with pytest.raises(SimulatorError, match="no path to") as caught:
            simulator.expert(goal)
        assert caught.value.row == np.flatnonzero(~near)[0]
        return
    walked = np.zeros(len(start))
    while not simulator.done.all():
        action = simulator.expert(goal)
        walked += np.where(action > 0, buildings.length[simulator.viewpoint, action - 1], 0)
        simulator.step(action)
    assert (simulator.viewpoint == goal).all()
    np.testing.assert_allclose(walked, distance, rtol=1e-5)


def test_rows_start_again_alone(square: Buildings) -> None:
    simulator = GraphSimulator(square, max_steps=4)
    simulator.reset(np.array([0, 1, 2]), np.array([1, 2, 3]))
    simulator.step(np.array([1, 0, 0]))
    simulator.reset(np.array([3]), np.array([11]), np.array([1]))
    assert simulator.viewpoint.tolist() == [1, 3, 2]
    assert simulator.heading_bin.tolist() == [0, 11, 3]
    assert simulator.steps.tolist() == [1, 0, 1]
    assert simulator.done.tolist() == [False, False, True]


def test_waiting_spends_a_step_but_never_the_last(square: Buildings) -> None:
    simulator = GraphSimulator(square, max_steps=2)
    simulator.reset(np.array([0, 0]), np.array([5, 5]))
    waiting = np.array([True, False])
    simulator.step(np.array([9, 1]), waiting)
    assert simulator.viewpoint.tolist() == [0, 1]
    assert simulator.heading_bin.tolist() == [5, 0]
    assert simulator.steps.tolist() == [1, 1]
    assert not simulator.done.any()
    with pytest.raises(SimulatorError, match="row 0"):
        simulator.step(np.array([0, 0]), waiting)


def test_wrong_sizes_are_refused(square: Buildings) -> None:
    with pytest.raises(ValueError, match="max_steps is 0"):
        GraphSimulator(square, 0)
    simulator = GraphSimulator(square, 3)
    simulator.reset(np.array([0, 0]), np.array([0, 0]))
    with pytest.raises(ValueError, match="actions for a batch of"):
        simulator.step(np.array([1]))
