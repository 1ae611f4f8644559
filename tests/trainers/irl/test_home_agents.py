"""Agents in 3-D scenes: what they see on the way is what a learner sees of their walks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from envs.houses.dataset import write_houses
from envs.simulators.simulator import Camera, SimulatorConfig
from rayforge.irl.config import NetworkConfig
from rayforge.irl.image_encoder import ImageEncoder
from rayforge.irl.networks import Policy
from rayforge.irl.pairs import path_batch
from rayforge.irl.rollout import Rollout, follow_goals
from rayforge.paths.arrays import Walks
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task, read_task

CONFIG = IRLConfig(
    env="continuous", simulation=SimulatorConfig(camera=Camera(width=16, height=16)), max_walk=70
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    folder = tmp_path_factory.mktemp("homes") / "data"
    write_houses(folder, train_houses=2, unseen_houses=0, paths_per_house=3, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield read_task(folder, CONFIG, ("train",))


@pytest.fixture(scope="module")
def policy(task: Task) -> Policy:
    torch.manual_seed(1)
    image_encoder = ImageEncoder(16, 8, 4, semantic=True)
    return Policy(len(task.vocabulary), 8, NetworkConfig(word=8, hidden=8), image_encoder).eval()


@pytest.fixture(scope="module")
def rollout(task: Task, policy: Policy) -> Rollout[Walks]:
    observer = task.world.observer()
    agents = task.world.agents(observer)
    draws = np.random.default_rng(2).random((9, CONFIG.max_walk), np.float32)
    return follow_goals(policy, agents, task.splits["train"].paths[:9], draws)


@torch.no_grad()
def test_a_learner_sees_what_the_agent_saw(
    task: Task, policy: Policy, rollout: Rollout[Walks]
) -> None:
    walks = rollout.paths
    assert len(set(walks.length.tolist())) > 2 and (walks.moved > 0).any()
    observer = task.world.observer()
    walks = walks.with_frames(observer.frames.keep(task.world.film(walks)))
    columns = {name: torch.from_numpy(array) for name, array in path_batch(walks).items()}
    seen = observer.observe_batch(columns, policy.image_encoder)
    log_pi = policy(seen, policy.instruction_encoder(columns["tokens"]), columns["length"])
    taken = log_pi.gather(-1, columns["action"][..., None]).squeeze(-1).exp()
    real = torch.arange(taken.shape[1]) < columns["length"][:, None]
    steps = taken.shape[1]
    torch.testing.assert_close(
        taken[real], torch.from_numpy(rollout.probability[:, :steps])[real], atol=1e-5, rtol=1e-4
    )


def test_the_steps_an_agent_feels_are_the_metres_it_walked(rollout: Rollout[Walks]) -> None:
    walks = rollout.paths
    for row, length in enumerate(walks.length):
        path = walks.position[row, :length]
        metres = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        steps = walks.action[row, :length] == 1
        told = 0.25 * walks.moved[row, :length][steps].sum() / 100
        assert told == pytest.approx(metres, abs=0.002 * max(1, steps.sum()))
