"""Trees of paths: recurrences along them equal those along each path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.graph.shortest_paths import ways_from
from rayforge.irl.networks import Policy
from rayforge.irl.path_reward import PathReward, Recalled, tree_log_policy
from rayforge.paths.arrays import Paths
from rayforge.paths.tree import PathTree, TreeBatch
from tests.rayforge.made_up import (
    DIMENSION,
    MAX_STEPS,
    SMALL,
    WORDS,
    World,
    columns,
    grid,
    world_of,
)


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(grid("alpha", 4, 3, hub=True), grid("beta", 5, 2))


@pytest.fixture(scope="module")
def ways(world: World) -> list[Paths]:
    """Candidates of four starts, of different numbers, in two buildings."""
    places = [(0, 3, (0, 3)), (5, 0, (1, 2)), (14, 11, (2, 5)), (17, 6, (4, 4))]
    return [ways_from(world.buildings, *place, MAX_STEPS) for place in places]


def instructions() -> torch.Tensor:
    tokens = torch.randint(4, WORDS, (4, 9), generator=torch.Generator().manual_seed(1))
    tokens[1, 4:] = 0
    return tokens


def log_pi_of_paths(
    policy: Policy, world: World, paths: Paths, tokens: torch.Tensor
) -> torch.Tensor:
    c = columns(paths)
    words = policy.instruction_encoder(tokens.expand(len(paths), -1))
    log_pi = policy(world.see(paths), words, c["length"])
    taken = log_pi.gather(-1, c["action"][..., None]).squeeze(-1)
    return (taken * (torch.arange(taken.shape[1]) < c["length"][:, None])).sum(1)


def test_states_are_shared_and_every_path_is_in_the_tree(ways: list[Paths]) -> None:
    for paths in ways:
        tree = PathTree.of(paths)
        prefixes = {
            tuple(zip(p.viewpoint[0, :k], p.action[0, : k - 1], strict=False))
            for p in (paths[i : i + 1] for i in range(len(paths)))
            for k in range(1, p.length[0] + 1)
        }
        assert len(tree) == len(prefixes) < paths.length.sum()
        assert (np.diff(tree.depth) >= 0).all()
        for row in range(len(paths)):
            count = int(paths.length[row])
            steps = tree.node[row, :count]
            np.testing.assert_array_equal(tree.viewpoint[steps], paths.viewpoint[row, :count])
            np.testing.assert_array_equal(tree.heading[steps], paths.heading[row, :count])
            np.testing.assert_array_equal(tree.parent[steps[1:]], steps[:-1])
            np.testing.assert_array_equal(
                tree.action[steps[1:]], paths.action[row, : len(steps) - 1]
            )
            assert tree.ends[row] == paths.viewpoint[row, count - 1]


def test_log_pi_along_a_tree_is_that_along_each_path(world: World, ways: list[Paths]) -> None:
    policy = Policy(WORDS, DIMENSION, SMALL).eval()
    tokens = instructions()
    trees = TreeBatch.of([PathTree.of(paths) for paths in ways])
    with torch.no_grad():
        recalled = Recalled.of(policy, trees, trees.observe(world.observer))
        found = tree_log_policy(policy, recalled, trees, tokens)
        for row, paths in enumerate(ways):
            alone = log_pi_of_paths(policy, world, paths, tokens[row : row + 1])
            torch.testing.assert_close(found[row, : len(paths)], alone)
            assert trees.present[row].sum() == len(paths)
            assert (found[row, len(paths) :] == 0).all()


def test_a_reward_begins_as_log_pi_and_all_of_it_learns(world: World, ways: list[Paths]) -> None:
    policy = Policy(WORDS, DIMENSION, SMALL).eval()
    reward = PathReward(WORDS, DIMENSION, SMALL)
    reward.start_from(policy)
    reward.eval()
    trees = TreeBatch.of([PathTree.of(paths) for paths in ways])
    seen, tokens = trees.observe(world.observer), instructions()
    with torch.no_grad():
        torch.testing.assert_close(
            reward(reward.recall(trees, seen), trees, tokens),
            tree_log_policy(policy, Recalled.of(policy, trees, seen), trees, tokens),
        )
    reward.train()
    reward(reward.recall(trees, seen), trees, tokens).logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in reward.parameters())


def test_a_classifier_begins_at_one_half(world: World, ways: list[Paths]) -> None:
    reward = PathReward(WORDS, DIMENSION, SMALL, "classifier").eval()
    reward.start_from(Policy(WORDS, DIMENSION, SMALL))
    trees = TreeBatch.of([PathTree.of(paths) for paths in ways])
    recalled = reward.recall(trees, trees.observe(world.observer))
    assert (reward.steps(recalled, trees, instructions()) == 0).all()


def test_what_was_recalled_tree_by_tree_gives_the_same(world: World, ways: list[Paths]) -> None:
    """The cache of a building: recalled in one order, joined in another, with repeats."""
    reward = PathReward(WORDS, DIMENSION, SMALL).eval()
    every = [PathTree.of(paths) for paths in ways]
    chosen = [2, 0, 2, 3]
    tokens = instructions()
    with torch.no_grad():
        batch = TreeBatch.of(every)
        parts = reward.recall(batch, batch.observe(world.observer)).split([len(t) for t in every])
        picked = TreeBatch.of([every[k] for k in chosen])
        cached = reward(Recalled.join([parts[k] for k in chosen]), picked, tokens)
        fresh = reward(reward.recall(picked, picked.observe(world.observer)), picked, tokens)
    torch.testing.assert_close(cached, fresh)


def test_the_ways_from_a_start_take_the_edges_asked_for(world: World) -> None:
    buildings = world.buildings
    paths = ways_from(buildings, 0, 0, (2, 3), MAX_STEPS)
    ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
    assert len(set(ends.tolist())) == len(paths)
    assert set((paths.length - 1).tolist()) <= {2, 3}
    # Nothing is so far: the farthest that is.
    far = ways_from(buildings, 0, 0, (40, 50), MAX_STEPS)
    assert set(far.length.tolist()) == {int(paths.length.max())}
