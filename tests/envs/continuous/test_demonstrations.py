"""The expert's walks, their images and their scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.continuous.images import Images, categories_of
from envs.continuous.scoring import score_walks
from envs.continuous.walks import Walk, demonstrate, share_moved
from envs.continuous_env import ContinuousData
from envs.simulators.simulator import Camera, Motion, Poses
from rayforge.errors import SceneError

MOTION = Motion()


@pytest.fixture(scope="module")
def walks(data: ContinuousData) -> list[Walk]:
    return demonstrate(data.homes, MOTION, data.episodes[::3], 200)


def test_walks_repeat_in_the_simulator_and_end_at_the_goal(
    data: ContinuousData, walks: list[Walk]
) -> None:
    for episode, walk in zip(data.episodes[::3], walks, strict=True):
        scene = np.array([data.homes.scenes.index(episode.scene)])
        poses = Poses(walk.position[:1], walk.yaw[:1])
        for step, action in enumerate(walk.action):
            np.testing.assert_array_equal(poses.position[0], walk.position[step])
            assert poses.yaw[0] == walk.yaw[step]
            after = data.homes.step(scene, poses, np.array([int(action)])).poses
            moved = share_moved(poses.position, after.position, MOTION)
            assert moved[0] == walk.moved[step]
            poses = after
        assert walk.action[-1] == 0 and (walk.action[:-1] > 0).all()
        assert np.linalg.norm(walk.position[-1] - np.array(episode.goal)) < 0.5
        for corner in episode.reference_path:  # through all of them
            assert np.linalg.norm(walk.position - np.array(corner), axis=1).min() < 0.75


def test_ground_truth_is_repeated_where_the_motion_is_its_own(data: ContinuousData) -> None:
    told = replace(data.episodes[0], actions=(2, 2, 1, 3, 0))
    (walk,) = demonstrate(data.homes, MOTION, [told], 200)
    assert walk.action.tolist() == [2, 2, 1, 3, 0]
    (walk,) = demonstrate(data.homes, replace(MOTION, turn=30.0), [told], 200)
    assert len(walk.action) > 10  # these actions would turn farther


def test_a_walk_over_the_limit_names_its_episode(data: ContinuousData) -> None:
    first = data.episodes[0]
    with pytest.raises(SceneError, match=f"episode {first.episode_id}: the expert needs more than"):
        demonstrate(data.homes, MOTION, [first], 5)


def test_a_point_out_of_reach_names_its_episode(
    data: ContinuousData, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.episodes[0]
    simulator = data.homes.simulator(data.homes.scenes.index(first.scene))
    monkeypatch.setattr(simulator, "shortest_path", lambda start, end: np.zeros((0, 3)))
    with pytest.raises(SceneError, match=f"episode {first.episode_id}.*cannot be reached"):
        demonstrate(data.homes, MOTION, [first], 100)


def test_the_expert_scores_as_well_as_can_be(data: ContinuousData, walks: list[Walk]) -> None:
    episodes = data.episodes[::3]
    scene = np.array([data.homes.scenes.index(e.scene) for e in episodes])
    paths = [walk.position for walk in walks]
    start = np.array([p[0] for p in paths])
    goal = np.array([e.goal for e in episodes], np.float32)
    never = np.zeros(len(paths), bool)
    best = score_walks(data.homes, scene, paths, paths, start, goal, never)
    for name in ("success", "oracle_success", "ndtw", "sdtw"):
        np.testing.assert_allclose(best[name], 1.0)
    assert (best["spl"] <= 1).all() and (best["spl"] > 0.4).all()
    assert (best["navigation_error"] < 0.5).all()
    stayed = [path[:1] for path in paths]
    none = score_walks(data.homes, scene, stayed, paths, start, goal, never)
    assert not none["success"].any() and (none["ndtw"] < 0.5).all()
    forced = score_walks(data.homes, scene, paths, paths, start, goal, ~never)
    assert not forced["success"].any() and forced["oracle_success"].all()


def test_images_hold_colour_depth_and_category(data: ContinuousData, walks: list[Walk]) -> None:
    names = categories_of(data.homes)
    assert "wall" in names and len(names) == len(set(names))
    rows = np.array([0, 5, 10])
    scene = np.array([data.homes.scenes.index(data.episodes[0].scene)] * 3)
    poses = Poses(walks[0].position[rows], walks[0].yaw[rows])
    views = data.homes.render(scene, poses)
    seen = Images(data.homes, Camera(), names).render(scene, poses)
    assert seen.shape == (3, 64, 64, 5)
    np.testing.assert_array_equal(seen[..., :3], views.colour)
    assert views.depth is not None and views.semantic is not None
    near = views.depth < 10
    np.testing.assert_allclose(seen[..., 3][near] / 25.5, views.depth[near], atol=0.021)
    things = data.homes.simulator(int(scene[0])).names
    at = (1, 40, 20)
    assert names[seen[..., 4][at] - 1] == things[int(views.semantic[at])]
    few = Images(data.homes, Camera(), names[:1]).render(scene, poses)
    assert set(np.unique(few[..., 4])) <= {0, 1}


def test_scenes_are_closed_when_too_many_are_open(data: ContinuousData) -> None:
    from envs.continuous.homes import Homes

    homes = Homes(data.homes.folder, data.homes.scenes, data.homes._open_scene, kept=1)
    first = homes.simulator(0)
    scene = np.array([0, 1, 0])
    paths = next(e for e in data.episodes if e.scene == homes.scenes[0])
    other = next(e for e in data.episodes if e.scene == homes.scenes[1])
    position = np.array([paths.start, other.start, paths.start], np.float32)
    poses = Poses(position, np.zeros(3, np.float32))
    views = homes.render(scene, poses)
    assert views.colour is not None
    np.testing.assert_array_equal(views.colour[0], views.colour[2])
    assert len(homes._open) == 1 and homes.simulator(0) is not first
    homes.close()
    assert not homes._open


def test_the_expert_does_not_walk_in_zigzags(walks: list[Walk]) -> None:
    """A turn that is taken back after a step tells nobody where to go."""
    taken_back = turns = 0
    for walk in walks:
        first, step, then = walk.action[:-2], walk.action[1:-1], walk.action[2:]
        taken_back += int(((step == 1) & (first > 1) & (then > 1) & (first != then)).sum())
        turns += int((walk.action > 1).sum())
    assert turns > 20 and taken_back < 0.1 * turns, (taken_back, turns)
