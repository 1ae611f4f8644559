"""The Gymnasium environments: Gymnasium's own checker, and by hand."""

import math
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs.graph.navigation_data import NavigationData, read_navigation_data
from envs.graph_env import GraphGoalEnv, GraphGoalVectorEnv, Observation
from rayforge.errors import DataError


def encode(instruction: str) -> np.ndarray:
    tokens = np.zeros(80, np.int64)
    lengths = [len(word) for word in instruction.split()]
    tokens[: len(lengths)] = lengths
    return tokens


@pytest.fixture
def data(tiny_folder: Path) -> NavigationData:
    return read_navigation_data(tiny_folder, splits=["train", "val_seen"])


def same(a: Observation, b: dict[str, Any]) -> None:
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_gymnasium_s_checker_has_nothing_to_say(data: NavigationData) -> None:
    env = gym.make("rayforge/GraphGoal-v0", data=data, split="train", encode=encode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_observation_by_hand(data: NavigationData) -> None:
    env = GraphGoalEnv(data, "train", encode, max_steps=10)
    episode = data.splits["train"][4]
    observation, info = env.reset(options={"episode_id": episode.episode_id})
    assert env.observation_space.contains(observation)
    assert (info["episode_id"], info["building"]) == (episode.episode_id, episode.scan)
    here = data.buildings.index(episode.scan, episode.path[0])
    facing = round(episode.heading / math.radians(30)) % 12
    assert observation["tokens"].tolist() == encode(episode.instruction).tolist()
    for sector, turn in enumerate((0, 3, 6, 9)):  # ahead, right, behind, left
        np.testing.assert_array_equal(
            observation["sectors"][sector], data.tables.sectors[here, (facing + turn) % 12]
        )
    degree = int((data.buildings.neighbours[here] >= 0).sum())
    actions = data.buildings.neighbours.shape[1] + 1
    assert observation["mask"].tolist() == [1] * (degree + 1) + [0] * (actions - degree - 1)
    assert not observation["candidates"][0].any()
    assert not observation["candidates"][degree + 1 :].any()
    for slot in range(degree):
        row = observation["candidates"][slot + 1]
        relative = data.buildings.heading[here, slot] - math.radians(30 * facing)
        elevation = data.buildings.elevation[here, slot]
        np.testing.assert_array_equal(row[:-5], data.tables.towards[data.tables.edge[here, slot]])
        np.testing.assert_allclose(
            row[-5:],
            [math.sin(relative), math.cos(relative), math.sin(elevation), math.cos(elevation),
             data.buildings.length[here, slot] / 10],
            atol=1e-6,
        )  # fmt: skip


def test_expert_is_rewarded_once_at_the_goal(data: NavigationData) -> None:
    env = GraphGoalEnv(data, "train", encode, max_steps=15)
    for episode in data.splits["train"][::3]:
        _, info = env.reset(options={"episode_id": episode.episode_id})
        goal = np.array([data.buildings.index(episode.scan, episode.path[-1])])
        rewards, terminated = [], False
        while not terminated:
            action = env.task.simulator.expert(goal)[0]
            _, reward, terminated, truncated, info = env.step(action)
            rewards.append(reward)
            assert not truncated
        assert rewards == [0.0] * (len(episode.path) - 1) + [1.0]
        assert info["success"] and not info["forced_stop"] and info["distance"] == 0


def test_success_is_strictly_under_three_metres(data: NavigationData) -> None:
    for episode in data.splits["train"] + data.splits["val_seen"]:
        env = GraphGoalEnv(data, "train" if episode in data.splits["train"] else "val_seen", encode)
        _, info = env.reset(options={"episode_id": episode.episode_id})
        _, reward, terminated, _, last = env.step(np.int64(0))
        assert terminated
        assert last["distance"] == info["distance"]
        assert reward == float(info["distance"] < 3.0) == float(last["success"])


def test_illegal_actions_wait_and_the_last_one_stops(data: NavigationData) -> None:
    env = GraphGoalEnv(data, "train", encode, max_steps=3)
    before, _ = env.reset(options={"episode_id": "101_0"})
    forbidden = np.int64(np.flatnonzero(before["mask"] == 0)[0]) if not before["mask"].all() else 99
    after, reward, terminated, _, info = env.step(np.int64(forbidden))
    same(after, before)
    assert (reward, terminated, info["illegal"]) == (0.0, False, True)
    after, _, terminated, _, info = env.step(np.int64(1))
    assert not terminated and not info["illegal"]
    assert after["mask"].tolist() == [1] + [0] * (len(after["mask"]) - 1)
    after, _, terminated, _, info = env.step(np.int64(1))
    assert terminated and info["forced_stop"] and info["illegal"]


def test_the_batch_does_what_single_environments_do(data: NavigationData) -> None:
    count = 7
    vector = GraphGoalVectorEnv(data, "train", encode, num_envs=count, max_steps=5)
    singles = [GraphGoalEnv(data, "train", encode, max_steps=5) for _ in range(count)]
    ids = [episode.episode_id for episode in data.splits["train"][:count]]
    seen, infos = vector.reset(seed=1, options={"episode_id": ids})
    assert infos["episode_id"].tolist() == ids
    for row, (env, episode_id) in enumerate(zip(singles, ids, strict=True)):
        single, _ = env.reset(options={"episode_id": episode_id})
        same(single, {name: values[row] for name, values in seen.items()})
    chance = np.random.default_rng(0)
    over = np.zeros(count, bool)
    episodes = 0
    for _ in range(60):
        actions = chance.integers(vector.task.simulator.actions, size=count)
        seen, rewards, terminated, truncated, infos = vector.step(actions)
        assert vector.observation_space.contains(seen)
        assert not truncated.any()
        for row, env in enumerate(singles):
            if over[row]:
                episode_id = infos["episode_id"][row]
                single, info = env.reset(options={"episode_id": episode_id})
                assert (rewards[row], terminated[row]) == (0.0, False)
                assert not infos["_success"][row]
                episodes += 1
            else:
                single, reward, ended, _, info = env.step(actions[row])
                assert (rewards[row], terminated[row]) == (reward, ended)
            same(single, {name: values[row] for name, values in seen.items()})
            assert {name: infos[name][row] for name in info} == info
        over = terminated
    assert episodes > 20


def test_make_vec_and_seeds(data: NavigationData) -> None:
    def walk(seed: int) -> list[str]:
        env = gym.make_vec(
            "rayforge/GraphGoal-v0", num_envs=3, vectorization_mode="vector_entry_point",
            data=data, split="train", encode=encode, max_steps=4,
        )  # fmt: skip
        assert isinstance(env, GraphGoalVectorEnv)
        assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        _, infos = env.reset(seed=seed)
        names = infos["episode_id"].tolist()
        for _ in range(10):
            *_, infos = env.step(np.array([1, 1, 0]))
            names += infos["episode_id"].tolist()
        return names

    assert walk(3) == walk(3)
    assert walk(3) != walk(4)


def test_bad_requests(data: NavigationData) -> None:
    with pytest.raises(DataError, match="split 'test' was not read; it has train, val_seen"):
        GraphGoalEnv(data, "test", encode)
    env = GraphGoalEnv(data, "train", encode)
    with pytest.raises(DataError, match="episode 'x' is not among the split's 36"):
        env.reset(options={"episode_id": "x"})
    short = GraphGoalEnv(data, "train", encode, text_length=40)
    with pytest.raises(ValueError, match=r"episode 101_0: encode gave int64 \(80,\); .* \[40\]"):
        short.reset(options={"episode_id": "101_0"})
    with pytest.raises(ValueError, match="num_envs is 0"):
        GraphGoalVectorEnv(data, "train", encode, num_envs=0)
    vector = GraphGoalVectorEnv(data, "train", encode, num_envs=2)
    with pytest.raises(ValueError, match="1 episode ids for 2 environments"):
        vector.reset(options={"episode_id": ["101_0"]})
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions have shape \(3,\); expected \(2,\)"):
        vector.step(np.zeros(3, np.int64))
