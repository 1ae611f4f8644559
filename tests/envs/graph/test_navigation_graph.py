"""Connectivity files: round trip, the undirected rule, and bad files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.graph.navigation_graph import NavigationGraph, read_connectivity, write_connectivity
from rayforge.errors import DataError


def entry(name: str, **change: Any) -> dict[str, Any]:
    pose = [1, 0, 0, 1.5, 0, 1, 0, -2, 0, 0, 1, 0.25, 0, 0, 0, 1]
    flags = [False, False, False]
    good = {"image_id": name, "pose": pose, "included": True, "visible": flags,
            "unobstructed": flags, "height": 1.5}  # fmt: skip
    return good | change


@st.composite
def graphs(draw: st.DrawFn) -> NavigationGraph:
    count = draw(st.integers(1, 6))
    finite = st.floats(-1e6, 1e6, allow_subnormal=False)
    positions = draw(st.lists(st.tuples(finite, finite, finite), min_size=count, max_size=count))
    flags = st.lists(st.booleans(), min_size=count * count, max_size=count * count)
    walkable = np.array(draw(flags)).reshape(count, count)
    adjacency = (walkable | walkable.T) & ~np.eye(count, dtype=bool)
    visible = np.array(draw(flags)).reshape(count, count)
    names = tuple(f"v{number}" for number in range(count))
    return NavigationGraph("scan", names, np.array(positions), adjacency, visible)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graph=graphs())
def test_what_is_written_is_read(tmp_path: Path, graph: NavigationGraph) -> None:
    file = tmp_path / "scan_connectivity.json"
    write_connectivity(file, graph)
    again = read_connectivity(file)
    assert (again.scan, again.viewpoints) == (graph.scan, graph.viewpoints)
    for name in ("positions", "adjacency", "visible"):
        np.testing.assert_array_equal(getattr(again, name), getattr(graph, name))


def test_edges_need_both_ends_included_and_either_direction(tmp_path: Path) -> None:
    file = tmp_path / "house_connectivity.json"
    file.write_text(
        json.dumps(
            [
                entry("a", unobstructed=[False, True, True]),
                entry("b", included=False, unobstructed=[True, False, True]),
                entry("c", visible=[True, True, False]),
            ]
        )
    )
    graph = read_connectivity(file)
    assert graph.scan == "house"
    assert graph.viewpoints == ("a", "c")
    assert graph.adjacency.tolist() == [[False, True], [True, False]]
    assert graph.visible.tolist() == [[False, False], [True, False]]
    assert graph.positions.tolist() == [[1.5, -2.0, 0.25]] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "a"}, "viewpoint 1: image_id 'a' is viewpoint 0's too"),
        ({"image_id": 5}, "viewpoint 1: image_id must be a text"),
        ({"pose": [0.0] * 15}, r"viewpoint 1 \(b\): pose must be 16 finite numbers"),
        ({"pose": [float("nan")] * 16}, "pose must be 16 finite numbers"),
        ({"pose": ["x"] * 16}, "pose must be 16 finite numbers"),
        ({"included": 1}, "included must be true or false, found 1"),
        ({"visible": [True]}, r"viewpoint 1 \(b\): visible must have 3 flags, .* has 1"),
        ({"unobstructed": [0, 1, 0]}, "unobstructed must hold true or false only"),
        ({"unobstructed": None}, "unobstructed must have 3 flags, .* has NoneType"),
    ],
)
def test_bad_viewpoint_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "house_connectivity.json"
    file.write_text(json.dumps([entry("a"), entry("b", **change), entry("c")]))
    with pytest.raises(DataError, match=message) as caught:
        read_connectivity(file)
    assert str(caught.value).startswith(str(file))


def test_missing_key_and_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "house_connectivity.json"
    with pytest.raises(DataError, match="no such file"):
        read_connectivity(file)
    for text, message in [
        ("[]", "expected a list of viewpoints, one at least"),
        ("[1]", "viewpoint 0: expected an object, found int"),
        (json.dumps([{"image_id": "a"}]), "missing key 'pose'"),
        (json.dumps([entry("a", included=False)] * 1)[:-4], "not valid JSON"),
    ]:
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_connectivity(file)
    flags = {"visible": [False], "unobstructed": [False]}
    file.write_text(json.dumps([entry("a", included=False, **flags)]))
    with pytest.raises(DataError, match="no viewpoint is `included`"):
        read_connectivity(file)
    with pytest.raises(DataError, match=r"is called \{scan\}_connectivity.json"):
        read_connectivity(tmp_path / "house.json")


def test_graph_refuses_what_no_file_could_hold() -> None:
    one_way = np.array([[False, True], [False, False]])
    places = np.zeros((2, 3))
    with pytest.raises(DataError, match="house: adjacency must be symmetric"):
        NavigationGraph("house", ("a", "b"), places, one_way, one_way)
    both = one_way | one_way.T
    with pytest.raises(DataError, match="a viewpoint id stands twice"):
        NavigationGraph("house", ("a", "a"), places, both, both)
    with pytest.raises(DataError, match=r"positions must be finite \[2, 3\]"):
        NavigationGraph("house", ("a", "b"), places[:1], both, both)
    with pytest.raises(DataError, match=r"visible must be bool \[2, 2\]"):
        NavigationGraph("house", ("a", "b"), places, both, both.astype(int))
    with pytest.raises(DataError, match=r"belongs in house_connectivity\.json"):
        write_connectivity(
            Path("other_connectivity.json"),
            NavigationGraph("house", ("a", "b"), places, both, both),
        )
