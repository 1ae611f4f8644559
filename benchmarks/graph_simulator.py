"""Speed of the graph simulator alone: `python -m benchmarks.graph_simulator [--data FOLDER]`.

One core, batches of 1,024, no features. A step here is all of: the legal actions of every row, a
random legal action for each, the step, and a new random start for the rows that finished. Rounds
over 10, 30 and 90 buildings alternate, so that their ratio does not depend on what else the
machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from envs.graph.buildings import HEADING_BINS, Buildings, join_graphs
from envs.graph.navigation_graph import NavigationGraph, read_connectivity
from envs.graph.simulator import GraphSimulator

BATCH = 1024
MAX_STEPS = 15
STEPS = 1500
ROUNDS = 7
TARGET = 5_000_000


def made_up_graph(scan: str, chance: np.random.Generator) -> NavigationGraph:
    """125 viewpoints 2 m apart on a jittered grid, each joined to those within 2.6 m: about as
    many viewpoints and neighbours as a Matterport building has."""
    grid = np.stack(np.meshgrid(np.arange(25), np.arange(5)), axis=-1).reshape(-1, 2) * 2.0
    positions = np.zeros((len(grid), 3))
    positions[:, :2] = grid + chance.uniform(-0.5, 0.5, grid.shape)
    gap = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    adjacency = (gap < 2.6) & (gap > 0)
    names = tuple(str(number) for number in range(len(grid)))
    return NavigationGraph(scan, names, positions, adjacency, adjacency)


def random_walk(buildings: Buildings, batch: int, steps: int, chance: np.random.Generator) -> float:
    """Environment steps per second of a random agent."""
    simulator = GraphSimulator(buildings, MAX_STEPS)
    viewpoints = len(buildings.viewpoint_ids)
    simulator.reset(
        chance.integers(viewpoints, size=batch), chance.integers(HEADING_BINS, size=batch)
    )
    start = time.perf_counter()
    for _ in range(steps):
        legal = simulator.legal()
        # The legal actions are the first ones of each row, so their number is enough to draw one.
        action = (chance.random(batch, np.float32) * simulator.legal_count()).astype(np.int64)
        simulator.step(action)
        finished = np.flatnonzero(simulator.done)
        simulator.reset(
            chance.integers(viewpoints, size=len(finished)),
            chance.integers(HEADING_BINS, size=len(finished)),
            finished,
        )
    elapsed = time.perf_counter() - start
    assert legal.shape == (batch, simulator.actions)
    return batch * steps / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with connectivity/, measured as well")
    arguments = parser.parse_args()

    chance = np.random.default_rng(0)
    graphs = [made_up_graph(f"house{number}", chance) for number in range(90)]
    cases = {f"{count} made-up": join_graphs(graphs[:count]) for count in (10, 30, 90)}
    if arguments.data:
        files = sorted((arguments.data / "connectivity").glob("*_connectivity.json"))
        cases[f"{len(files)} of {arguments.data.name}"] = join_graphs(
            [read_connectivity(file) for file in files]
        )
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    for buildings in cases.values():
        random_walk(buildings, BATCH, STEPS // 10, chance)
    for _ in range(ROUNDS):
        for name, buildings in cases.items():
            speeds[name].append(random_walk(buildings, BATCH, STEPS, chance))
    single = random_walk(cases["90 made-up"], 1, 5 * STEPS, chance)

    print(f"{'buildings':>16} {'viewpoints':>10} {'steps/s':>12} {'ns a step':>10} {'of 5 M':>7}")
    median = {name: statistics.median(values) for name, values in speeds.items()}
    for name, speed in median.items():
        viewpoints = len(cases[name].viewpoint_ids)
        cost = 1e9 / speed
        print(f"{name:>16} {viewpoints:>10,} {speed:>12,.0f} {cost:>10.1f} {speed / TARGET:>7.2f}")
    ratio = median["10 made-up"] / median["90 made-up"]
    print(f"cost a step, 90 buildings over 10: {ratio:.2f}")
    print(
        f"batch of {BATCH:,} over batch of 1: {median['90 made-up'] / single:.0f} times the steps/s"
    )


if __name__ == "__main__":
    main()
