"""Directions, shortest paths and openness against answers worked out by hand and by networkx."""

from collections.abc import Sequence

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.graph.buildings import heading_bin, join_graphs, view_index
from envs.graph.navigation_graph import NavigationGraph
from rayforge.errors import DataError

RIGHT = np.pi / 2


def graph_of(
    scan: str, positions: Sequence[tuple[float, float, float]], edges: Sequence[tuple[int, int]]
) -> NavigationGraph:
    adjacency = np.zeros((len(positions), len(positions)), dtype=bool)
    for a, b in edges:
        adjacency[a, b] = adjacency[b, a] = True
    names = tuple(f"v{number}" for number in range(len(positions)))
    return NavigationGraph(scan, names, np.array(positions, dtype=float), adjacency, adjacency)


@st.composite
def random_graphs(draw: st.DrawFn) -> NavigationGraph:
    """Random graphs, often disconnected, on an integer grid so that ties are frequent."""
    count = draw(st.integers(2, 9))
    cells = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1))
    positions = draw(st.lists(cells, min_size=count, max_size=count, unique=True))
    pairs = [(a, b) for a in range(count) for b in range(a)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True))
    return graph_of("random", positions, edges)


def test_headings_are_clockwise_from_north_and_elevations_up() -> None:
    around = [(0, 0, 0), (0, 2, 0), (3, 0, 3), (0, -1, 0), (-1, 0, -1)]
    buildings = join_graphs([graph_of("star", around, [(0, k) for k in range(1, 5)])])
    assert buildings.neighbours[0].tolist() == [1, 2, 3, 4]  # north, east, south, west
    np.testing.assert_allclose(buildings.heading[0], [0, RIGHT, 2 * RIGHT, 3 * RIGHT], atol=1e-6)
    np.testing.assert_allclose(buildings.elevation[0], [0, RIGHT / 2, 0, -RIGHT / 2], atol=1e-6)
    np.testing.assert_allclose(buildings.length[0], [2, 18**0.5, 1, 2**0.5], rtol=1e-6)
    assert buildings.neighbours[1].tolist() == [0, -1, -1, -1]
    assert buildings.length[1].tolist()[1:] == [0, 0, 0]


def test_bins_and_views() -> None:
    degrees = np.array([0, 14.9, 15.1, 345.1, 344.9, -30, 725])
    assert heading_bin(np.radians(degrees)).tolist() == [0, 0, 1, 0, 11, 11, 0]
    elevations = np.radians([0, 14, 16, -14, -16, 80, -80])
    assert view_index(np.radians(90.0), elevations).tolist() == [15, 15, 27, 15, 3, 27, 3]


def test_openness_is_the_farthest_in_sight_of_each_bin() -> None:
    positions = [(0, 0, 0), (0, 2, 0), (0, 5, 0), (4, 0, 0), (0, -9, 0)]
    graph = graph_of("hall", positions, [(0, 1), (0, 2), (0, 3)])  # v4 is out of sight
    openness = join_graphs([graph]).openness[0]
    assert openness.tolist() == [5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]


def test_equally_short_paths_take_the_lowest_slot() -> None:
    square = graph_of("square", [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)],
                      [(0, 1), (1, 2), (2, 3), (3, 0)])  # fmt: skip
    buildings = join_graphs([square])
    assert int(buildings.next_slot(0, 2)) == 0  # north before east
    assert int(buildings.next_slot(2, 0)) == 0  # south before west
    assert buildings.neighbours[2].tolist() == [3, 1]
    assert float(buildings.distance(0, 2)) == 2.0
    assert int(buildings.next_slot(1, 1)) == -1


@settings(max_examples=60, deadline=None)
@given(graphs=st.lists(random_graphs(), min_size=1, max_size=3))
def test_shortest_paths_are_networkx_s(graphs: list[NavigationGraph]) -> None:
    graphs = [
        NavigationGraph(f"b{k}", g.viewpoints, g.positions, g.adjacency, g.visible)
        for k, g in enumerate(graphs)
    ]
    buildings = join_graphs(graphs)
    for place, graph in enumerate(graphs):
        first = int(buildings.first[place])
        reference = networkx.Graph()
        reference.add_nodes_from(range(len(graph.viewpoints)))
        for a, b in np.argwhere(graph.adjacency).tolist():
            gap = float(np.linalg.norm(graph.positions[a] - graph.positions[b]))
            reference.add_edge(a, b, weight=gap)
        lengths = dict(networkx.all_pairs_dijkstra_path_length(reference))
        for a in reference:
            for b in reference:
                distance = float(buildings.distance(first + a, first + b))
                assert distance == pytest.approx(lengths[a].get(b, np.inf), rel=1e-6)
                walked, here = 0.0, first + a
                while (slot := int(buildings.next_slot(here, first + b))) >= 0:
                    walked += float(buildings.length[here, slot])
                    here = int(buildings.neighbours[here, slot])
                if np.isfinite(distance):
                    assert here == first + b
                    assert walked == pytest.approx(distance, rel=1e-5, abs=1e-6)
                else:
                    assert here == first + a


@settings(max_examples=40, deadline=None)
@given(graph=random_graphs())
def test_slots_are_packed_and_sorted_and_edges_go_both_ways(graph: NavigationGraph) -> None:
    buildings = join_graphs([graph])
    for here, row in enumerate(buildings.neighbours):
        degree = int(graph.adjacency[here].sum())
        assert (row[:degree] >= 0).all() and (row[degree:] == -1).all()
        assert sorted(row[:degree].tolist()) == np.flatnonzero(graph.adjacency[here]).tolist()
        assert (np.diff(buildings.heading[here, :degree]) >= 0).all()
        for slot, there in enumerate(row[:degree]):
            back = buildings.neighbours[there].tolist().index(here)
            assert buildings.length[here, slot] == buildings.length[there, back]
            assert buildings.elevation[here, slot] == -buildings.elevation[there, back]


def test_buildings_are_apart() -> None:
    line = [(0, 0, 0), (0, 1, 0)]
    buildings = join_graphs([graph_of("one", line, [(0, 1)]), graph_of("two", line, [(0, 1)])])
    assert buildings.neighbours.ravel().tolist() == [1, 0, 3, 2]
    assert buildings.index("two", "v1") == 3
    assert buildings.places()[2] == ("two", "v0")
    with pytest.raises(ValueError, match="two buildings"):
        buildings.distance(np.array([0, 1]), np.array([1, 2]))
    with pytest.raises(DataError, match="building one has no viewpoint 'v9'"):
        buildings.index("one", "v9")
    with pytest.raises(DataError, match="building 'three' is not among the 2"):
        buildings.index("three", "v0")


def test_refused_graphs() -> None:
    with pytest.raises(DataError, match="no navigation graph"):
        join_graphs([])
    line = graph_of("one", [(0, 0, 0), (0, 1, 0)], [(0, 1)])
    with pytest.raises(DataError, match="building one is given twice"):
        join_graphs([line, line])
    with pytest.raises(DataError, match="v0 and v1 are neighbours at the same place"):
        join_graphs([graph_of("one", [(0, 0, 0), (0, 0, 0)], [(0, 1)])])
