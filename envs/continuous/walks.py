"""Demonstrations: what the expert does in each episode, walked through the simulator once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from envs.continuous.expert import Expert
from envs.continuous.homes import Homes
from envs.episodes.continuous_episode import ContinuousEpisode
from envs.progress import Progress
from envs.simulators.simulator import Action, Motion, Poses
from rayforge.errors import SceneError

_TOLD = Motion()
"""What the actions of R2R-CE's ground truth do; they are the expert's where motion is like this."""


class Walk(NamedTuple):
    """T actions, the last of them STOP, each with the pose it was taken in."""

    position: np.ndarray  # float32 [T, 3]
    yaw: np.ndarray  # float32 [T]
    action: np.ndarray  # int8 [T]
    moved: np.ndarray  # uint8 [T], what share of a forward step it moved, in percent


def place_of(episode: ContinuousEpisode) -> str:
    """ "scene S, episode E", for messages."""
    return f"scene {episode.scene}, episode {episode.episode_id}"


def share_moved(before: np.ndarray, after: np.ndarray, motion: Motion) -> np.ndarray:
    """Percent of a whole forward step between positions [N, 3], uint8 [N]: 100 where free."""
    metres = np.linalg.norm(after - before, axis=1)
    found: np.ndarray = np.clip(np.rint(100.0 * metres / motion.forward), 0, 100).astype(np.uint8)
    return found


def demonstrate(
    homes: Homes, motion: Motion, episodes: Sequence[ContinuousEpisode], limit: int
) -> list[Walk]:
    """The expert's walk of each episode; it ends with STOP within `limit` actions.

    It repeats the episode's ground truth where there is one and `motion` is R2R-CE's own, and
    follows geodesics through the reference path elsewhere.

    Raises:
        SceneError: a start or a reference point is off the floor or cannot be reached, or the
            walk takes more than `limit` actions; names scene and episode.
    """
    numbers = {scene: k for k, scene in enumerate(homes.scenes)}
    scene = np.array([numbers[episode.scene] for episode in episodes], np.int64)
    walks: list[Walk | None] = [None] * len(episodes)
    with Progress("following the reference paths", len(episodes)) as progress:
        for number in np.unique(scene):  # a scene at a time: few are open at once
            rows = np.flatnonzero(scene == number)
            part = _demonstrate(homes, motion, int(number), [episodes[int(r)] for r in rows], limit)
            for row, walk in zip(rows, part, strict=True):
                walks[row] = walk
                progress.add()
    return [walk for walk in walks if walk is not None]


def _demonstrate(
    homes: Homes, motion: Motion, scene: int, episodes: Sequence[ContinuousEpisode], limit: int
) -> list[Walk]:
    """The walks of episodes of one scene."""
    count = len(episodes)
    names = [place_of(episode) for episode in episodes]
    paths = [
        homes.on_floor(scene, np.array([e.start, *e.reference_path]), place)
        for e, place in zip(episodes, names, strict=True)
    ]
    scenes = np.full(count, scene)
    expert = Expert(homes, motion, scenes, [path[1:] for path in paths], names)
    repeats = motion.forward == _TOLD.forward and motion.turn == _TOLD.turn
    told = [e.actions if repeats else None for e in episodes]
    poses = Poses(
        np.array([path[0] for path in paths], np.float32),
        np.array([e.yaw for e in episodes], np.float32),
    )
    steps: list[list[tuple[np.ndarray, float, int, int]]] = [[] for _ in episodes]
    going = np.arange(count)
    for step in range(limit):
        here = Poses(poses.position[going], poses.yaw[going])
        follows = np.array([told[row] is None for row in going])
        action = np.array([_told(told[row], step) for row in going], np.int64)
        if follows.any():
            rows = going[follows]
            action[follows] = expert.actions(Poses(poses.position[rows], poses.yaw[rows]), rows)
        after = homes.step(scenes[going], here, action).poses
        moved = share_moved(here.position, after.position, motion)
        for k, row in enumerate(going):
            steps[row].append((here.position[k], here.yaw[k], int(action[k]), int(moved[k])))
        poses.position[going], poses.yaw[going] = after
        going = going[action != Action.STOP]
        if not going.size:
            break
    if going.size:
        raise SceneError(
            f"{names[int(going[0])]}: the expert needs more than {limit} actions; allow more "
            "(--max-walk), or leave the episode out"
        )
    return [
        Walk(
            np.array([s[0] for s in walk], np.float32),
            np.array([s[1] for s in walk], np.float32),
            np.array([s[2] for s in walk], np.int8),
            np.array([s[3] for s in walk], np.uint8),
        )
        for walk in steps
    ]


def _told(actions: tuple[int, ...] | None, step: int) -> int:
    """The ground truth's action; STOP where it ended without one."""
    if actions is None or step >= len(actions):
        return int(Action.STOP)
    return int(actions[step])
