"""Shortest paths in navigation graphs as arrays, and other ways than a given one."""

from __future__ import annotations

import numpy as np

from envs.graph.buildings import Buildings
from envs.graph.walking import walk
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.paths.arrays import Paths

NEAR_LENGTH = (0.5, 1.6)
"""Shortest and longest other way, as a share of the given one."""


def shortest_paths(
    buildings: Buildings, start: np.ndarray, heading: np.ndarray, goal: np.ndarray, max_steps: int
) -> tuple[Paths, np.ndarray]:
    """The shortest path of each pair of viewpoints, int [n], from a heading bin, int [n]; without
    instructions. And whether it takes `max_steps` actions (STOP included) at most, bool [n]: those
    that take more are cut there.
    """
    paths = walk(buildings, start, heading, max_steps, lambda simulator: simulator.expert(goal))
    return paths, paths.viewpoint[np.arange(len(paths)), paths.length - 1] == goal


def other_ways(
    buildings: Buildings, paths: Paths, count: int, max_steps: int, rng: np.random.Generator
) -> tuple[Paths, np.ndarray]:
    """For each path `count` shortest paths from its start to somewhere else in its building.

    About as long as the path (`NEAR_LENGTH`) where there are such places, ending at least 3 m from
    its end. Returns [n * count] paths with the instructions of the given ones, those of one path
    side by side, and which of them there are, bool [n, count].
    """
    last = paths.viewpoint[np.arange(len(paths)), np.maximum(paths.length - 1, 0)]
    start = paths.viewpoint[:, 0]
    goal = np.repeat(start[:, None], count, 1)
    present = np.zeros((len(paths), count), bool)
    for row in range(len(paths)):
        building = int(buildings.building[start[row]])
        places = np.arange(buildings.first[building], buildings.first[building + 1])
        metres = buildings.distance(start[row], places)
        apart = buildings.distance(last[row], places) >= SUCCESS_METRES
        usable = np.isfinite(metres) & apart & (places != start[row])
        wanted = float(buildings.distance(start[row], last[row])) or float(np.median(metres))
        alike = usable & (metres >= NEAR_LENGTH[0] * wanted) & (metres <= NEAR_LENGTH[1] * wanted)
        pool = places[alike] if alike.sum() >= count else places[usable]
        drawn = rng.permutation(pool)[:count]
        goal[row, : len(drawn)], present[row, : len(drawn)] = drawn, True
    rows = np.repeat(np.arange(len(paths)), count)
    heading = paths.heading[rows, 0].astype(np.int32)
    found, arrives = shortest_paths(buildings, start[rows], heading, goal.ravel(), max_steps)
    return found.with_tokens(paths.tokens[rows]), present & arrives.reshape(present.shape)


def ways_from(
    buildings: Buildings, start: int, heading: int, edges: tuple[int, int], max_steps: int
) -> Paths:
    """The shortest path from a viewpoint, faced in a heading bin, to every place of its building
    that takes so many edges (fewest and most, both inclusive) and `max_steps` actions at most.

    Without instructions; in the order of the viewpoints they lead to. Where no place is so far,
    those to the places that are farthest within the limits; alone in its building, a STOP.
    """
    building = int(buildings.building[start])
    places = np.arange(buildings.first[building], buildings.first[building + 1])
    places = places[np.isfinite(buildings.distance(start, places))]
    here = np.full(len(places), start, np.int32)
    facing = np.full(len(places), heading, np.int32)
    paths, arrives = shortest_paths(buildings, here, facing, places, max_steps)
    count = paths.length - 1
    fit = arrives & (count >= edges[0]) & (count <= edges[1])
    if not fit.any():
        within = arrives & (count <= edges[1])
        fit = within & (count == count[within].max())
    return paths[fit]
