"""Paths worth an instruction: shortest ones of R2R's size."""

import random

from envs.houses.house_map import HouseMap

STEPS = (4, 6)
"""Fewest and most edges of a path."""
METRES = (7.0, 13.0)
"""Shortest and longest path."""


def paths_in(rng: random.Random, tables: HouseMap) -> list[tuple[int, ...]]:
    """All shortest paths of that size, in random order; R2R's are drawn the same way.

    Args:
        rng: the only source of chance.
        tables: the house.
    """
    found = [
        path
        for start in range(tables.count)
        for goal in range(tables.count)
        if start != goal
        and METRES[0] <= tables.distance[start, goal] <= METRES[1]
        and STEPS[0] <= len(path := tables.path(start, goal)) - 1 <= STEPS[1]
    ]
    rng.shuffle(found)
    return found
