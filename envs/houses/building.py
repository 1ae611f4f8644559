"""One house from a seed and an index."""

import random

from envs.houses.floor_plan import draw_floor_plan
from envs.houses.furnishing import furnish
from envs.houses.house import House
from envs.houses.viewpoints import add_viewpoints

FEWEST, MOST = 30, 70
"""How many viewpoints a house has."""
_ATTEMPTS = 200


def build_house(seed: int, index: int) -> House:
    """Build house number `index` of the world `seed`; the same pair gives the same house.

    Plans whose graph is not connected, or whose size is out of range, are drawn again (two of
    three are kept, so the limit on attempts is never reached in practice).

    Raises:
        RuntimeError: no plan was usable; names seed and index.
    """
    for attempt in range(_ATTEMPTS):
        # Strings are hashed by SHA-512 inside `Random`, whatever PYTHONHASHSEED says.
        rng = random.Random(f"rayforge house {seed} {index} {attempt}")
        rooms, doors = draw_floor_plan(rng)
        if not 6 <= len(rooms) <= 12:
            continue
        furniture = furnish(rng, rooms, doors)
        empty = House(f"house{index:05d}", rooms, doors, furniture, (), ())
        house = add_viewpoints(rng, empty)
        if house is not None and FEWEST <= len(house.viewpoints) <= MOST:
            return house
    raise RuntimeError(f"no usable floor plan for seed {seed}, house {index} in {_ATTEMPTS} tries")
