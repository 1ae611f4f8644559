"""The readers and the simulator on the real Room-to-Room data, where it is at hand."""

import json
from pathlib import Path

import networkx
import numpy as np
import pytest

from envs.graph.boxes import read_boxes
from envs.graph.buildings import heading_bin
from envs.graph.navigation_data import NavigationData, read_navigation_data
from envs.graph.simulator import GraphSimulator

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def data(shared_data: Path) -> NavigationData:
    return read_navigation_data(shared_data / "r2r", splits=["train", "val_seen"])


def test_size(data: NavigationData) -> None:
    assert {split: len(episodes) for split, episodes in data.splits.items()} == {
        "train": 14_039,
        "val_seen": 1_021,
    }
    assert len(data.buildings.scans) == 61
    assert len(data.buildings.viewpoint_ids) == 7_644


def test_share_of_viewpoints_with_boxes(data: NavigationData) -> None:
    boxes = read_boxes(data.folder / "BBox.tar.gz", data.buildings.scans)
    assert len(boxes) == 7_644
    visited = {(e.scan, viewpoint) for e in data.splits["train"] for viewpoint in e.path}
    share = np.mean([len(boxes[place]) > 0 for place in visited])
    assert round(float(share), 3) == 0.776


def test_distances_are_those_of_the_files(data: NavigationData) -> None:
    for split, episodes in data.splits.items():
        records = json.loads((data.folder / f"R2R_{split}.json").read_text())
        stated = {record["path_id"]: record["distance"] for record in records}
        start, goal = (
            np.array([data.buildings.index(e.scan, e.path[end]) for e in episodes])
            for end in (0, -1)
        )
        found = data.buildings.distance(start, goal)
        expected = np.array([stated[episode.path_id] for episode in episodes])
        # The files give two decimals.
        np.testing.assert_allclose(found, expected, atol=0.0051)


def test_distances_are_those_of_networkx(data: NavigationData) -> None:
    """The published evaluation's own way: Dijkstra on Euclidean edge lengths."""
    scan = "D7N2EKCX4Sj"  # has neighbours a fifth of a millimetre apart
    graph = data.graphs[scan]
    reference = networkx.Graph()
    for a, b in np.argwhere(graph.adjacency).tolist():
        gap = np.linalg.norm(graph.positions[a] - graph.positions[b])
        reference.add_edge(a, b, weight=float(gap))
    first = data.buildings.index(scan, graph.viewpoints[0])
    for a in range(0, len(graph.viewpoints), 40):
        lengths = networkx.single_source_dijkstra_path_length(reference, a)
        for b, length in lengths.items():
            assert float(data.buildings.distance(first + a, first + b)) == pytest.approx(
                length, rel=1e-5
            )


def test_expert_reaches_every_goal_in_the_path_s_length(data: NavigationData) -> None:
    episodes = data.splits["train"] + data.splits["val_seen"]
    index = data.buildings.index
    start = np.array([index(e.scan, e.path[0]) for e in episodes])
    goal = np.array([index(e.scan, e.path[-1]) for e in episodes])
    simulator = GraphSimulator(data.buildings, max_steps=20)
    simulator.reset(start, heading_bin(np.array([episode.heading for episode in episodes])))
    walked = np.zeros(len(start))
    while not simulator.done.all():
        action = simulator.expert(goal)
        walked += np.where(action > 0, data.buildings.length[simulator.viewpoint, action - 1], 0)
        simulator.step(action)
    assert (simulator.viewpoint == goal).all()
    np.testing.assert_allclose(walked, data.buildings.distance(start, goal), rtol=1e-4)
    # R2R's paths are shortest paths, of 4 to 6 edges but for a few.
    steps = np.array([len(episode.path) for episode in episodes])
    assert (simulator.steps == steps).mean() > 0.95
