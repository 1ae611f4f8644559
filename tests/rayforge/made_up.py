"""A small world to try networks in: grids with random features, and random walks through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.graph.buildings import Buildings, join_graphs
from envs.graph.navigation_graph import NavigationGraph
from envs.graph.simulator import GraphSimulator
from rayforge.irl.config import NetworkConfig
from rayforge.language.vocabulary import END, SPECIAL
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver, Observation

DIMENSION = 5
WORDS = 20
MAX_STEPS = 8
SMALL = NetworkConfig(word=12, hidden=16, dropout=0.4)


@dataclass(frozen=True)
class World:
    """Buildings and what is seen in them."""

    buildings: Buildings
    observer: GraphObserver

    def walks(self, count: int, seed: int) -> Paths:
        """Random legal walks in the first building, with random instructions of 1 to 20 tokens.

        The lengths of paths and instructions vary; the longest takes `MAX_STEPS` actions.
        """
        rng = np.random.default_rng(seed)
        simulator = GraphSimulator(self.buildings, MAX_STEPS)
        simulator.reset(
            rng.integers(self.buildings.first[1], size=count), rng.integers(12, size=count)
        )
        # A walk of every length: the first row never stops, the second does at once.
        planned = rng.integers(1, MAX_STEPS + 1, size=count)
        planned[:2] = (MAX_STEPS, 1)[:count]
        viewpoint = np.zeros((count, MAX_STEPS), np.int32)
        heading = np.zeros((count, MAX_STEPS), np.int8)
        action = np.zeros((count, MAX_STEPS), np.int8)
        for step in range(MAX_STEPS):
            going = ~simulator.done
            moves = simulator.legal()[:, 1:] * rng.random((count, simulator.actions - 1))
            taken = np.where(going & (step + 1 < planned), 1 + moves.argmax(1), 0)
            viewpoint[going, step] = simulator.viewpoint[going]
            heading[going, step] = simulator.heading_bin[going]
            action[going, step] = taken[going]
            simulator.step(taken)
        tokens = np.zeros((count, 20), np.int16)
        for row, words in enumerate(rng.integers(20, size=count)):
            tokens[row, :words] = rng.integers(len(SPECIAL), WORDS, size=words)
            tokens[row, words] = END
        return Paths(viewpoint, heading, action, planned.astype(np.int16), tokens)

    def see(self, paths: Paths) -> Observation:
        c = columns(paths)
        return self.observer.observe_paths(c["viewpoint"], c["heading"], c["action"], c["length"])


def columns(paths: Paths) -> dict[str, Tensor]:
    """The arrays of paths as int64 tensors."""
    names = ("viewpoint", "heading", "action", "length", "tokens")
    return {name: torch.from_numpy(getattr(paths, name).astype(np.int64)) for name in names}


def real_steps(paths: Paths) -> Tensor:
    """Bool [B, T]: the steps that are no padding."""
    steps = torch.arange(paths.viewpoint.shape[1])
    return steps < torch.from_numpy(paths.length.astype(np.int64))[:, None]


def grid(scan: str, columns: int, rows: int, hub: bool = False) -> NavigationGraph:
    """A grid of viewpoints 2 m apart; with `hub`, one in the middle that has an edge to each."""
    places = [(2.0 * x, 2.0 * y, 0.1 * x) for y in range(rows) for x in range(columns)]
    positions = np.array(places)
    near = np.linalg.norm(positions[:, None] - positions, axis=-1) < 2.5
    if hub:
        middle = positions.mean(0, keepdims=True) + np.array([0.3, 0.4, 0.5])
        positions = np.concatenate([positions, middle])
        near = np.pad(near, (0, 1), constant_values=True)
    np.fill_diagonal(near, False)
    names = tuple(f"{scan}{number:02d}" for number in range(len(positions)))
    return NavigationGraph(scan, names, positions, near, near)


def world_of(*graphs: NavigationGraph) -> World:
    """Graphs with random features, which depend on a building's name alone."""
    buildings = join_graphs(graphs)
    present = buildings.neighbours >= 0
    edge = np.full(present.shape, -1, np.int32)
    edge[present] = np.arange(present.sum(), dtype=np.int32)
    sectors, towards = [], []
    for graph in graphs:
        rng = np.random.default_rng([*graph.scan.encode()])
        sectors.append(rng.normal(size=(len(graph.viewpoints), 12, DIMENSION)))
        towards.append(rng.normal(size=(int(graph.adjacency.sum()), DIMENSION)))
    observer = GraphObserver(
        np.concatenate(sectors).astype(np.float16),
        np.concatenate(towards).astype(np.float16),
        edge,
        buildings.heading,
        buildings.elevation,
        buildings.length,
        MAX_STEPS,
    )
    return World(buildings, observer)
