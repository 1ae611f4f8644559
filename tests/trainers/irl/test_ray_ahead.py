"""Roll-outs beside updates, and through aggregators: the bound, and what does not change."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

from trainers.irl.algorithm import LangGoalIRL
from trainers.irl.config import IRLConfig
from trainers.irl.run import restore_algorithm, save_algorithm
from trainers.runs.checkpoint import load_checkpoint

pytestmark = pytest.mark.ray
Build = Callable[[IRLConfig], LangGoalIRL]


def finish(algorithm: LangGoalIRL) -> list[dict[str, float]]:
    """Train to the end; figures of the roll-outs of each round."""
    found = []
    while not algorithm.finished:
        rollout = algorithm.train().get("rollout", {})
        found.append({k: float(v) for k, v in rollout.items() if k != "env_steps_per_s"})
    return [figures for figures in found if "staleness" in figures]


def assert_same(ours: LangGoalIRL, theirs: LangGoalIRL) -> None:
    assert ours.counts == theirs.counts
    for mine, others in ((ours.told, theirs.told), (ours.relabelled, theirs.relabelled)):
        for name, values in mine.state().items():
            np.testing.assert_array_equal(values, others.state()[name], err_msg=name)
    others_state = theirs.agent().state_dict()
    for name, value in ours.agent().state_dict().items():
        np.testing.assert_array_equal(value, others_state[name], err_msg=name)


def kill_aggregator(algorithm: LangGoalIRL) -> None:
    (actor,) = algorithm.nodes.actors.values()
    os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)


def test_rounds_under_way_keep_the_bound_and_repeat_themselves(
    build: Build, tiny: IRLConfig, tmp_path: Path
) -> None:
    """Two runs, of one and of two runners, the second with an aggregator that is killed, and gone
    on with from a checkpoint while two rounds are under way."""
    config = replace(tiny, updates=10, runners=1, staleness=5)
    whole = build(config)
    figures = finish(whole)
    assert [round_["staleness"] for round_ in figures] == [0.0, 2.0, 4.0, 4.0, 4.0]
    assert all(round_["dropped"] == 0.0 for round_ in figures)
    assert figures[0]["importance_effective"] == pytest.approx(1.0, abs=1e-4)
    assert 0.0 < figures[-1]["importance_effective"] < 1.0
    whole.stop()

    other = build(replace(config, runners=2, aggregate_from=1))
    while other.counts["irl"] < 4:
        other.train()
    kill_aggregator(other)
    saved = load_checkpoint(save_algorithm(other, tmp_path, {}))
    assert [use for use, _ in saved.state["ahead"]] == [4, 6]
    assert finish(other)[-1] == figures[-1]
    assert_same(whole, other)

    other.counts, other.ahead = saved.state["counts"], {}
    restore_algorithm(other, saved)
    assert sorted(other.ahead) == [4, 6]
    finish(other)
    assert_same(whole, other)


def test_rounds_older_than_a_smaller_bound_are_dropped_and_counted(
    build: Build, tiny: IRLConfig, tmp_path: Path
) -> None:
    config = replace(tiny, updates=10, runners=1, staleness=4)
    algorithm = build(config)
    while algorithm.counts["irl"] < 4:
        algorithm.train()
    saved = load_checkpoint(save_algorithm(algorithm, tmp_path, {}))
    algorithm.config.irl = replace(config, staleness=2)
    algorithm.ahead = {}
    restore_algorithm(algorithm, saved)
    assert not algorithm.ahead
    first, *others = finish(algorithm)
    assert first["dropped"] == 2 * config.episodes_per_iteration
    assert [round_["staleness"] for round_ in (first, *others)] == [0.0, 2.0, 2.0]
    assert not any(round_["dropped"] for round_ in others)


def test_a_run_begins_with_fewer_runners_and_grows(build: Build, tiny: IRLConfig) -> None:
    """The cluster has room for three of five; the others would come with a node."""
    algorithm = build(replace(tiny, runners=5, fewest_runners=1, updates=10_000))
    group = algorithm.env_runner_group
    assert group.num_healthy_remote_env_runners() == 1
    deadline = time.monotonic() + 90
    while group.num_healthy_remote_env_runners() < 3:
        assert time.monotonic() < deadline, "did not grow in 90 s of training"
        algorithm.train()
    algorithm.train()
    assert sorted(algorithm.told.state()["serial"]) == list(range(algorithm.counts["episodes"]))
    algorithm.stop()  # those that wait for a node do not hold it up
