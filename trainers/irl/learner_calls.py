"""What the algorithm asks of its learner, or of each of several: functions that Ray can send."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rayforge.errors import RunError, UserError
from rayforge.irl.demonstrations import Demonstrations
from rayforge.paths.arrays import Padded
from rayforge.paths.frame_store import FrameStore
from trainers.irl.information import information_figures
from trainers.irl.learner import AgentLearner, read_only_arrays


def halved(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of 32 bits as 16; the rest as it is."""
    return {
        name: value.astype(np.float16) if value.dtype == np.float32 else value
        for name, value in weights.items()
    }


def batch_of(columns: dict[str, np.ndarray]) -> MultiAgentBatch:
    return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, len(columns["role"]))


@contextmanager
def learners_at_work() -> Iterator[None]:
    """Raises LearnerLostError where a learner's process is lost, and what it raised for users as it
    was raised."""
    manager = logging.getLogger("ray.rllib.utils.actor_manager")
    level = manager.level
    manager.setLevel(logging.CRITICAL)  # it tells a lost learner in its own many lines
    try:
        with read_only_arrays():
            yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise _lost(error.cause or error) from error
    except RayError as error:
        raise _lost(error) from error
    finally:
        manager.setLevel(level)


class LearnerLostError(RunError):
    """A learner's process ended; the others cannot go on without its part of the batch."""


def _lost(error: BaseException) -> LearnerLostError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    why = lines[-1].strip().split(". ")[0]  # Ray goes on for a paragraph
    return LearnerLostError(f"a learner was lost ({why[:80]})")


def start_from_policy(learner: AgentLearner, number: int) -> None:
    learner.draw_for(number, own=False)
    learner.agent.start_from_policy()


def information(learner: AgentLearner, split: Demonstrations) -> dict[str, float]:
    return information_figures(learner.agent, split)


def importance(learner: AgentLearner, paths: Padded, probability: np.ndarray) -> dict[str, float]:
    return learner.importance(paths, probability)


def set_rate(learner: AgentLearner, name: str, rate: float) -> None:
    learner.set_learning_rate(name, rate)


def take_over(
    learner: AgentLearner, weights: dict[str, np.ndarray], parts: tuple[str, ...]
) -> None:
    learner.agent.take_over(weights, parts)


def take_reward(learner: AgentLearner, weights: dict[str, np.ndarray]) -> None:
    learner.agent.take_reward(weights)


def show(learner: AgentLearner, frames: FrameStore) -> None:
    learner.show(frames)


def keep(learner: AgentLearner, numbers: np.ndarray, walks: list[ray.ObjectRef]) -> bool:
    """Keep the images of walks by their numbers, in the node's shared memory. False where some are
    gone with the runner that made them."""
    try:
        images = ray.get(walks)
    except ObjectLostError:
        return False
    learner.frames.put(numbers, images)
    return True
