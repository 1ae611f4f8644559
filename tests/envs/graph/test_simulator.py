"""The batched simulator on a square with one diagonal, by hand."""

import numpy as np
import pytest

from envs.graph.buildings import Buildings, join_graphs
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
