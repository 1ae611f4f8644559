"""The same seeds give the same episodes and weights, whoever rolls out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from trainers.irl.algorithm import LangGoalIRL
from trainers.irl.config import IRLConfig

pytestmark = pytest.mark.ray
Build = Callable[[IRLConfig], LangGoalIRL]


def weights(algorithm: LangGoalIRL) -> dict[str, np.ndarray]:
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    )
    return state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]


def test_runners_do_not_change_what_is_rolled_out_or_learnt(build: Build, tiny: IRLConfig) -> None:
    trained = []
    for runners in (0, 1, 2):
        algorithm = build(replace(tiny, runners=runners))
        while not algorithm.finished:
            algorithm.train()
        trained.append(algorithm)
        algorithm.stop()
    alone = trained[0]
    assert alone.counts["episodes"] == 3 * tiny.episodes_per_iteration
    for other in trained[1:]:
        assert other.counts == alone.counts
        for ours, theirs in (
            (alone.negatives, other.negatives),
            (alone.positives, other.positives),
        ):
            assert len(ours) == alone.counts["episodes"]
            for name, values in ours.state().items():
                np.testing.assert_array_equal(values, theirs.state()[name], err_msg=name)
        mine, others = weights(alone), weights(other)
        assert mine.keys() == others.keys()
        for name, value in mine.items():
            np.testing.assert_array_equal(value, others[name], err_msg=name)
