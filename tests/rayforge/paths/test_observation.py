"""What is seen from a state, by hand: on a cross of four arms, and against the simulator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.graph.buildings import Buildings, join_graphs
from envs.graph.navigation_graph import NavigationGraph
from envs.graph.simulator import GraphSimulator
from rayforge.paths.observation import GEOMETRY, SECTORS, GraphObserver, Observation
from tests.rayforge.made_up import DIMENSION, MAX_STEPS, World, columns, real_steps

CENTRE, NORTH, EAST = 0, 1, 2


@pytest.fixture
def cross() -> tuple[Buildings, GraphObserver]:
    """A centre with a way 2 m north and one 3 m east, 1 m up; the feature of heading bin h at
    viewpoint v is 100 v + h, that of a way is its number."""
    positions = np.array([[0, 0, 0], [0, 2, 0], [3, 0, 1]], dtype=float)
    adjacency = np.zeros((3, 3), dtype=bool)
    adjacency[0, 1:] = adjacency[1:, 0] = True
    buildings = join_graphs(
        [NavigationGraph("cross", ("c", "n", "e"), positions, adjacency, adjacency)]
    )
    edge = np.array([[0, 1], [2, -1], [3, -1]], np.int32)
    sectors = 100.0 * np.arange(3)[:, None] + np.arange(12)
    observer = GraphObserver(
        sectors[..., None].astype(np.float16),
        np.arange(4, dtype=np.float16)[:, None],
        edge,
        buildings.heading,
        buildings.elevation,
        buildings.length,
        max_steps=4,
    )
    return buildings, observer


def state(viewpoint: int, heading: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    at = torch.tensor([[viewpoint]]), torch.tensor([[heading]]), torch.tensor([[step]])
    return (*at, torch.ones(1, 1, dtype=torch.bool))


def see(observer: GraphObserver, viewpoint: int, heading: int, step: int = 0) -> Observation:
    return observer(*state(viewpoint, heading, step), torch.zeros(1, 1, GEOMETRY))


def test_view_turns_with_the_agent(cross: tuple[Buildings, GraphObserver]) -> None:
    _, observer = cross
    assert see(observer, CENTRE, 0).state.tolist() == [[[0.0, 3.0, 6.0, 9.0]]]
    assert see(observer, CENTRE, 4).state.tolist() == [[[4.0, 7.0, 10.0, 1.0]]]
    assert see(observer, EAST, 11).state.tolist() == [[[211.0, 202.0, 205.0, 208.0]]]


def test_candidates_are_the_ways_and_stop(cross: tuple[Buildings, GraphObserver]) -> None:
    _, observer = cross
    seen = see(observer, CENTRE, 3)  # facing east: north is 90 degrees to the left
    assert seen.legal.tolist() == [[[True, True, True]]]
    assert seen.place.tolist() == [0, 1, 2]
    here = (3.0 + 6.0 + 9.0 + 0.0) / 4
    rise, run = 1 / 10**0.5, 3 / 10**0.5
    expected = torch.tensor(
        [
            [here, 0, 0, 0, 0, 0, 1],  # STOP: the mean of what is around, and its flag
            [0.0, -1, 0, 0, 1, 0.2, 0],  # north: feature, sin and cos of turn and rise, metres / 10
            [1.0, 0, 1, rise, run, 10**0.5 / 10, 0],
        ]
    )
    torch.testing.assert_close(seen.candidates, expected, atol=1e-3, rtol=0)


def test_the_last_action_and_padding_are_stops(cross: tuple[Buildings, GraphObserver]) -> None:
    _, observer = cross
    assert see(observer, CENTRE, 0, step=2).legal.tolist() == [[[True, True, True]]]
    last = see(observer, CENTRE, 0, step=3)
    assert last.legal.tolist() == [[[True, False, False]]]
    assert last.place.tolist() == [0]
    viewpoint, heading, step, _ = state(CENTRE, 0, 0)
    padding = observer(
        viewpoint, heading, step, torch.zeros(1, 1, dtype=torch.bool), torch.zeros(1, 1, GEOMETRY)
    )
    assert padding.legal.tolist() == [[[True, False, False]]]
    assert len(padding.candidates) == 0


def test_arrival_is_the_way_taken_seen_from_before(
    cross: tuple[Buildings, GraphObserver],
) -> None:
    _, observer = cross
    path = torch.tensor([[NORTH, CENTRE, EAST, 0]]), torch.tensor([[0, 6, 3, 0]])
    seen = observer.observe_paths(*path, torch.tensor([[1, 2, 0, 0]]), torch.tensor([3]))
    rise, run = 1 / 10**0.5, 3 / 10**0.5
    expected = torch.tensor(
        [
            [0.0, 0, 0, 0, 0, 0],  # the start
            [0.0, -1, 0, 1, 0.2, 0],  # facing north it turned round to the south
            [-1.0, 0, rise, run, 10**0.5 / 10, 0],  # facing south, east is to the left
            [0.0, 0, 0, 0, 0, 0],  # after STOP
        ]
    )
    torch.testing.assert_close(seen.arrival[0], expected, atol=1e-3, rtol=0)


def test_tables_are_not_changed_by_looking(world: World) -> None:
    before = {name: table.clone() for name, table in world.observer.named_buffers()}
    world.see(world.walks(8, seed=0))
    for name, table in world.observer.named_buffers():
        assert torch.equal(table, before[name]), name
    assert not world.observer.state_dict(), "the tables belong to the data, not to checkpoints"


def test_legal_actions_are_the_simulators(wider_world: World) -> None:
    paths = wider_world.walks(64, seed=1)
    seen, real = wider_world.see(paths), real_steps(paths)
    simulator = GraphSimulator(wider_world.buildings, MAX_STEPS)
    simulator.reset(paths.viewpoint[:, 0], paths.heading[:, 0].astype(np.int32))
    for step in range(MAX_STEPS):
        np.testing.assert_array_equal(seen.legal[:, step].numpy(), simulator.legal())
        going = real[:, step].numpy()
        np.testing.assert_array_equal(simulator.done, ~going)
        np.testing.assert_array_equal(simulator.viewpoint[going], paths.viewpoint[going, step])
        np.testing.assert_array_equal(simulator.heading_bin[going], paths.heading[going, step])
        simulator.step(paths.action[:, step].astype(np.int64))
    # Candidates stand for the legal actions of real states, each once.
    places = seen.place.sort().values
    expected = (seen.legal & real[..., None]).flatten().nonzero().squeeze(1)
    assert torch.equal(places, expected)


def test_shapes(world: World) -> None:
    paths = world.walks(5, seed=2)
    seen = world.see(paths)
    actions = world.observer.neighbours + 1
    assert seen.state.shape == (5, MAX_STEPS, SECTORS * DIMENSION)
    assert seen.arrival.shape == (5, MAX_STEPS, GEOMETRY)
    assert seen.legal.shape == (5, MAX_STEPS, actions)
    assert seen.candidates.shape == (len(seen.place), DIMENSION + GEOMETRY)
    assert seen.state.dtype == seen.candidates.dtype == torch.float32
    assert columns(paths)["action"].max() < actions


def test_some_rows_are_seen_as_if_they_were_alone(world: World) -> None:
    paths = world.walks(6, seed=3)
    rows = np.array([4, 1, 5])
    some, alone = world.see(paths).take(torch.from_numpy(rows)), world.see(paths[rows])
    for name in ("state", "arrival", "legal"):
        assert torch.equal(getattr(some, name), getattr(alone, name))
    # Candidates may stand in another order; each belongs to its place.
    order, other = some.place.argsort(), alone.place.argsort()
    assert torch.equal(some.place[order], alone.place[other])
    assert torch.equal(some.candidates[order], alone.candidates[other])
