"""A house built by hand, so that answers are known."""

import pytest

from envs.houses.house import Door, Furniture, House, Room, Viewpoint

PLACES = {
    # name: (x, y, room, door)
    "hall west": (1.5, 1.0, 0, -1),
    "hall middle": (4.5, 1.0, 0, -1),
    "hall east": (7.5, 1.0, 0, -1),
    "bedroom door": (1.5, 2.0, 1, 0),
    "kitchen door": (4.5, 2.0, 2, 1),
    "bathroom door": (7.5, 2.0, 3, 2),
    "bedroom": (1.5, 4.0, 1, -1),
    "kitchen": (4.5, 4.0, 2, -1),
    "bathroom": (7.5, 4.0, 3, -1),
}
"""A hallway from west to east; north of it a bedroom, a kitchen and a bathroom, door by door."""


@pytest.fixture(scope="session")
def places() -> dict[str, str]:
    """Viewpoint ids of the house built by hand, by the names above."""
    return {name: f"{k:032x}" for k, name in enumerate(PLACES)}


@pytest.fixture(scope="session")
def row_house(places: dict[str, str]) -> House:
    names = list(PLACES)
    edges = [
        ("hall west", "hall middle"),
        ("hall middle", "hall east"),
        *((f"hall {h}", f"{r} door") for h, r in _OPPOSITE.items()),
        *((f"{r} door", r) for r in _OPPOSITE.values()),
    ]
    return House(
        scan="house99999",
        rooms=(
            Room("h", (0.0, 0.0), (9.0, 2.0)),
            Room("b", (0.0, 2.0), (3.0, 6.0)),
            Room("k", (3.0, 2.0), (6.0, 6.0)),
            Room("a", (6.0, 2.0), (9.0, 6.0)),
        ),
        doors=tuple(
            Door((0, room), (x, 2.0), 0.9, 0, "door") for room, x in ((1, 1.5), (2, 4.5), (3, 7.5))
        ),
        furniture=(
            Furniture("bed", 1, (0.1, 4.5, 0.0), (2.0, 5.9, 0.6)),
            Furniture("refrigerator", 2, (4.1, 5.1, 0.0), (4.9, 5.9, 1.8)),
            Furniture("toilet", 3, (8.3, 3.8, 0.0), (8.9, 4.2, 0.8)),
            Furniture("plant", 0, (4.3, 0.1, 0.0), (4.7, 0.4, 1.2)),
        ),
        viewpoints=tuple(
            Viewpoint(places[name], (x, y, 1.5), room, door)
            for name, (x, y, room, door) in PLACES.items()
        ),
        edges=tuple(
            (min(names.index(a), names.index(b)), max(names.index(a), names.index(b)))
            for a, b in edges
        ),
    )


_OPPOSITE = {"west": "bedroom", "middle": "kitchen", "east": "bathroom"}
