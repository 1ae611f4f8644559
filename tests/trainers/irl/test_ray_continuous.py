"""LangGoalIRL in 3-D scenes: the same run whoever rolls out, deaths of simulators, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.exceptions import ObjectLostError
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from envs.houses.dataset import write_houses
from envs.simulators.process import SimulatorProcess
from envs.simulators.simulator import Camera, SimulatorConfig
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from trainers.configuration import to_yaml
from trainers.irl.algorithm import LangGoalIRL, LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.run import restore_algorithm, save_algorithm
from trainers.irl.task import Task, read_task
from trainers.runs.checkpoint import latest, load_checkpoint

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own for walks and images."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def homes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "homes"
    write_houses(folder, train_houses=2, unseen_houses=1, paths_per_house=4, seed=0)
    return folder


@pytest.fixture(scope="module")
def config(homes_folder: Path) -> IRLConfig:
    """Every part of LangGoalIRL at a size that takes a moment; two chunks an iteration."""
    return IRLConfig(
        env="continuous", data=str(homes_folder),
        simulation=SimulatorConfig(camera=Camera(width=16, height=16)),
        network=NetworkConfig(word=8, hidden=8, view=8),
        generator=GeneratorConfig(word=8, hidden=8, latent=4, updates=2, batch=6),
        clone_updates=2, updates=4, updates_per_iteration=2, episodes_per_iteration=70,
        batch=6, positives=3, negatives=4, warm_up=1, max_walk=90, threads=1,
        evaluate=("val_unseen",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def task(config: IRLConfig, homes_folder: Path) -> Task:
    return read_task(homes_folder, config, ("train",))


def build(config: IRLConfig, task: Task) -> LangGoalIRL:
    return LangGoalIRLConfig().for_task(config, task).build_algo().start(task)


def weights(algorithm: LangGoalIRL) -> dict[str, np.ndarray]:
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    )
    return state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]


def test_runners_do_not_change_what_is_rolled_out_or_learnt(
    cluster: None, config: IRLConfig, task: Task
) -> None:
    found = []
    for runners in (0, 2):
        algorithm = build(replace(config, runners=runners), task)
        start = weights(algorithm)
        while not algorithm.finished:
            algorithm.train()
        found.append((algorithm.negatives.state(), algorithm.positives.state(), weights(algorithm)))
        assert algorithm.images is not None
        for row in (0, 69):  # what is kept of a roll-out is what is seen from its poses
            walk = algorithm.negatives.paths[np.array([row])]
            kept = algorithm.images.store.gather(walk.frames, walk.length)
            np.testing.assert_array_equal(kept, task.world.film(walk)[0])
        moved = [k for k, v in found[-1][2].items() if not np.array_equal(v, start[k])]
        for network in (
            "policy.image_encoder",
            "generator.image_encoder",
            "reward",
            "critics",
            "targets",
        ):
            assert any(name.startswith(network) for name in moved), network
        algorithm.stop()
    for mine, theirs in zip(*found, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def go_on(algorithm: LangGoalIRL, updates: int) -> None:
    while algorithm.counts["irl"] < updates:
        algorithm.train()


def test_learners_in_other_processes_learn_what_one_learns(
    cluster: None, config: IRLConfig, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With roll-outs beside updates; at last the runner that made some images is killed."""
    steady = replace(config.network, dropout=0.0, feature_dropout=0.0)
    settings = replace(config, network=steady, updates=6, runners=1, staleness=2)
    two = build(replace(settings, learners=2), task)
    go_on(two, 2)
    saved = load_checkpoint(save_algorithm(two, tmp_path, {}))
    go_on(two, 4)
    whole = weights(two)
    restore_algorithm(two, saved)
    go_on(two, 4)
    for name, value in weights(two).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)

    rendered = []
    film = type(task.world).film
    monkeypatch.setattr(
        type(task.world), "film", lambda world, walks: rendered.append(1) or film(world, walks)
    )
    (result, *_) = two.roll_out(task.splits["train"], np.arange(4), sample=True)
    runner = two.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    assert two.images is not None and result.images is not None
    os.kill(runner[0], signal.SIGKILL)
    with pytest.raises(ObjectLostError):
        for _ in range(600):  # until Ray knows
            ray.get(list(result.images))
            time.sleep(0.1)
    named = two.images.named(result)
    assert named.rollout is not None and rendered == [1]
    walks = named.rollout.paths
    seen = np.concatenate(task.world.film(walks))
    for found in two.learner_group.foreach_learner(
        lambda learner: learner.frames.gather(walks.frames, walks.length)
    ):
        np.testing.assert_array_equal(found.get(), seen)
    two.stop()  # the cluster has no room for another runner before

    one = build(settings, task)
    restore_algorithm(one, saved)
    go_on(one, 4)
    for name, value in weights(one).items():
        np.testing.assert_allclose(value, whole[name], atol=2e-3, err_msg=name)
    one.stop()


