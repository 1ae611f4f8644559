"""Agents as judges of instructions, in the houses of a small route task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.houses.route_houses import ROUTES, kept_route_maps
from envs.houses.route_task import RouteTask, RouteTaskConfig, make_route_task
from rayforge.errors import ConfigurationError, DataError, RunError
from tests.trainers.conftest import untrained_run
from trainers.irl.config import IRLConfig
from trainers.irl.follower import LEAST, WALKS, FollowerJob, check_follower
from trainers.irl.plan import plan_run
from trainers.irl.plan_config import PlanConfig
from trainers.irl.task import Task


@pytest.fixture(scope="module")
def routes() -> RouteTask:
    return make_route_task(RouteTaskConfig(pairs=4, start_routes=0, test_routes=3, seed=5))


@pytest.fixture(scope="module")
def maps(routes: RouteTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_route_maps(tmp_path_factory.mktemp("maps"), routes)


@pytest.fixture(scope="module")
def run(tiny: IRLConfig, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent of random weights; it learnt in other houses than the routes'."""
    config = replace(tiny, held_back=0.3)
    return untrained_run(tmp_path_factory.mktemp("follower") / "run", config, task)


def asked_of(routes: RouteTask) -> list[tuple[int, str]]:
    return [(row, side) for row, pair in enumerate((*routes.train, *routes.test))
            for side in (pair.chosen, pair.rejected)]  # fmt: skip


def test_without_a_planner_it_walks(run: Path, maps: Path, routes: RouteTask) -> None:
    follow = FollowerJob(run, maps, ROUTES).load()
    asked = asked_of(routes)
    found = follow(asked)
    shares = np.exp(found) * (WALKS + 1) - 0.5
    assert found.shape == (14,) and np.allclose(shares, np.round(shares))
    # Each walks by draws of its own, whatever is asked with it; also where it says nothing.
    assert np.concatenate([follow([one]) for one in asked]).tolist() == found.tolist()
    assert np.isfinite(follow([(0, ""), (1, "qwertz")])).all()


def test_with_a_planner_it_believes(run: Path, maps: Path, routes: RouteTask) -> None:
    before = FollowerJob(run, maps, ROUTES)
    walked, name = before.load()(asked_of(routes)), before.fingerprint
    plan_run(run, PlanConfig(updates=2, checks=1, batch=4), "test")
    job = FollowerJob(run, maps, ROUTES)
    assert job.fingerprint != name  # what was kept under the old name is not taken for its own
    follow = job.load()
    found = follow(asked_of(routes))
    assert ((found >= LEAST) & (found <= 1e-6)).all() and not np.allclose(found, walked)
    assert follow(asked_of(routes)[:3]) == pytest.approx(found[:3], abs=1e-4)


def test_an_agent_that_knows_the_test_houses_is_refused(
    run: Path, tiny: IRLConfig, maps: Path, houses: Path, tmp_path: Path
) -> None:
    scans = sorted(f.name.removesuffix("_connectivity.json")
                   for f in (maps / "connectivity").iterdir())  # fmt: skip
    check_follower(run, maps, scans)  # other houses, though some have the same names
    trained = sorted(f.name.removesuffix("_connectivity.json")
                     for f in (houses / "connectivity").iterdir())  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"was trained in .* train it in other houses"):
        check_follower(run, houses, trained)
    with pytest.raises(RunError, match=r"no config\.yaml"):
        check_follower(tmp_path, maps, scans)
    text = (run / "config.yaml").read_text()
    for name in ("config.yaml", "vocabulary.json", "objects.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(RunError, match="no checkpoint"):
        check_follower(tmp_path, maps, scans)
    (tmp_path / "checkpoints").symlink_to(run / "checkpoints")
    (tmp_path / "config.yaml").write_text(text.replace(str(houses), str(tmp_path / "gone")))
    with pytest.raises((DataError, ConfigurationError), match=r"cannot be checked|gone"):
        check_follower(tmp_path, maps, scans)
