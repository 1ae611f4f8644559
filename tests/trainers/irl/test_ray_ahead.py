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


def state_of(algorithm: LangGoalIRL) -> dict[str, np.ndarray]:
    """Everything that a run comes to."""
    found = {name: value.numpy() for name, value in algorithm.agent().state_dict().items()}
    for ring in (algorithm.negatives, algorithm.positives):
        found |= {f"{id(ring)} {name}": values for name, values in ring.state().items()}
    return found


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def under(algorithm: LangGoalIRL, config: IRLConfig) -> None:
    """Let it go on under another configuration, as a run that is resumed with other settings."""
    object.__setattr__(algorithm.config, "irl", config)  # RLlib freezes its own


def kill_aggregator(algorithm: LangGoalIRL) -> None:
    (actor,) = algorithm.nodes.actors.values()
    os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)


def test_rounds_under_way_keep_the_bound_and_repeat_themselves(
    build: Build, tiny: IRLConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An aggregator is killed; gone on with from a checkpoint while two rounds are under way, the
    driver calling every runner; and again with a smaller bound."""
    config = replace(tiny, updates=10, runners=2, staleness=5, aggregate_from=1)
    algorithm = build(config)
    while algorithm.counts["irl"] < 4:
        algorithm.train()
    saved = load_checkpoint(save_algorithm(algorithm, tmp_path, {}))
    assert [use for use, _ in saved.state["ahead"]] == [4, 6]
    kill_aggregator(algorithm)
    figures = finish(algorithm)
    assert "was lost and is replaced" in capfd.readouterr().out
    # Updates 4, 6, 8 begin 4 after those of their weights, and not 5: rounds are of two updates.
    assert [round_["staleness"] for round_ in figures] == [4.0, 4.0, 4.0]
    assert all(round_["dropped"] == 0.0 for round_ in figures)
    assert all(0.9 < round_["importance_effective"] <= 1.0 for round_ in figures)
    whole = state_of(algorithm)

    under(algorithm, replace(config, aggregate_from=0))
    restore_algorithm(algorithm, saved)
    assert sorted(algorithm.ahead) == [4, 6]
    assert finish(algorithm) == figures
    assert_same(state_of(algorithm), whole)

    under(algorithm, replace(config, staleness=2))
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
    deadline = time.monotonic() + 220
    while group.num_healthy_remote_env_runners() < 3:
        assert time.monotonic() < deadline, ray.available_resources()
        algorithm.train()
        time.sleep(2)  # new runners start on the same processors
    algorithm.train()
    assert sorted(algorithm.negatives.state()["serial"]) == list(
        range(algorithm.counts["episodes"])
    )
    algorithm.stop()  # those that wait for a node do not hold it up
