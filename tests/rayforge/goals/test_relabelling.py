"""Relabelled roll-outs in generated houses: right under a perfect generator, judged by an oracle
that executes instructions (`envs.houses.checking`)."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from envs.graph.buildings import Buildings, join_graphs
from envs.graph.navigation_graph import read_connectivity
from envs.graph.simulator import GraphSimulator
from envs.houses.checking import Outcome, check
from envs.houses.dataset import read_houses, write_houses
from envs.houses.describing import Describer
from envs.houses.house import House

MAX_STEPS = 9

Trip = tuple[tuple[str, ...], float]
"""Viewpoint ids from start to end, and the heading at the start in radians."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("relabelling") / "houses"
    write_houses(path, train_houses=2, unseen_houses=0, paths_per_house=2, seed=3)
    return path


def roll_outs(buildings: Buildings, count: int, seed: int) -> dict[str, list[Trip]]:
    """By building: where an agent came that follows other goals than it was told, or wanders.

    Even rows take the shortest way to some goal, odd ones any way, STOP included.
    """
    rng = np.random.default_rng(seed)
    simulator = GraphSimulator(buildings, MAX_STEPS)
    start = rng.integers(len(buildings.building), size=count)
    scan = buildings.building[start]
    goal = rng.integers(buildings.first[scan], buildings.first[scan + 1])
    heading = rng.integers(12, size=count)
    simulator.reset(start, heading)
    trips = [[int(place)] for place in start]
    while not simulator.done.all():
        legal = simulator.legal()
        wander = np.argmax(legal * rng.random(legal.shape), axis=1)
        action = np.where(np.arange(count) % 2, wander, simulator.expert(goal))
        action = np.where(legal[np.arange(count), action], action, 0)
        going = ~simulator.done & (action > 0)
        simulator.step(action)
        for row in np.flatnonzero(going).tolist():
            trips[row].append(int(simulator.viewpoint[row]))
    by_scan: dict[str, list[Trip]] = {name: [] for name in buildings.scans}
    for row, trip in enumerate(trips):
        ids = tuple(buildings.viewpoint_ids[place] for place in trip)
        by_scan[buildings.scans[scan[row]]].append((ids, heading[row] * np.pi / 6))
    return by_scan


def relabel(house: House, trips: list[Trip], seed: int) -> list[tuple[Trip, str]]:
    """A perfect generator's instruction for each trip that can be told at all."""
    describer, rng = Describer(house), random.Random(seed)
    index = describer.map.index
    pairs = []
    for ids, heading in trips:
        if len(ids) < 2:
            continue  # who stops at once has no way to tell
        told = describer.instructions(rng, [index[v] for v in ids], heading, count=1)
        if told is not None:
            pairs.append(((ids, heading), told[0].text))
    return pairs


def test_every_instruction_of_a_perfect_generator_passes_the_oracle(folder: Path) -> None:
    houses = read_houses(folder)
    graphs = [read_connectivity(f) for f in sorted((folder / "connectivity").iterdir())]
    trips = roll_outs(join_graphs(graphs), 120, seed=0)
    relabelled, others = 0, Counter[Outcome]()
    for scan, house in houses.items():
        pairs = relabel(house, trips[scan], seed=1)
        assert len(pairs) > 0.3 * len(trips[scan])
        for (ids, heading), instruction in pairs:
            verdict = check(instruction, house, ids, heading)
            assert verdict.outcome is Outcome.ARRIVES, (ids, instruction, verdict.reason)
        relabelled += len(pairs)
        # The oracle can say no: another trip's instruction hardly ever leads to where one went.
        turned = pairs[1:] + pairs[:1]
        others.update(
            check(instruction, house, *trip).outcome
            for (trip, _), (_, instruction) in zip(pairs, turned, strict=True)
        )
    assert relabelled > 50
    assert others[Outcome.ARRIVES] < 0.3 * relabelled
    assert others[Outcome.WRONG] > 0.4 * relabelled
