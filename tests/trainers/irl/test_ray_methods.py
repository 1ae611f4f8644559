"""Every method trains by the same algorithm, and begins from another run's networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from rayforge.errors import ConfigurationError
from tests.trainers.conftest import Trained
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import load_run
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import latest, load_module

pytestmark = pytest.mark.ray
Build = Callable[[IRLConfig], LangGoalIRL]


def weights(algorithm: LangGoalIRL) -> dict[str, np.ndarray]:
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    )
    taken: dict[str, np.ndarray] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    return {name: np.array(value) for name, value in taken.items()}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """The networks of which anything changed."""
    return {name.split(".")[0] for name in after if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("method", "networks"),
    [
        ("gail", {"policy", "reward", "critics", "targets"}),
        ("completion", {"policy", "reward", "critics", "targets"}),
        ("hindsight", {"policy"}),
        ("forcing", {"policy"}),
    ],
)
def test_a_baseline_trains_what_it_has(
    build: Build, tiny: IRLConfig, method: Any, networks: set[str]
) -> None:
    config = replace(tiny, method=method, clone_updates=2, updates=4, warm_up=0)
    algorithm = build(config)
    while algorithm.phase != "irl":
        algorithm.train()
    before = weights(algorithm)
    result: dict[str, Any] = {}
    while not algorithm.finished:
        result = algorithm.train()
    assert algorithm.counts["irl"] == 4
    assert algorithm.counts["episodes"] == 2 * config.episodes_per_iteration
    assert moved(before, weights(algorithm)) == networks
    assert len(algorithm.positives) == (
        algorithm.counts["episodes"] if method == "hindsight" else 0
    )
    figures = result["learners"][DEFAULT_MODULE_ID]
    assert np.isfinite(figures["clone/loss"])
    assert ("discriminator/loss" in figures) == ("reward" in networks)


def begin(trained: Trained, task: Task, **settings: Any) -> tuple[IRLConfig, LangGoalIRL]:
    config, _, _ = load_run(trained.run)
    config = replace(config, **settings)
    task = read_task(task.folder, config, ("train",))  # type: ignore[assignment]
    return config, LangGoalIRLConfig().for_task(config, task).build_algo().start(task)


def test_a_run_begins_from_another_ones_generator_and_clone(
    cluster: None, trained: Trained, task: Task
) -> None:
    where = latest(trained.run / "checkpoints")
    assert where is not None
    source, state = load_module(where)
    own = load_run(trained.run)[0]
    choosing = replace(own.generator, candidates=3)  # used otherwise, and learnt alike
    assert choosing != own.generator
    for method in ("langgoal", "completion"):
        _, algorithm = begin(trained, task, start_from=str(trained.run), method=method, updates=2,
                             generator=choosing)  # fmt: skip
        try:
            taken = weights(algorithm)
            shared = [k for k in taken if k.startswith(("policy.", "generator."))]
            assert any(k.startswith("generator.") for k in shared) == (method == "langgoal")
            for name in shared:
                np.testing.assert_array_equal(taken[name], source[name], err_msg=name)
            assert algorithm.counts["clone"] == state["counts"]["clone"] > 0
            assert algorithm.counts["irl"] == 0
            assert algorithm.phase == "irl"
            assert algorithm.seconds_before == state["elapsed"]
        finally:
            algorithm.stop()
    with pytest.raises(ConfigurationError, match=r"network is .* they must be the same"):
        begin(trained, task, start_from=str(trained.run),
              network=replace(own.network, hidden=32))  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"generator is .* they must be the same"):
        begin(trained, task, start_from=str(trained.run),
              generator=replace(own.generator, free_nats=1.0))  # fmt: skip
    with pytest.raises(ConfigurationError, match="its buildings is"):
        begin(trained, task, start_from=str(trained.run), buildings=("house00000",))


def test_a_frozen_reward_trains_a_policy_from_scratch(
    cluster: None, trained: Trained, task: Task
) -> None:
    where = latest(trained.run / "checkpoints")
    assert where is not None
    source, _ = load_module(where)
    _, algorithm = begin(
        trained, task, reward_from=str(trained.run), buildings=("house00001",), updates=4, warm_up=0
    )
    try:
        before = weights(algorithm)
        while not algorithm.finished:
            algorithm.train()
        after = weights(algorithm)
    finally:
        algorithm.stop()
    assert algorithm.counts["clone"] == algorithm.counts["generator"] == 0
    assert len(algorithm.positives) == 0
    assert moved(before, after) == {"policy", "critics", "targets"}
    assert set(algorithm.train_split.building) == {0}, "the other building is not even loaded"
    for name, value in after.items():
        if name.startswith("reward."):
            np.testing.assert_array_equal(value, source[name], err_msg=name)
        if name.startswith("reward_instruction_encoder."):
            own = name.replace("reward_instruction_encoder.", "policy.instruction_encoder.")
            np.testing.assert_array_equal(value, source[own], err_msg=name)
        if name.startswith("policy.") and value.ndim > 1:
            assert not np.array_equal(value, source[name]), "nothing of the policy came along"
