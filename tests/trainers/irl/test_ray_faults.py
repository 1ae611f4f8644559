"""Runners that are killed, and environments that raise, in the middle of sampling."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.graph.simulator import GraphSimulator, SimulatorError
from rayforge.irl.replay import Replay
from trainers.irl.algorithm import LangGoalIRL
from trainers.irl.config import IRLConfig
from trainers.irl.runner import PathRunner

pytestmark = pytest.mark.ray
Build = Callable[[IRLConfig], LangGoalIRL]


def pids(algorithm: LangGoalIRL) -> dict[int, int]:
    """Process of each healthy runner, by its number."""
    return dict(
        algorithm.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, os.getpid()), local_env_runner=False
        )
    )


def on(algorithm: LangGoalIRL, runner: int, function: Callable[[PathRunner], None]) -> None:
    algorithm.env_runner_group.foreach_env_runner(
        function, remote_worker_ids=[runner], local_env_runner=False
    )


def die_in_step(number: int) -> Callable[[PathRunner], None]:
    """Makes a runner's process kill itself when its simulator takes step `number`."""

    def arm(runner: PathRunner) -> None:
        import os
        import signal

        taken, step = [0], runner.agents.simulator.step

        def last_step(*args: Any) -> None:
            taken[0] += 1
            if taken[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            step(*args)

        runner.agents.simulator.step = last_step

    return arm


def train_until(algorithm: LangGoalIRL, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "did not come about in 200 s of training"
        algorithm.train()


def assert_every_episode_once(replay: Replay, count: int) -> None:
    assert sorted(replay.state()["serial"].tolist()) == list(range(count))


def test_a_killed_runner_is_replaced_and_no_episode_is_lost_or_doubled(
    build: Build, tiny: IRLConfig
) -> None:
    algorithm = build(replace(tiny, runners=2, warm_start=False, updates=10_000))
    group = algorithm.env_runner_group
    train_until(algorithm, lambda: algorithm.counts["irl"] > 0)
    before = pids(algorithm)
    assert sorted(before) == [1, 2]

    # In the middle of its first chunk of a round; the other runner takes its chunks over.
    on(algorithm, 1, die_in_step(3))
    algorithm.train()
    assert_every_episode_once(algorithm.negatives, algorithm.counts["episodes"])

    # From outside, at whatever moment it is caught, while the first is still being replaced.
    killer = threading.Timer(0.05, os.kill, (before[2], signal.SIGKILL))
    killer.start()
    algorithm.train()
    killer.join()
    algorithm.train()
    assert_every_episode_once(algorithm.negatives, algorithm.counts["episodes"])

    train_until(algorithm, lambda: group.num_healthy_remote_env_runners() == 2)
    after = pids(algorithm)
    assert sorted(after) == [1, 2]
    assert not set(after.values()) & set(before.values())
    algorithm.train()
    assert_every_episode_once(algorithm.negatives, algorithm.counts["episodes"])
    assert_every_episode_once(algorithm.positives, algorithm.counts["episodes"])


def break_viewpoint(viewpoint: int) -> Callable[[PathRunner], None]:
    """Makes a runner's environment raise where an episode stands at `viewpoint`."""

    def arm(runner: PathRunner) -> None:
        step = runner.agents.simulator.step

        def step_or_raise(action: np.ndarray) -> None:
            simulator = runner.agents.simulator
            if (simulator.viewpoint[~simulator.done] == viewpoint).any():
                raise ValueError("the floor has a hole")
            step(action)

        runner.agents.simulator.step = step_or_raise

    return arm


@pytest.mark.parametrize("runners", [0, 1])
def test_an_environment_that_raises_names_its_episode_and_the_others_are_kept(
    build: Build, tiny: IRLConfig, capfd: pytest.CaptureFixture[str], runners: int
) -> None:
    algorithm = build(replace(tiny, runners=runners, relabel=False, augment=False))
    split = algorithm.train_split
    rows = np.arange(len(split)).repeat(3)
    whole = algorithm.roll_out(split, rows, sample=True)
    viewpoint = int(split.paths.viewpoint[0, 0])
    visits = np.concatenate(
        [
            (result.rollout.paths.viewpoint == viewpoint).any(1)
            for result in whole
            if result.rollout is not None
        ]
    )
    expected = np.flatnonzero(visits)
    assert 0 < len(expected) < len(rows)

    algorithm.env_runner_group.foreach_env_runner(
        break_viewpoint(viewpoint), local_env_runner=not runners
    )
    algorithm.counts["episodes"] = 0  # the same round again: the same seeds
    capfd.readouterr()
    results = algorithm.roll_out(split, rows, sample=True)

    lost = np.setdiff1d(np.arange(len(rows)), np.concatenate([r.numbers for r in results]))
    np.testing.assert_array_equal(lost, expected)
    messages = [message for result in results for message in result.failures]
    assert len(messages) == len(expected)
    episode = split.episodes[int(rows[expected[0]])]
    assert messages[0] == (
        f"building {episode.scan}, episode {episode.episode_id}: ValueError: the floor has a hole"
    )
    assert f"left out: {messages[0]}" in capfd.readouterr().out
    for result, before in zip(results, whole, strict=True):
        assert result.rollout is not None
        assert before.rollout is not None
        np.testing.assert_array_equal(
            result.rollout.paths.action, before.rollout.paths.action[result.rows]
        )


def test_a_simulator_error_is_told_the_same_way(build: Build, tiny: IRLConfig) -> None:
    algorithm = build(replace(tiny, relabel=False, augment=False))
    runner = algorithm.env_runner_group.local_env_runner

    class Refusing(GraphSimulator):
        def step(self, action: np.ndarray, waiting: np.ndarray | None = None) -> None:
            super().step(np.full(len(self.done), self.actions), waiting)

    runner.agents.simulator = Refusing(algorithm.task.data.buildings, algorithm.irl.max_steps)
    split = algorithm.train_split
    first = split.episodes[0]
    with pytest.raises(RuntimeError, match="every episode failed") as caught:
        algorithm.roll_out(split, np.arange(4), sample=True)
    assert f"building {first.scan}, episode {first.episode_id}: SimulatorError" in str(caught.value)
    assert SimulatorError.__name__ in str(caught.value)


def test_a_fault_of_a_runner_itself_ends_the_round_with_its_cause(
    build: Build, tiny: IRLConfig
) -> None:
    algorithm = build(replace(tiny, runners=1))
    split = algorithm.train_split

    def arm(runner: PathRunner) -> None:
        del runner.agent.generator  # a bug would look like this

    on(algorithm, 1, arm)
    with pytest.raises(RuntimeError, match="a runner failed between building house") as caught:
        algorithm.roll_out(split, np.arange(8), sample=True, label=True)
    assert "has no attribute 'generator'" in str(caught.value)
    assert algorithm.env_runner_group.num_healthy_remote_env_runners() == 1
