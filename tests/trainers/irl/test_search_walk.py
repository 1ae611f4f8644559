"""Search at first sight: every metre is walked along edges, and turning back is counted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from rayforge.irl.networks import Policy
from tests.rayforge.made_up import DIMENSION, SMALL, WORDS, World, grid, world_of
from trainers.irl.planner import Planner, PolicyScore
from trainers.irl.search_walk import Seeker, search


def corridor() -> World:
    """0 - 1 - 2 - 3 - 4 in a row."""
    return world_of(grid("hall", 5, 1))


def test_turning_back_is_walked() -> None:
    world = corridor()
    seeker = Seeker(world.buildings, 2, 0, 8)
    slots = {
        (a, int(b)): 1 + k
        for a in range(5)
        for k, b in enumerate(world.buildings.neighbours[a])
        if b >= 0
    }

    def likeliest(visited: list[int], here: int, there: int) -> np.ndarray:
        onward = np.full((len(visited), 3), -np.inf)
        onward[visited.index(here), slots[here, there]] = -1.0
        return onward

    seeker.go(likeliest([2], 2, 3))
    seeker.go(likeliest([2, 3], 3, 4))
    seeker.go(likeliest([2, 3, 4], 2, 1))
    assert seeker.walked == [2, 3, 4, 3, 2, 1]
    assert seeker.walk_back(3).viewpoint[0].tolist() == [2, 3, 4, 3, 2, 1, 2, 3]
    assert seeker.open()
    seeker.go(likeliest([2, 3, 4, 1], 1, 0))
    assert not seeker.open()
    ends = seeker.candidates()
    assert ends.viewpoint[np.arange(5), ends.length - 1].tolist() == [2, 3, 4, 1, 0]


def test_a_place_where_it_was_is_not_looked_for_again() -> None:
    world = corridor()
    seeker = Seeker(world.buildings, 0, 0, 8)
    onward = np.zeros((1, 3))
    onward[0, 2] = -np.inf  # the end of the corridor has one neighbour
    seeker.go(onward)
    assert seeker.walked == [0, 1]
    again = np.full((2, 3), -np.inf)
    again[0, 1] = 0.0  # to 1, where it stands
    seeker.go(again)
    assert seeker.walked == [0, 1]


def test_walks_follow_edges_and_end_where_they_stop() -> None:
    world = world_of(grid("alpha", 4, 3, hub=True), grid("beta", 5, 2))
    policy = Policy(WORDS, DIMENSION, SMALL)
    buildings = world.buildings
    planner = Planner(buildings, {"policy": PolicyScore(policy, world.observer)}, {"policy": 1.0})
    asked = world.walks(5, seed=3)
    found = search(planner, policy, world.observer, asked, places=6)
    for row in range(5):
        walked = found.viewpoint[row, : found.length[row]]
        assert walked[0] == asked.viewpoint[row, 0]
        for here, there in pairwise(walked):
            assert there in buildings.neighbours[here]
        assert len(set(walked.tolist())) <= 6
    one = search(planner, policy, world.observer, asked, places=1)
    assert (one.length == 1).all()


def test_the_first_step_is_the_policys_likeliest_move() -> None:
    world = world_of(grid("alpha", 4, 3, hub=True))
    policy = Policy(WORDS, DIMENSION, SMALL).eval()
    planner = Planner(
        world.buildings, {"policy": PolicyScore(policy, world.observer)}, {"policy": 1.0}
    )
    asked = world.walks(6, seed=1)
    found = search(planner, policy, world.observer, asked, places=2)
    with torch.no_grad():
        tokens = torch.from_numpy(asked.tokens.astype(np.int64))
        start = asked[:].trimmed()
        first = torch.from_numpy(start.viewpoint[:, :1].astype(np.int64))
        heading = torch.from_numpy(start.heading[:, :1].astype(np.int64))
        seen = world.observer(
            first, heading, torch.zeros_like(first), torch.ones_like(first, dtype=torch.bool),
            torch.zeros(len(first), 1, 6),
        )  # fmt: skip
        log_pi, _ = policy.step(seen, policy.instruction_encoder(tokens), None)
    moves = log_pi[:, 0].masked_fill(~seen.legal[:, 0], -torch.inf)[:, 1:].argmax(1)
    wanted = world.buildings.neighbours[start.viewpoint[:, 0], moves.numpy()]
    np.testing.assert_array_equal(found.viewpoint[:, 1], wanted)
