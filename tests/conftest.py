"""Made-up data in Room-to-Room's layout, and the real data where it is at hand."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import trainers  # noqa: F401  (before Ray, which then listens on loopback alone)
from envs.episodes.r2r import write_r2r
from envs.graph.buildings import join_graphs
from envs.graph.navigation_graph import NavigationGraph, write_connectivity

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
torch.set_num_threads(1)  # tiny tensors: threads cost more than they bring


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in two processes, those that start Ray share one (and its cluster), and the
    others of a file, which share fixtures, stay together."""
    for item in items:
        ray = item.get_closest_marker("ray") is not None
        item.add_marker(pytest.mark.xdist_group("ray" if ray else item.path.name))


ROOMS = "abkl"
NAMES = ("coffee#table", "lamp", "chair", "bed", "office#chair", "picture#frame")
SPLITS = {"train": ("alpha", "beta"), "val_seen": ("alpha",), "val_unseen": ("gamma",)}
PATHS = {"train": 12, "val_seen": 5, "val_unseen": 5}


def made_up_graph(scan: str, columns: int) -> NavigationGraph:
    """A corridor grid of 3 x `columns` viewpoints about 2 m apart that rises to the east; the row
    in the north is entered from its western end only, so shortest paths turn."""
    shaky = np.random.default_rng(columns)
    places = [(x, y) for y in range(3) for x in range(columns)]
    positions = np.array([(2.0 * x, 2.0 * y, 0.2 * x) for x, y in places])
    positions += shaky.uniform(-0.2, 0.2, positions.shape)
    adjacency = np.zeros((len(places), len(places)), dtype=bool)
    visible = np.zeros_like(adjacency)
    for i, (x, y) in enumerate(places):
        for j, (u, v) in enumerate(places):
            beside = abs(x - u) + abs(y - v) == 1
            walled = {y, v} == {1, 2} and x > 0
            adjacency[i, j] = beside and not walled
            visible[i, j] = i != j and (y == v or adjacency[i, j])
    names = tuple(f"{scan}{number:02d}" for number in range(len(places)))
    return NavigationGraph(scan, names, positions, adjacency, visible)


def shortest_path(graph: NavigationGraph, start: int, goal: int) -> list[str]:
    buildings = join_graphs([graph])
    path = [start]
    while path[-1] != goal:
        slot = int(buildings.next_slot(path[-1], goal))
        path.append(int(buildings.neighbours[path[-1], slot]))
    return [graph.viewpoints[index] for index in path]


def write_tiny_folder(folder: Path) -> Path:
    """Three buildings (15, 18 and 15 viewpoints) with boxes and labels, and the three splits."""
    chance = random.Random(3)
    graphs = {
        scan: made_up_graph(scan, columns)
        for scan, columns in (("alpha", 5), ("beta", 6), ("gamma", 5))
    }
    (folder / "connectivity").mkdir(parents=True)
    (folder / "BBox").mkdir()
    labels: dict[str, dict[str, dict[str, str]]] = {}
    for scan, graph in graphs.items():
        write_connectivity(folder / "connectivity" / f"{scan}_connectivity.json", graph)
        labels[scan] = {
            viewpoint: {"label": ROOMS[row * len(ROOMS) // len(graph.viewpoints)]}
            for row, viewpoint in enumerate(graph.viewpoints)
        }
        for viewpoint in graph.viewpoints:
            objects = {
                str(number): {
                    "name": chance.choice(NAMES),
                    "visible_pos": sorted(chance.sample(range(36), 3)),
                    "bbox2d": [[0, 0, 64, 48]] * 3,
                }
                for number in range(3)
            }
            file = folder / "BBox" / f"{scan}_{viewpoint}.json"
            file.write_text(json.dumps({viewpoint: objects}))
    (folder / "vp2room_label.json").write_text(json.dumps({"pano_info": labels}))
    path_id = 100
    for split, scans in SPLITS.items():
        records = []
        for number in range(PATHS[split]):
            scan = scans[number % len(scans)]
            count = len(graphs[scan].viewpoints)
            start, goal = chance.sample(range(count), 2)
            path = shortest_path(graphs[scan], start, goal)
            path_id += 1
            records.append(
                {
                    "scan": scan,
                    "path_id": path_id,
                    "path": path,
                    "heading": round(chance.uniform(0, 6.28), 3),
                    "instructions": [
                        f"Walk {len(path) - 1} steps past the {word}, then wait."
                        for word in ("lamp", "bed", "chair")
                    ],
                }
            )
        write_r2r(folder / f"R2R_{split}.json", records)
    return folder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A made-up data folder in Room-to-Room's layout, the test's own to change."""
    return write_tiny_folder(tmp_path / "tiny")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data absent: there is no ../shared/data beside the project")
    return folder
