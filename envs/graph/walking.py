"""Walks in navigation graphs of whoever decides by where it stands, as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.graph.buildings import Buildings
from envs.graph.simulator import STOP, GraphSimulator
from rayforge.language.vocabulary import PAD
from rayforge.paths.arrays import Paths


def walk(
    buildings: Buildings, viewpoint: np.ndarray, heading: np.ndarray, max_steps: int,
    choose: Callable[[GraphSimulator], np.ndarray],
) -> Paths:  # fmt: skip
    """Walk from viewpoints, int [n], and heading bins, int [n], with at most `max_steps` actions,
    the last of which is STOP. `choose` gives every row's action, int [n], from the simulator's
    state; what is illegal there becomes STOP. The paths have no instructions.
    """
    simulator = GraphSimulator(buildings, max_steps)
    simulator.reset(viewpoint, heading)
    paths = Paths.zeros(len(viewpoint), max_steps, 1)
    paths.tokens[:] = PAD
    rows = np.arange(len(viewpoint))
    for step in range(max_steps):
        going = ~simulator.done
        if not going.any():
            break
        action = np.where(going, choose(simulator), STOP)
        action = np.where(simulator.legal()[rows, action], action, STOP)
        paths.viewpoint[going, step] = simulator.viewpoint[going]
        paths.heading[going, step] = simulator.heading_bin[going]
        paths.action[going, step] = action[going]
        paths.length[going] += 1
        simulator.step(action)
    return paths
