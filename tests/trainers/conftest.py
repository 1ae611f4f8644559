"""Tiny generated houses, a tiny agent, and the one Ray cluster that these tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import ray
import torch

from envs.houses.dataset import write_houses
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.agent import Agent
from rayforge.irl.config import NetworkConfig
from trainers.cluster import start_here
from trainers.configuration import to_dict, to_yaml
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig, sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import save_checkpoint

Build = Callable[[IRLConfig], LangGoalIRL]


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two houses to train in and an unseen one, with a few paths each; not to be changed."""
    folder = tmp_path_factory.mktemp("data") / "houses"
    write_houses(folder, train_houses=2, unseen_houses=1, paths_per_house=6, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny(houses: Path) -> IRLConfig:
    """Every part of LangGoalIRL, each at a size that takes a moment.

    What an iteration rolls out is more than one chunk, so that runners share it.
    """
    return IRLConfig(
        data=str(houses),
        network=NetworkConfig(word=16, hidden=16),
        generator=GeneratorConfig(word=16, hidden=16, latent=4, updates=4, batch=8, candidates=2),
        clone_updates=4,
        updates=6,
        updates_per_iteration=2,
        episodes_per_iteration=160,
        batch=8,
        positives=8,
        negatives=8,
        warm_up=2,
        max_steps=10,
        threads=1,
    )


@pytest.fixture(scope="session")
def task(houses: Path, tiny: IRLConfig) -> Task:
    """The houses' training split as that agent reads it."""
    return read_task(houses, tiny, ("train",))


class Trained(NamedTuple):
    """A run of the real command, from start to end."""

    run: Path
    arguments: tuple[str, ...]
    """What it was started with, but for --run."""
    output: str


@pytest.fixture(scope="session")
def trained(tiny: IRLConfig, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`rayforge irl train` of the whole of LangGoalIRL, in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(to_yaml(tiny))
    arguments = ("--config", str(folder / "tiny.yaml"), "--updates", "24")
    command = [sys.executable, "-m", "trainers.cli", "irl", "train", *arguments]
    done = subprocess.run(
        [*command, "--run", str(folder / "run")],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "API stack" not in done.stderr, "RLlib's own announcements are no news to a user"
    return Trained(folder / "run", arguments, done.stdout)


def untrained_run(folder: Path, config: IRLConfig, task: Task) -> Path:
    """A run folder whose only checkpoint holds random weights: made in a moment, without Ray."""
    torch.manual_seed(config.seed)
    agent = Agent(**sizes_of(config, task))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "vocabulary.json").write_text(task.vocabulary.to_json())
    (folder / "objects.json").write_text(json.dumps(task.objects))
    weights = {name: value.numpy() for name, value in agent.state_dict().items()}
    state = {"config": to_dict(config), "data": task.fingerprint, "counts": {}}
    save_checkpoint(folder / "checkpoints", 0, weights, {}, {}, state)
    return folder


@pytest.fixture(scope="session")
def untrained(tiny: IRLConfig, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`untrained_run` of the tiny agent; not to be changed."""
    return untrained_run(tmp_path_factory.mktemp("untrained") / "run", tiny, task)


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[None]:
    """Ends the Ray that tests share with the last of them."""
    yield
    ray.shutdown()


@pytest.fixture
def cluster(shared_ray: None) -> None:
    """Ray with CPUs for a learner and two runners, whatever the machine has; started where it does
    not run, or where Ray has started itself since, with as many CPUs as the machine has."""
    torch.set_num_threads(1)
    if not ray.is_initialized() or ray.cluster_resources().get("CPU") != 3:
        ray.shutdown()
        start_here(3)


@pytest.fixture
def build(cluster: None, task: Task) -> Iterator[Build]:
    """Makes algorithms on the shared cluster and stops them at the end of the test."""
    made: list[LangGoalIRL] = []

    def make(config: IRLConfig) -> LangGoalIRL:
        algorithm = LangGoalIRLConfig().for_task(config, task).build_algo().start(task)
        made.append(algorithm)
        return algorithm

    yield make
    for algorithm in made:
        algorithm.stop()
