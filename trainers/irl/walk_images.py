"""Images of roll-outs in 3-D scenes, kept where the learners are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import ray

from rayforge.irl.replay import Replay
from rayforge.irl.world import World
from rayforge.paths.arrays import Walks
from rayforge.paths.frame_store import FrameStore
from trainers.irl import learner_calls as calls
from trainers.irl.runner import ChunkResult


class WalkImages:
    """Gives walks their numbers; the learners hold the images of these.

    A learner in this process has the same store. Learners in others have one each, of references
    into Ray's shared memory: a runner puts images there, and a node's learners read one copy. What
    is lost with its runner is rendered again here.
    """

    def __init__(
        self, store: FrameStore, world: World[Any], ask: Callable[[Any], list[Any]], remote: bool
    ) -> None:
        """`ask` calls a function on every learner; `remote`: they are in other processes."""
        self.store, self.world, self.ask, self.remote = store, world, ask, remote
        ask(partial(calls.show, frames=store))

    def named(self, result: ChunkResult) -> ChunkResult:
        """The same result, its images kept, its paths naming them."""
        if result.rollout is None or result.images is None:
            return result
        paths = result.rollout.paths
        paths = paths.with_frames(self.keep(result.images, paths))
        return replace(result, rollout=replace(result.rollout, paths=paths), images=None)

    def keep(self, images: Sequence[np.ndarray | ray.ObjectRef], walks: Walks) -> np.ndarray:
        """Keep what was seen along walks; returns their numbers, int32 [n]."""
        numbers = self.store.take(len(images))
        if not self.remote:
            self.store.put(numbers, images)
            return numbers
        found = [part if isinstance(part, ray.ObjectRef) else ray.put(part) for part in images]
        if not all(self.ask(partial(calls.keep, numbers=numbers, walks=found))):
            found = [ray.put(walk) for walk in self.world.film(walks)]
            self.ask(partial(calls.keep, numbers=numbers, walks=found))
        return numbers

    def show_again(self, negatives: Replay[Walks], positives: Replay[Walks]) -> None:
        """Render what was seen along stored roll-outs, of which a checkpoint holds the poses."""
        if not len(negatives):
            return
        stored = np.arange(len(negatives))  # restored: the oldest first, as they were kept
        walks = negatives.paths[stored]
        numbers = self.keep(self.world.film(walks), walks)
        negatives.paths.frames[stored] = numbers
        # The same walks where their instructions were good enough; both are in order of episodes.
        labelled = np.arange(len(positives))
        place = np.searchsorted(negatives.serial[stored], positives.serial[labelled])
        positives.paths.frames[labelled] = numbers[place]
