"""A trained agent in the public 3-D environment does what its evaluation says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import envs.continuous_env
from envs.continuous_env import read_continuous_data
from envs.houses.dataset import write_houses
from envs.simulators.simulator import Camera, SimulatorConfig
from rayforge.irl.config import NetworkConfig
from tests.trainers.conftest import untrained_run
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import follow
from trainers.irl.loading import load_agent
from trainers.irl.task import Task, read_task

assert envs.continuous_env  # registers the environments
CONFIG = IRLConfig(
    env="continuous", simulation=SimulatorConfig(camera=Camera(width=16, height=16)), max_walk=90,
    method="gcbc", network=NetworkConfig(word=8, hidden=8, view=8),
)  # fmt: skip


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("walks") / "data"
    write_houses(folder, train_houses=2, unseen_houses=1, paths_per_house=3, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def test_act_walks_as_the_evaluation_does(homes: Path, tmp_path: Path) -> None:
    task: Task[Any] = read_task(homes, CONFIG, ("train", "val_unseen"))
    agent = load_agent(untrained_run(tmp_path / "run", CONFIG, task))
    with torch.no_grad():  # random weights hardly move: actions get more even
        agent.agent.policy.scorer.query.weight.mul_(8.0)
    split = task.splits["val_unseen"]
    done = follow(agent.agent.policy, task.world, split, split.paths.tokens)
    values = task.world.score(split, done.paths)
    data = read_continuous_data(homes, "val_unseen", config=CONFIG.simulation)
    env = gym.make("rayforge/ContinuousGoal-v0", data=data, **agent.environment)
    lengths = set()
    for row, episode in enumerate(split.episodes):
        seen, info = env.reset(options={"episode_id": episode.episode_id})
        agent.reset()
        actions, over = [], False
        while not over:
            actions.append(agent.act(seen))
            seen, reward, ended, cut, info = env.step(actions[-1])
            over = ended or cut
        wanted = done.paths.action[row, : done.paths.length[row]].tolist()
        assert actions + [0] * (len(wanted) - len(actions)) == wanted
        assert reward == values["success"][row]
        assert info["distance"] == pytest.approx(values["navigation_error"][row], abs=1e-3)
        lengths.add(len(actions))
    assert np.ptp(list(lengths)) >= 0 and len(split.episodes) >= 3
