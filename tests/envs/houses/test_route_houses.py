"""Routes as a data set: instructions that arrive, in houses that the route task does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.graph.navigation_data import read_navigation_data
from envs.houses.checking import Outcome, check
from envs.houses.dataset import read_houses
from envs.houses.route_houses import (
    ROUTES,
    RouteHousesConfig,
    kept_route_maps,
    write_route_houses,
)
from envs.houses.route_task import RouteTaskConfig, make_route_task
from rayforge.errors import DataError

SMALL = RouteHousesConfig(routes=6, validation_routes=3, routes_per_house=4)


def test_every_instruction_arrives_in_houses_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "routes"
    count = write_route_houses(folder, SMALL)
    houses = read_houses(folder)
    data = read_navigation_data(folder, splits=("train", "val_seen", "val_unseen"))
    assert count == len(houses) and {k: len(v) for k, v in data.splits.items()} == {
        "train": 12, "val_seen": 6, "val_unseen": 6,
    }  # fmt: skip
    for episodes in data.splits.values():
        for e in episodes:
            verdict = check(e.instruction, houses[e.scan], e.path, e.heading)
            assert verdict.outcome is Outcome.ARRIVES
    scans = {name: {e.scan for e in part} for name, part in data.splits.items()}
    assert not scans["train"] & scans["val_unseen"]
    assert min(int(scan.removeprefix("house")) for scan in houses) >= 30_000
    paths = [(e.scan, e.path, e.heading) for part in data.splits.values() for e in part]
    assert len(set(paths)) == len(paths) // 2  # each has two instructions
    with pytest.raises(DataError, match="is not empty"):
        write_route_houses(folder, SMALL)


def test_the_maps_of_a_task_hold_its_routes_in_order(tmp_path: Path) -> None:
    task = make_route_task(RouteTaskConfig(pairs=3, start_routes=0, test_routes=2, seed=3))
    folder = kept_route_maps(tmp_path, task)
    assert kept_route_maps(tmp_path, task) == folder
    episodes = read_navigation_data(folder, splits=(ROUTES,)).splits[ROUTES]
    routes = [pair.route for pair in (*task.train, *task.test)]
    assert [(e.scan, e.path, e.heading) for e in episodes] == [
        (r.house, r.path, r.heading) for r in routes
    ]
    assert [e.instruction for e in episodes] == [r.prompt for r in routes]
    other = make_route_task(RouteTaskConfig(pairs=3, start_routes=0, test_routes=2, seed=4))
    assert kept_route_maps(tmp_path, other) != folder