def test_a_simulator_that_dies_is_started_again_and_its_episodes_are_named(
    cluster: None, config: IRLConfig, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(config, simulator_processes=True, relabel=False, augment=False)
    task = replace(task, world=replace(task.world, own_process=True))
    algorithm = build(settings, task)
    rows = np.array([0, 3])  # two walks
    whole = algorithm.roll_out(task.splits["train"], rows, sample=False)[0].rollout
    agents = algorithm.env_runner_group.local_env_runner.agents
    first = agents.homes.simulator(0)
    assert isinstance(first, SimulatorProcess) and first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    capsys.readouterr()
    result = algorithm.roll_out(task.splits["train"], rows, sample=False)[0]
    assert not result.failures and result.rollout is not None and whole is not None
    np.testing.assert_array_equal(result.rollout.paths.position, whole.paths.position)
    told = capsys.readouterr().out
    episode = task.splits["train"].episodes[0]
    assert "house00000.glb ended (signal 9) in building house00000, episode" in told
    assert f"episode {episode.episode_id}" in told and "it is started again" in told

    # One that kills its simulator whenever it is walked is named and left out.
    step = agents.homes.step
    worst = task.splits["train"].paths.position[3, 0]

    def deadly(scene: np.ndarray, poses: object, actions: np.ndarray) -> object:
        if (poses.position == worst).all(1).any():  # type: ignore[attr-defined]
            os.kill(agents.homes.simulator(int(scene[0])).pid, signal.SIGKILL)
        return step(scene, poses, actions)

    agents.homes.step = deadly
    result = algorithm.roll_out(task.splits["train"], rows, sample=False)[0]
    episode = task.splits["train"].episodes[3]
    (failure,) = result.failures
    assert f"episode {episode.episode_id}: SimulatorDied" in failure
    assert result.rows.tolist() == [0] and result.rollout is not None
    np.testing.assert_array_equal(result.rollout.paths.position[0], whole.paths.position[0])
    agents.homes.close()
    algorithm.stop()


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "trainers.cli", "irl", *map(str, arguments)]


def finish(*arguments: str | Path) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(1200)
def test_the_command_trains_resumes_evaluates_and_shows(config: IRLConfig, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(to_yaml(config))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    told = finish("train", "--config", tmp_path / "tiny.yaml", "--run", whole)
    assert "RGB-D-semantic 16 x 16, embedded simulator" in told
    arguments = ("--run", broken, "--checkpoint-minutes", "0", "--updates", "4")
    process = subprocess.Popen(
        command("train", "--config", tmp_path / "tiny.yaml", *arguments),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 500
    while (newest := latest(broken / "checkpoints")) is None or int(newest.name) < 6:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "episodes in the replay, as stored" in finish("train", "--resume", broken)
    ends = [load_checkpoint(p) for p in map(latest, (whole / "checkpoints", broken / "checkpoints"))
            if p is not None]  # fmt: skip
    for name, value in ends[0].module.items():
        np.testing.assert_array_equal(value, ends[1].module[name], err_msg=name)
    scores = [json.loads((r / "evaluation_val_unseen.json").read_text()) for r in (whole, broken)]
    assert scores[0]["agents"] == scores[1]["agents"]
    assert scores[0]["agents"]["expert"]["success"]["mean"] == 1.0
    assert (whole / "report.html").is_file() and (whole / "sentences.jsonl").is_file()
    film = Path(finish("watch", whole, "--split", "val_unseen", "--episodes", "1").strip())
    assert film == whole / "watch_val_unseen.mp4" and film.stat().st_size > 10_000
    assert film.with_suffix(".png").is_file()
    assert "val_seen: " in finish("evaluate", whole, "--split", "val_seen")
