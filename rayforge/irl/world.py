"""Where trajectories happen: all that training, evaluation and reports ask of an environment.

`envs.graph.world.GraphWorld` (from viewpoint to viewpoint) and `envs.continuous.world.SceneWorld`
(forward, left, right in 3-D scenes) are Worlds. One of one's own needs these methods and no base
class; the arrays of its trajectories are `Paths`, or another kind of `Padded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.rollout import Agents, Rollout
from rayforge.paths.arrays import Padded
from rayforge.paths.frame_store import FrameStore
from rayforge.paths.observation import Observation

P = TypeVar("P", bound=Padded)


class Observer(Protocol):
    """Turns states into what networks read; holds no parameters."""

    def observe_batch(
        self, batch: dict[str, Tensor], image_encoder: nn.Module | None
    ) -> Observation:
        """What is seen along the trajectories of a batch, images through `image_encoder`."""
        ...

    def to(self, device: torch.device) -> Any: ...


class World(Protocol[P]):
    """Draws goals, rolls out, scores and records; read-only, and shared by all processes."""

    @property
    def kind(self) -> type[P]:
        """The arrays of its trajectories."""
        ...

    @property
    def together(self) -> int:
        """Episodes that an evaluation rolls out at once."""
        ...

    @property
    def step_limit(self) -> int:
        """Actions of an episode at most."""
        ...

    @property
    def dimension(self) -> int | None:
        """Features of a view; None where an agent's image encoder makes them from images."""
        ...

    @property
    def objects(self) -> tuple[str, ...]:
        """Names that an agent tells apart."""
        ...

    @property
    def identity(self) -> Sequence[str]:
        """Names of the places that trajectories refer to by number."""
        ...

    # Rolling out.

    def observer(self, frames: FrameStore | None = None) -> Observer:
        """`frames`: where images of trajectories are found, instead of the world's own."""
        ...

    def agents(self, observer: Any, keep: bool = True) -> Agents[P]:
        """Agents that roll out; `keep`: whether what they saw is wanted afterwards."""
        ...

    def other_ways(
        self, paths: P, count: int, rng: np.random.Generator
    ) -> tuple[P, np.ndarray] | None:
        """For each of B trajectories `count` others from its start, side by side, and which of
        them there are, bool [B, count]; None where there are none to be had."""
        ...

    # Drawing goals.

    def batch(self, split: Demonstrations, size: int, seed: int, number: int) -> np.ndarray:
        """Rows int64 [about `size`] of the pairs of supervised update `number`."""
        ...

    def draw(
        self, split: Demonstrations, rng: np.random.Generator, count: int, chunk: int
    ) -> np.ndarray:
        """Rows int64 [count] of pairs to roll out, in chunks of `chunk`."""
        ...

    def order(self, split: Demonstrations) -> np.ndarray:
        """All rows, int64 [n], in the order in which an evaluation rolls them out."""
        ...

    # Scoring and recording.

    def reached(self, split: Demonstrations, rows: np.ndarray, paths: P) -> np.ndarray:
        """Which trajectories, that answer these rows, are a success, bool [n]."""
        ...

    def score(self, split: Demonstrations, paths: P) -> dict[str, np.ndarray]:
        """Each metric of each episode, float64 [n]; `paths` answer the split's rows in order."""
        ...

    def controls(self, split: Demonstrations, seed: int) -> dict[str, P]:
        """What agents do that read nothing ("straight", "random"), the reference path ("expert"),
        and, where it is known, the "shortest path"."""
        ...

    def advice(self, split: Demonstrations, rows: np.ndarray, paths: P) -> np.ndarray | None:
        """What the shortest way to the goals of `rows` would do in each state of `paths` that
        answer them, int8 [n, T]; None where it is not known."""
        ...

    def record(
        self, split: Demonstrations, values: dict[str, np.ndarray], rollout: Rollout[P]
    ) -> list[dict[str, Any]]:
        """One record an episode: what `rayforge irl watch` and the report read."""
        ...

    def way(self, episode: Any) -> list[Any]:
        """The places of an episode's reference path."""
        ...

    # Images.

    def new_frame_store(self, capacity: int) -> FrameStore | None:
        """Where a learner finds images: the demonstrations' and those of `capacity` kept
        roll-outs; None where features are in tables."""
        ...

    def film(self, paths: P) -> list[np.ndarray]:
        """What was seen along trajectories, uint8 [T, H, W, C] each; empty where features are in
        tables."""
        ...
