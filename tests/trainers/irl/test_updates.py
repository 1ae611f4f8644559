"""One update of each method: which losses it has, and which networks learn from it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from envs.graph.world import random_walk
from rayforge.irl.agent import Agent
from rayforge.irl.pairs import join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import loss_of
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task


def update(task: Task, config: IRLConfig, improve: bool = True) -> tuple[Agent, dict[str, float]]:
    """A module, started as training starts it, with the gradients of one update; its figures."""
    torch.manual_seed(0)
    module = Agent(**sizes_of(config, task))
    module.attach(task.world.observer())
    if config.adversarial and config.cloning_first:
        module.start_from_policy()
    if config.reward_from:
        for frozen in (module.reward, module.reward_instruction_encoder):
            assert frozen is not None
            frozen.requires_grad_(False)
    train = task.splits["train"]
    walked = task.world.walk(train, random_walk(1))
    told = Replay(64, config.max_steps, config.max_words)
    told.add(walked, np.arange(len(walked)))
    parts = pairs_of_update(
        config, train, told, told, train.paths, improve, np.random.default_rng(0)
    )
    batch = {k: torch.from_numpy(v) for k, v in pair_batch(*join_parts(parts)).items()}
    loss, figures = loss_of(module, batch)
    loss.backward()
    return module, figures


def learning(module: Agent) -> set[str]:
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
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("method", ["gail", "completion"])
def test_a_warm_start_is_an_equilibrium_for_the_baselines_too(
    task: Task, tiny: IRLConfig, method: Any
) -> None:
    """Q = log pi and a reward that says nothing yet: V = 0 and the critics have nothing to learn
    from it (but that a completion is half believed, worth 1/2 at every STOP)."""
    still = replace(tiny, method=method, network=replace(tiny.network, dropout=0.0))
    _, figures = update(task, still, improve=False)
    # The second critic is told apart by a little noise.
    assert abs(figures["critic/value"]) < 0.05
    assert (figures["critic/loss"] < 0.01) == (method == "gail")
    assert figures["discriminator/loss"] == pytest.approx(2 * np.log(2), abs=1e-5)
