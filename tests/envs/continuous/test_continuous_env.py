"""The Gymnasium environments in 3-D scenes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.continuous_env import (
    ContinuousData,
    ContinuousGoalEnv,
    ContinuousGoalVectorEnv,
    read_continuous_data,
)
from envs.simulators.simulator import Poses, Views
from rayforge.errors import DataError, SceneError


def encode(text: str) -> np.ndarray:
    return np.full(80, len(text), np.int64)


def test_gymnasium_accepts_it(data: ContinuousData) -> None:
    env = gym.make("rayforge/ContinuousGoal-v0", data=data, encode=encode)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=3)
    seen = env.step(1)[0]
    assert seen["rgb"].shape == (64, 64, 3) and seen["rgb"].dtype == np.uint8
    assert seen["depth"].max() > 0.5 and seen["semantic"].max() > 0


def test_what_is_rendered_is_the_colour_image(data: ContinuousData) -> None:
    env = ContinuousGoalEnv(data, encode, render_mode="rgb_array")
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), seen["rgb"])
    assert ContinuousGoalEnv(data, encode).render() is None


def test_the_expert_succeeds_and_a_stop_at_the_start_fails(data: ContinuousData) -> None:
    env = ContinuousGoalEnv(data, encode, expert=True)
    for episode in data.episodes[::6]:
        _, info = env.reset(options={"episode_id": episode.episode_id})
        assert info["episode_id"] == episode.episode_id and info["distance"] >= 3
        for _ in range(200):
            _, reward, ended, cut, info = env.step(info["expert"])
            if ended:
                break
        assert ended and not cut and reward == 1.0 and info["success"] and info["distance"] < 0.5
        env.reset(options={"episode_id": episode.episode_id})
        _, reward, ended, _, info = env.step(0)
        assert ended and reward == 0.0 and not info["success"]


def test_the_limit_truncates_and_is_no_success(data: ContinuousData) -> None:
    env = ContinuousGoalEnv(data, encode, max_steps=2)
    env.reset(seed=0)
    assert env.step(2)[2:4] == (False, False)
    _, reward, ended, cut, _ = env.step(3)
    assert (reward, ended, cut) == (0.0, False, True)


def test_turns_and_steps_are_as_the_motion_says(data: ContinuousData) -> None:
    env = ContinuousGoalEnv(data, encode)
    env.reset(seed=1)
    poses = env.task.poses
    before = Poses(poses.position.copy(), poses.yaw.copy())
    env.step(2)
    turned = env.task.poses.yaw[0] - before.yaw[0]
    assert np.isclose((turned + np.pi) % (2 * np.pi) - np.pi, np.deg2rad(15), atol=1e-5)
    env.step(3)
    env.step(1)
    moved = np.linalg.norm(env.task.poses.position[0] - before.position[0])
    assert moved <= 0.25 + 1e-4


def test_a_batch_does_what_its_rows_do_alone(data: ContinuousData) -> None:
    count = 5
    ids = [data.episodes[k].episode_id for k in range(0, 20, 4)]
    batch = ContinuousGoalVectorEnv(data, encode, num_envs=count)
    together, _ = batch.reset(seed=0, options={"episode_id": ids})
    alone = [ContinuousGoalEnv(data, encode) for _ in range(count)]
    firsts = [env.reset(options={"episode_id": i})[0] for env, i in zip(alone, ids, strict=True)]
    rng = np.random.default_rng(0)
    for _ in range(12):
        for name in together:
            np.testing.assert_array_equal(together[name], np.stack([f[name] for f in firsts]))
        actions = rng.integers(1, 4, size=count)
        together, reward, ended, cut, infos = batch.step(actions)
        steps = [env.step(a) for env, a in zip(alone, actions, strict=True)]
        firsts = [s[0] for s in steps]
        np.testing.assert_array_equal(reward, [s[1] for s in steps])
        np.testing.assert_array_equal(infos["collided"], [s[4]["collided"] for s in steps])
        np.testing.assert_allclose(infos["distance"], [s[4]["distance"] for s in steps])
    assert not ended.any() and not cut.any()


def test_rows_start_anew_one_step_after_their_end(data: ContinuousData) -> None:
    env = gym.make_vec(
        "rayforge/ContinuousGoal-v0", num_envs=3, data=data, encode=encode, max_steps=3,
        vectorization_mode="vector_entry_point",
    )  # fmt: skip
    env.reset(seed=0)
    _, _, ended, cut, _ = env.step(np.array([0, 1, 1]))
    assert ended.tolist() == [True, False, False] and not cut.any()
    _, reward, ended, cut, infos = env.step(np.array([1, 1, 1]))
    assert reward[0] == 0 and not ended.any() and not cut.any()
    assert infos["_success"].tolist() == [False, True, True]
    _, _, ended, cut, _ = env.step(np.array([1, 1, 1]))
    assert cut.tolist() == [False, True, True]
    _, _, ended, cut, _ = env.step(np.array([1, 1, 1]))
    assert not cut[1:].any()


def test_environments_of_a_scene_share_one_render_call(
    data: ContinuousData, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = data.episodes[0].scene
    ids = [e.episode_id for e in data.episodes if e.scene == scene][:4]
    env = ContinuousGoalVectorEnv(data, encode, num_envs=4)
    simulator = data.homes.simulator(data.homes.scenes.index(scene))
    calls: list[int] = []
    render = simulator.render

    def counted(poses: Poses) -> Views:
        calls.append(len(poses.yaw))
        return render(poses)

    monkeypatch.setattr(simulator, "render", counted)
    env.reset(options={"episode_id": ids})
    assert calls == [4]


def changed(data: ContinuousData, **values: Any) -> ContinuousData:
    return replace(data, episodes=(replace(data.episodes[0], **values),))


def test_a_start_off_the_floor_names_scene_and_episode(data: ContinuousData) -> None:
    first = data.episodes[0]
    away = (first.start[0] + 500.0, 0.0, 0.0)
    env = ContinuousGoalEnv(changed(data, start=away), encode)
    with pytest.raises(SceneError, match=f"scene {first.scene}, episode {first.episode_id}: its "
                       "start.*off the floor"):  # fmt: skip
        env.reset(seed=0)


def test_an_unreachable_goal_names_scene_and_episode(
    data: ContinuousData, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.episodes[0]
    env = ContinuousGoalEnv(changed(data), encode)

    def nowhere(scene: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.full(len(scene), np.inf, np.float32)

    monkeypatch.setattr(data.homes, "geodesic_distance", nowhere)
    with pytest.raises(DataError, match=f"{first.scene}, episode {first.episode_id}: no walk"):
        env.reset(seed=0)


def test_missing_scenes_are_listed_before_anything_starts(
    homes_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="2 scene files") as caught:
        read_continuous_data(homes_folder, "train", scenes=tmp_path)
    assert "house00000/house00000.glb" in str(caught.value)


def test_an_unknown_episode_is_an_error(data: ContinuousData) -> None:
    with pytest.raises(DataError, match="'nine'"):
        ContinuousGoalEnv(data, encode).reset(options={"episode_id": "nine"})
    with pytest.raises(ValueError, match="2 episode ids for 1"):
        ContinuousGoalVectorEnv(data, encode).reset(options={"episode_id": ["1", "2"]})
