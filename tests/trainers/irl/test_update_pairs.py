"""What each method's updates see, and the labels of student forcing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.graph.simulator import GraphSimulator
from envs.graph.world import random_walk
from rayforge.irl.pairs import Role, forced_pairs, mismatched, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.paths.arrays import Paths
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task, read_task, shuffled

USED = Role.REINFORCE | Role.IMPROVE


def replay_of(paths: Paths, irl: IRLConfig) -> Replay:
    ring = Replay(64, irl.max_steps, irl.max_words)
    ring.add(paths, np.arange(len(paths)))
    return ring


def roles_of(task: Task, irl: IRLConfig, improve: bool = True) -> list[Role]:
    train = task.splits["train"]
    told, described = replay_of(train.paths[:8], irl), replay_of(train.paths[8:16], irl)
    if not irl.labels:
        described = Replay(64, irl.max_steps, irl.max_words)
    rng = np.random.default_rng(0)
    parts = pairs_of_update(irl, train, told, described, train.paths[:8], improve, rng)
    return [role for _, role in parts]


@pytest.mark.parametrize(
    ("settings", "roles"),
    [
        ({}, [Role.POSITIVE | USED, Role.NEGATIVE | USED, Role.POSITIVE | USED, Role.NEGATIVE,
              Role.CLONE]),
        ({"relabel": False, "mismatched_negatives": False, "imitation_weight": 0.0},
         [Role.POSITIVE | USED, Role.NEGATIVE | USED]),
        ({"method": "gail", "mismatched_negatives": False},
         [Role.POSITIVE | USED, Role.NEGATIVE | USED, Role.CLONE]),
        ({"method": "completion"},
         [Role.POSITIVE, Role.NEGATIVE | USED, Role.NEGATIVE, Role.CLONE]),
        ({"method": "hindsight"}, [Role.CLONE, Role.CLONE]),
        ({"reward_from": "runs/other"}, [USED]),
    ],
)  # fmt: skip
def test_parts_of_an_update(task: Task, tiny: IRLConfig, settings: dict, roles: list[Role]) -> None:
    assert roles_of(task, replace(tiny, **settings)) == roles


def test_before_the_warm_up_is_over_critics_move_no_policy(task: Task, tiny: IRLConfig) -> None:
    assert not any(role & Role.IMPROVE for role in roles_of(task, tiny, improve=False))
    assert any(role & Role.REINFORCE for role in roles_of(task, tiny, improve=False))


def test_mismatched_instructions_are_another_paths_of_the_same_building(task: Task) -> None:
    train = task.splits["train"]
    rows = np.arange(len(train))
    wrong = mismatched(train, rows, np.random.default_rng(1))
    assert len(wrong) > len(train) / 2
    for row in range(len(wrong)):
        own = (train.paths.viewpoint == wrong.viewpoint[row]).all(1)
        own &= (train.paths.action == wrong.action[row]).all(1)
        said = (train.paths.tokens == wrong.tokens[row]).all(1)
        assert set(train.route[own]).isdisjoint(train.route[said]) or said.sum() > own.sum()
        assert set(train.building[own]) & set(train.building[said])


def test_advice_leads_to_the_goal_from_wherever_the_agent_went(task: Task, tiny: IRLConfig) -> None:
    train, buildings, limit = task.splits["train"], task.data.buildings, tiny.max_steps
    paths = task.world.walk(train, random_walk(3))
    rows = np.arange(len(train))
    advice = task.world.advice(train, rows, paths)
    checked = 0
    for row in rows:
        for step in range(int(paths.length[row])):
            simulator = GraphSimulator(buildings, limit)
            simulator.reset(paths.viewpoint[row : row + 1, step], np.zeros(1, int))
            best = int(simulator.expert(train.goal[row : row + 1])[0])
            assert advice[row, step] == (best if step < limit - 1 else 0)
            checked += best > 0
        assert not advice[row, int(paths.length[row]) :].any()
    assert checked > 20
    # On the expert's own paths it is what the expert does, but for ways of the same length.
    own = task.world.advice(train, rows, train.paths)
    assert (own == train.paths.action).mean() > 0.95


def test_forced_pairs_keep_what_was_done_and_imitate_the_advice(
    task: Task, tiny: IRLConfig
) -> None:
    train = task.splits["train"]
    paths = task.world.walk(train, random_walk(3))
    advice = np.full_like(paths.action, 5)
    rng = np.random.default_rng(0)
    both, target = forced_pairs(tiny, train, paths, advice, rng)
    assert len(both) == len(target) == tiny.positives + tiny.negatives
    first = slice(0, tiny.positives)
    np.testing.assert_array_equal(target[first], both.action[first])
    assert (target[tiny.positives :, : paths.action.shape[1]] == 5).all()
    assert not (both.action[tiny.positives :] == 5).all()


def test_shuffled_text_gives_training_paths_other_instructions_and_leaves_the_rest(
    task: Task, tiny: IRLConfig
) -> None:
    config = replace(tiny, shuffled_text=True)
    read = read_task(task.folder, config, ("train", "val_seen"))
    plain = read_task(task.folder, tiny, ("train", "val_seen"))
    train, own = read.splits["train"], plain.splits["train"]
    others = shuffled(own.building, own.route, tiny.seed)
    assert (own.route[others] != own.route).all()
    np.testing.assert_array_equal(train.paths.tokens, own.paths.tokens[others])
    np.testing.assert_array_equal(train.paths.action, own.paths.action)
    seen = read.splits["val_seen"].paths.tokens
    np.testing.assert_array_equal(seen, plain.splits["val_seen"].paths.tokens)
