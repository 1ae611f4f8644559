"""Learners in processes of their own: what one learner would learn, resumed, and one killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from trainers.irl.algorithm import LangGoalIRL
from trainers.irl.config import IRLConfig
from trainers.irl.learner_calls import LearnerLostError
from trainers.irl.run import restore_algorithm, save_algorithm
from trainers.runs.checkpoint import load_checkpoint

pytestmark = pytest.mark.ray
Build = Callable[[IRLConfig], LangGoalIRL]


def weights(algorithm: LangGoalIRL) -> dict[str, np.ndarray]:
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    )
    found: dict[str, np.ndarray] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    return found


def go_on(algorithm: LangGoalIRL, iterations: int) -> dict[str, float]:
    for _ in range(iterations):
        result = algorithm.train()
    found = {k: float(v) for k, v in result["learners"][DEFAULT_MODULE_ID].items() if "/" in k}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def test_two_learners_are_resumed_and_equal_one_and_a_lost_one_is_told(
    build: Build, tiny: IRLConfig, tmp_path: Path
) -> None:
    steady = replace(tiny.network, dropout=0.0, feature_dropout=0.0)
    config = replace(tiny, network=steady, learners=2)
    two = build(config)
    while two.counts["irl"] < 2:
        two.train()
    saved = load_checkpoint(save_algorithm(two, tmp_path, {}))
    figures = go_on(two, 2)
    whole = weights(two)

    restore_algorithm(two, saved)
    resumed = go_on(two, 2)
    for name, value in weights(two).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)
    assert resumed == figures

    one = build(replace(config, learners=0))
    restore_algorithm(one, saved)
    assert go_on(one, 2) == pytest.approx(figures, rel=1e-3, abs=1e-4)
    for name, value in weights(one).items():
        np.testing.assert_allclose(value, whole[name], atol=2e-3, err_msg=name)

    restore_algorithm(two, saved)
    pids = [result.get() for result in two.learner_group.foreach_learner(lambda _: os.getpid())]
    assert len(set(pids) - {os.getpid()}) == 2
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(LearnerLostError, match=r"^a learner was lost \([^\n]*\)$"):
        go_on(two, 1)
