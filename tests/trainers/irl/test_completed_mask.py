"""An agent that is told where the object is that its instruction names: trained and rolled out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.houses.dataset import write_houses
from envs.simulators.simulator import Camera, SimulatorConfig
from rayforge.amodal.network import AmodalNetwork
from rayforge.errors import ConfigurationError, RunError
from rayforge.irl.agent import Agent
from rayforge.irl.config import NetworkConfig
from rayforge.irl.pairs import path_batch
from rayforge.irl.rollout import follow_goals
from rayforge.paths.observation import SECTORS
from trainers.amodal.config import VideoConfig
from trainers.configuration import from_dict, to_dict
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import save_checkpoint


def amodal_run(folder: Path, side: int) -> Path:
    torch.manual_seed(0)
    config = VideoConfig(channels=4, hidden=8, side=side)
    network = AmodalNetwork(config, side, side)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    state = {"config": to_dict(config), "height": side, "width": side, "loss": 0.0}
    save_checkpoint(folder / "checkpoints", 1, weights, {}, {}, state)
    return folder


def config_with(run: str) -> IRLConfig:
    return IRLConfig(
        env="continuous", method="gcbc", max_walk=70,
        simulation=SimulatorConfig(camera=Camera(width=16, height=16)),
        network=NetworkConfig(word=8, hidden=8, view=8, completed_mask=run),
    )  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Task[Any], Task[Any]]]:
    """The data, and the task with and without completed masks."""
    folder = tmp_path_factory.mktemp("told") / "data"
    write_houses(folder, train_houses=2, unseen_houses=0, paths_per_house=3, seed=0)
    run = amodal_run(folder.parent / "amodal", 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        with_masks = read_task(folder, config_with(str(run)), ("train",))
        yield folder, with_masks, read_task(folder, config_with(""), ("train",))


def test_instructions_name_objects_that_are_then_seen(
    told: tuple[Path, Task[Any], Task[Any]],
) -> None:
    _, task, _ = told
    completion, paths = task.world.completion, task.splits["train"].paths
    assert (completion.named(paths.tokens) >= 0).mean() > 0.3
    figures = _figures(task)
    assert (figures[..., 0] > 0).any()
    assert (figures[..., 1] >= figures[..., 0]).all()  # what is there is at least what is seen


def _figures(task: Task[Any]) -> torch.Tensor:
    """What the observer adds for each demonstration, [n, T, SECTORS, 2]."""
    columns = path_batch(task.splits["train"].paths)
    batch = {name: torch.from_numpy(array) for name, array in columns.items()}
    observer = task.world.observer()
    first: torch.Tensor = observer._named_objects(batch)
    assert torch.equal(first, observer._named_objects(batch))  # made once, taken again
    return first


@torch.no_grad()
def test_a_learner_is_told_what_the_agent_was_told(told: tuple[Path, Task[Any], Task[Any]]) -> None:
    folder, task, _ = told
    config = config_with(str(folder.parent / "amodal"))
    torch.manual_seed(1)
    agent = Agent(**agent_sizes(config, len(task.vocabulary), None)).eval()
    assert agent.policy.image_encoder is not None
    observer = task.world.observer()
    goals = task.splits["train"].paths[:9]
    draws = np.random.default_rng(2).random((9, config.max_walk), np.float32)
    rollout = follow_goals(agent.policy, task.world.agents(observer), goals, draws)
    walks = rollout.paths
    assert len(set(walks.length.tolist())) > 2
    agent.attach(task.world.observer())
    assert not any("completion" in name for name in agent.state_dict())
    walks = walks.with_frames(agent.observer.frames.keep(task.world.film(walks)))
    columns = {name: torch.from_numpy(array) for name, array in path_batch(walks).items()}
    seen = agent.observe(columns, agent.policy.image_encoder)
    log_pi = agent.policy(
        seen, agent.policy.instruction_encoder(columns["tokens"]), columns["length"]
    )
    taken = log_pi.gather(-1, columns["action"][..., None]).squeeze(-1).exp()
    real = torch.arange(taken.shape[1]) < columns["length"][:, None]
    torch.testing.assert_close(
        taken[real], torch.from_numpy(rollout.probability[:, : taken.shape[1]])[real],
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip


def test_what_is_felt_is_where_the_walk_leads(told: tuple[Path, Task[Any], Task[Any]]) -> None:
    _, task, _ = told
    paths = task.splits["train"].paths
    position, yaw = task.world.observer().felt(paths.action[:, :-1], paths.moved[:, :-1])
    for row, length in enumerate(paths.length):
        turned = yaw[row, :length] + paths.yaw[row, 0] - paths.yaw[row, :length]
        assert np.abs(np.angle(np.exp(1j * turned))).max() < 1e-3
        first = paths.yaw[row, 0]
        x, z = position[row, :length, 0], position[row, :length, 2]
        there = np.stack([np.cos(first) * x + np.sin(first) * z,
                          np.cos(first) * z - np.sin(first) * x], 1)  # fmt: skip
        real = paths.position[row, :length][:, [0, 2]] - paths.position[row, 0, [0, 2]]
        bumped = (paths.moved[row, :length] < 100) & (paths.action[row, :length] == 1)
        free = np.cumsum(bumped) - bumped == 0  # until it first slides along something
        assert np.abs(0.25 * there - real)[free].max() < 0.05


@torch.no_grad()
def test_without_it_nothing_changes(told: tuple[Path, Task[Any], Task[Any]]) -> None:
    _, task, plain = told
    assert plain.world.completion is None and plain.fingerprint == task.fingerprint
    torch.manual_seed(1)
    agent = Agent(**agent_sizes(config_with(""), len(plain.vocabulary), None)).eval()
    columns = path_batch(plain.splits["train"].paths[:4])
    batch = {name: torch.from_numpy(array) for name, array in columns.items()}
    agent.attach(plain.world.observer())
    seen = agent.observe(batch, agent.policy.image_encoder)
    assert agent.policy.image_encoder is not None
    images = agent.observer.frames.gather(columns["frames"][:1], columns["length"][:1])
    codes = agent.policy.image_encoder(torch.from_numpy(images))
    assert torch.equal(seen.state[0, : len(images)].view(-1, SECTORS, 8), codes)


def test_what_cannot_be_is_one_line(
    told: tuple[Path, Task[Any], Task[Any]], tmp_path: Path
) -> None:
    folder, _, _ = told
    with pytest.raises(ConfigurationError, match="takes images of 32 x 32 pixels"):
        read_task(folder, config_with(str(amodal_run(tmp_path / "large", 32))), ("train",))
    with pytest.raises(RunError, match="is no run with a checkpoint"):
        read_task(folder, config_with(str(tmp_path / "nowhere")), ("train",))
    settings = to_dict(config_with("somewhere"))
    with pytest.raises(ConfigurationError, match='needs env "continuous" and method "gcbc"'):
        from_dict(IRLConfig, {**settings, "method": "langgoal"})
    settings["simulation"]["camera"]["semantic"] = False
    with pytest.raises(ConfigurationError, match="with colour, depth and semantic"):
        from_dict(IRLConfig, settings)
    with pytest.raises(ValueError, match="needs a view of 4"):
        replace(NetworkConfig(completed_mask="x"), view=3)
