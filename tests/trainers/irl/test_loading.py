"""A trained agent in the public Gymnasium environments does what its evaluation says."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs.graph_env
from rayforge.errors import RunError
from rayforge.irl.acting import ActingAgent
from tests.trainers.conftest import untrained_run
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import scores_of
from trainers.irl.loading import load_agent
from trainers.irl.task import Task, read_task

assert envs.graph_env  # registers the environments


@pytest.fixture(scope="module")
def whole(houses: Path, tiny: IRLConfig) -> Task:
    return read_task(houses, tiny, ("train", "val_unseen"))


@pytest.fixture(scope="module")
def agent(tiny: IRLConfig, whole: Task, tmp_path_factory: pytest.TempPathFactory) -> ActingAgent:
    return load_agent(untrained_run(tmp_path_factory.mktemp("loading") / "run", tiny, whole))


def evaluated(agent: ActingAgent, task: Task) -> dict[str, np.ndarray]:
    return scores_of(agent.agent.policy, task.world, task.splits["val_unseen"])


def test_one_environment_gives_the_success_of_the_evaluation(
    agent: ActingAgent, whole: Task
) -> None:
    values = evaluated(agent, whole)
    env = gym.make(
        "rayforge/GraphGoal-v0", data=whole.data, split="val_unseen", **agent.environment
    )
    moved = 0
    for row, episode in enumerate(whole.splits["val_unseen"].episodes):
        seen, info = env.reset(options={"episode_id": episode.episode_id})
        start, ended = info["distance"], False
        agent.reset()
        while not ended:
            seen, reward, ended, _, info = env.step(agent.act(seen))
        assert reward == values["success"][row]
        assert info["distance"] == pytest.approx(values["navigation_error"][row])
        assert info["forced_stop"] == values["forced_stop"][row]
        moved += info["distance"] != start
    assert moved > 3


def test_a_batch_acts_as_its_rows_do_alone(agent: ActingAgent, whole: Task) -> None:
    ids = [e.episode_id for e in whole.splits["val_unseen"].episodes[:6]]
    batch = gym.make_vec(
        "rayforge/GraphGoal-v0", num_envs=6, vectorization_mode="vector_entry_point",
        data=whole.data, split="val_unseen", **agent.environment,
    )  # fmt: skip
    alone = gym.make(
        "rayforge/GraphGoal-v0", data=whole.data, split="val_unseen", **agent.environment
    )
    actions: list[list[int]] = []
    for name in ids:
        seen, _ = alone.reset(options={"episode_id": name})
        agent.reset()
        done, ended = [], False
        while not ended:
            done.append(agent.act(seen))
            seen, _, ended, _, _ = alone.step(done[-1])
        actions.append(done)
    agent.reset()
    seen, _ = batch.reset(seed=0, options={"episode_id": ids})
    ended = np.zeros(6, bool)
    for step in range(max(map(len, actions))):
        agent.reset(ended)  # their next episode begins: what the last left is forgotten
        together = agent.act_batch(seen)
        for row, done in enumerate(actions):
            if step < len(done):
                assert together[row] == done[step]
        seen, _, ended, _, _ = batch.step(together)


def test_rows_that_begin_anew_act_as_at_first(agent: ActingAgent, whole: Task) -> None:
    env = gym.make_vec(
        "rayforge/GraphGoal-v0", num_envs=3, vectorization_mode="vector_entry_point",
        data=whole.data, split="val_unseen", **agent.environment,
    )  # fmt: skip
    agent.reset()
    first, _ = env.reset(seed=1)
    began = agent.act_batch(first)
    agent.act_batch(env.step(began)[0])
    agent.reset(np.array([0, 2]))
    again = agent.act_batch(first)
    assert again[[0, 2]].tolist() == began[[0, 2]].tolist()


def test_what_the_agent_cannot_read_is_refused(
    agent: ActingAgent, untrained: Path, tmp_path: Path
) -> None:
    agent.reset()
    with pytest.raises(ValueError, match="the observation has no 'sectors'; it has mask, tokens"):
        agent.act({"tokens": np.zeros(80, int), "mask": np.zeros(3)})
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "vocabulary.json", "objects.json"):
        (tmp_path / "run" / name).write_text((untrained / name).read_text())
    with pytest.raises(RunError, match="has no checkpoint yet"):
        load_agent(tmp_path / "run")


def test_an_agent_without_text_reads_none(agent: ActingAgent, tiny: IRLConfig, whole: Task) -> None:
    silent = ActingAgent(agent.agent, whole.vocabulary, tiny.max_steps, text=False)
    assert silent.encode("go left").tolist() == silent.encode("stop").tolist()
    assert (agent.encode("go left") != agent.encode("stop")).any()
