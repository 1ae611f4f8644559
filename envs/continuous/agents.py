"""Agents in 3-D scenes, as roll-outs move them: rendered, looked at and stepped as one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from envs.continuous.homes import Homes
from envs.continuous.images import Images
from envs.continuous.walks import share_moved
from envs.simulators.simulator import Action, Motion, Poses
from rayforge.irl.networks import Policy
from rayforge.paths.arrays import Walks
from rayforge.paths.observation import SECTORS, Observation
from rayforge.paths.walk_observation import Completes, WalkObserver


class HomeAgents:
    """`Agents` of `rayforge.irl.rollout`: goals are the first states and instructions of
    `Walks`."""

    def __init__(
        self, homes: Homes, images: Images, observer: WalkObserver, motion: Motion, keep: bool
    ) -> None:
        """`keep`: whether the images of a roll-out are kept in the observer's frame store."""
        self.homes, self._images, self.observer = homes, images, observer
        self.motion, self.keep = motion, keep
        self.max_steps = observer.max_steps

    def start(self, goals: Walks) -> None:
        count = len(goals)
        self._scene = goals.scene.astype(np.int64)
        self._poses = Poses(goals.position[:, 0].copy(), goals.yaw[:, 0].copy())
        self._walks = Walks.zeros(count, self.max_steps, 1)
        self._seen: list[list[np.ndarray]] = [[] for _ in range(count)]
        self._taken = np.zeros((count, self.max_steps), np.int64)
        self._step = 0
        self._named = np.zeros(0, np.int64)
        if self.observer.completion is not None:
            self._named = self.observer.completion.named(goals.tokens)
        self._objects: tuple[np.ndarray, Any] | None = None

    def observe(self, policy: Policy, rows: np.ndarray, step: int) -> Observation:
        assert policy.image_encoder is not None, "agents in 3-D scenes see through an image encoder"
        self._step = step
        poses = Poses(self._poses.position[rows], self._poses.yaw[rows])
        images = self._images.render(self._scene[rows], poses)
        self._walks.position[rows, step], self._walks.yaw[rows, step] = poses
        if self.keep:
            for row, image in zip(rows, images, strict=True):
                self._seen[row].append(image)
        codes = policy.image_encoder(torch.from_numpy(images)).view(len(rows), 1, SECTORS, -1)
        if self.observer.completion is not None:
            figures = self._named_objects(self.observer.completion, rows, images)
            codes = torch.cat([codes, figures[:, None]], -1)
        at = torch.full((len(rows), 1), step)
        way = (self._taken[rows, :step], self._walks.moved[rows, :step])
        arrival = self.observer.arrivals(*(torch.from_numpy(part) for part in way))[:, -1:]
        found: Observation = self.observer(
            codes, at, torch.ones_like(at, dtype=torch.bool), arrival
        )
        return found

    def _named_objects(
        self, completion: Completes, rows: np.ndarray, images: np.ndarray
    ) -> torch.Tensor:
        """The figures of the objects that the instructions of agents `rows` name."""
        before = None
        if self._objects is not None:  # those that have stopped are left out
            of, known = self._objects
            before = known.take(np.searchsorted(of, rows))
        step = self._step
        position, yaw = self.observer.felt(self._taken[rows, :step], self._walks.moved[rows, :step])
        figures, now = completion.step(
            images, position[:, -1], yaw[:, -1], self._named[rows], before
        )
        self._objects = rows, now
        return figures

    def act(self, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
        before = Poses(self._poses.position[rows], self._poses.yaw[rows])
        after = self.homes.step(self._scene[rows], before, actions).poses
        moved = share_moved(before.position, after.position, self.motion)
        self._taken[rows, self._step], self._walks.moved[rows, self._step] = actions, moved
        self._poses.position[rows], self._poses.yaw[rows] = after
        found: np.ndarray = actions != Action.STOP
        return found

    def paths(self, action: np.ndarray, length: np.ndarray, tokens: np.ndarray) -> Walks:
        numbers = self._walks.frames
        if self.keep:
            numbers = self.observer.frames.keep([np.stack(images) for images in self._seen])
        done = self._walks
        return Walks(
            self._scene.astype(np.int16), numbers, done.position, done.yaw, done.moved, action,
            length, tokens,
        )  # fmt: skip

    def images(self, walks: Walks) -> tuple[np.ndarray, ...] | None:
        """The kept images of walks, each uint8 [T, H, W, C]."""
        frames = self.observer.frames
        return tuple(
            frames.gather(walks.frames[row : row + 1], walks.length[row : row + 1])
            for row in range(len(walks))
        )
