"""Worlds that the tests of networks share."""

import pytest

from tests.rayforge.made_up import World, grid, world_of


@pytest.fixture(scope="session")
def world() -> World:
    """One building of 3 x 4 viewpoints with at most four neighbours; not to be changed."""
    return world_of(grid("plain", 4, 3))


@pytest.fixture(scope="session")
def wider_world() -> World:
    """The same building before another one whose hub has twelve neighbours."""
    return world_of(grid("plain", 4, 3), grid("star", 4, 3, hub=True))
