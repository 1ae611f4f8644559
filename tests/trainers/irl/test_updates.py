"""One update of each method: which losses it has, and which networks learn from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rayforge.irl.replay import Replay
from rayforge.paths.arrays import join_paths
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import random_walk, walk
from trainers.irl.learner import AgentLearner, Role
from trainers.irl.module import AgentModule, path_batch
from trainers.irl.pairs import pairs_of_update
from trainers.irl.task import Task


def update(
    task: Task, config: IRLConfig, improve: bool = True
) -> tuple[AgentModule, dict[str, Tensor]]:
    """A module, started as training starts it, with the gradients of one update; its figures."""
    torch.manual_seed(0)
    module = AgentModule(model_config=sizes_of(config, task))
    module.attach(task.world)
    if config.adversarial and config.cloning_first:
        module.start_from_policy()
    if config.reward_from:
        for frozen in (module.reward, module.reward_sentence):
            assert frozen is not None
            frozen.requires_grad_(False)
    train = task.splits["train"]
    walked = walk(task.data.buildings, train, config.max_steps, random_walk(1))
    told = Replay(64, config.max_steps, config.max_words)
    told.add(walked, np.arange(len(walked)))
    parts = pairs_of_update(
        config, train, told, told, train.paths, improve, np.random.default_rng(0)
    )
    columns = path_batch(join_paths([paths for paths, _ in parts]))
    columns["role"] = np.concatenate([np.full(len(paths), int(role)) for paths, role in parts])
    batch = {name: torch.from_numpy(values) for name, values in columns.items()}
    present = Role(0)
    for _, role in parts:
        present |= role
    figures: dict[str, Tensor] = {}
    learner = AgentLearner.__new__(AgentLearner)
    learner._act(module, config, batch, present, figures).backward()
    return module, figures


def learning(module: AgentModule) -> set[str]:
    return {
        name.split(".")[0]
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
    }


@pytest.mark.parametrize(
    ("settings", "networks"),
    [
        ({}, {"policy", "reward", "critics"}),
        ({"method": "gail"}, {"policy", "reward", "critics"}),
        ({"method": "completion"}, {"policy", "reward", "critics"}),
        ({"method": "hindsight"}, {"policy"}),
        ({"reward_from": "another"}, {"policy", "critics"}),
    ],
)
def test_networks_that_learn(
    task: Task, tiny: IRLConfig, settings: dict[str, Any], networks: set[str]
) -> None:
    module, figures = update(task, replace(tiny, **settings))
    assert learning(module) == networks
    assert all(bool(torch.isfinite(value)) for value in figures.values())


@pytest.mark.parametrize("method", ["gail", "completion"])
def test_a_warm_start_is_an_equilibrium_for_the_baselines_too(
    task: Task, tiny: IRLConfig, method: Any
) -> None:
    """Q = log pi and a reward that says nothing yet: V = 0 and the critics have nothing to learn
    from it (but that a completion is half believed, worth 1/2 at every STOP)."""
    still = replace(tiny, method=method, network=replace(tiny.network, dropout=0.0))
    _, figures = update(task, still, improve=False)
    # The second critic is told apart by a little noise.
    assert abs(float(figures["critic/value"])) < 0.05
    assert (float(figures["critic/loss"].detach()) < 0.01) == (method == "gail")
    assert float(figures["discriminator/loss"].detach()) == pytest.approx(2 * np.log(2), abs=1e-5)
