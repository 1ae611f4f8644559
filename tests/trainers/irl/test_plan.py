"""`rayforge irl plan` and planning evaluations, end to end at a tiny size, without Ray."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayforge.errors import ConfigurationError, RunError
from rayforge.irl.agent import Agent
from rayforge.irl.pairs import path_batch
from rayforge.irl.path_reward import PathReward
from rayforge.irl.planning import minimum_risk
from rayforge.paths.tree import PathTree
from tests.trainers.conftest import untrained_run
from trainers.cli import main
from trainers.irl.algorithm import sizes_of
from trainers.irl.choices import imagined, mapped
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_weights
from trainers.irl.plan import (
    Pairs,
    PlannedAgent,
    edges_of,
    open_agent,
    own_reward,
    plan_run,
    update_loss,
)
from trainers.irl.plan_config import PlanConfig
from trainers.irl.planned import evaluate_planned, load_planner, planned_paths
from trainers.irl.planner import Planner, RewardScore, Ways, alike
from trainers.irl.task import Task

SMALL = PlanConfig(updates=3, checks=1, batch=4, generated=6)


@pytest.fixture(scope="module")
def run(tiny: IRLConfig, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights whose planner is taught for a moment."""
    config = replace(tiny, held_back=0.3)
    run = untrained_run(tmp_path_factory.mktemp("planned") / "run", config, task)
    plan_run(run, SMALL, "test")
    return run


@pytest.fixture(scope="module")
def agent(run: Path) -> PlannedAgent:
    return open_agent(run, ("val_unseen",))


def test_weights_of_both_kinds_are_fitted_on_what_was_held_back(run: Path) -> None:
    document = json.loads((run / "planner.json").read_text())
    assert set(document["fitted"]["map"]["weights"]) == {
        "length", "policy", "generator", "reward"
    }  # fmt: skip
    assert set(document["fitted"]["samples"]["weights"]) == {"policy", "generator", "reward"}
    assert [point["update"] for point in document["curve"]] == [3]
    assert np.isfinite([document["fitted"][kind]["nats"] for kind in ("map", "samples")]).all()


def test_the_same_command_gives_the_same_planner(run: Path, tmp_path: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("planner.safetensors",)}
    document = json.loads((run / "planner.json").read_text())
    plan_run(run, SMALL, "test")
    assert before == {name: (run / name).read_bytes() for name in before}
    again = json.loads((run / "planner.json").read_text())
    assert again["fitted"] == document["fitted"]


@pytest.mark.parametrize("kind", ["map", "samples", "search"])
def test_planning_is_scored_beside_anothers_sentence(run: Path, kind: str) -> None:
    found = evaluate_planned(run, "val_unseen", None, kind, 3, "test")  # type: ignore[arg-type]
    assert set(found["agents"]) == {"agent", "another's sentence"}
    assert found["setting"].startswith(
        {"map": "mapped", "samples": "imagined"}.get(kind, "first sight")
    )
    assert (run / f"planned_val_unseen_{kind}.json").is_file()


def test_the_command_plans(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["irl", "evaluate", str(run), "--split", "val_unseen", "--planner", "map"])
    assert "mapped: walked before" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["map", "samples", "search"])
def test_nothing_of_a_new_building_but_its_starts_is_read(
    run: Path, agent: PlannedAgent, kind: str
) -> None:
    """Its paths and goals falsified: the same bytes."""
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    tokens = split.paths.tokens
    found = planned_paths(plans, agent, kind, split, tokens, 4)  # type: ignore[arg-type]
    paths = split.paths
    for array in (paths.viewpoint, paths.heading, paths.action):
        array[:, 1:] = 0
    false = replace(split, goal=np.zeros_like(split.goal), episodes=split.episodes[::-1])
    again = planned_paths(plans, agent, kind, false, tokens, 4)  # type: ignore[arg-type]
    for name, array in found.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])


def test_choices_are_what_the_planner_chooses(run: Path) -> None:
    agent = open_agent(run, ("val_unseen",))
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    weights = plans.weights["map"]
    choices = mapped(plans.planner, plans.ways, split, list(weights))
    paths = planned_paths(plans, agent, "map", split, split.paths.tokens, 1)
    np.testing.assert_array_equal(
        choices.success(weights), agent.task.world.reached(split, np.arange(len(split)), paths)
    )


def test_fewer_roll_outs_are_the_first_of_more(run: Path) -> None:
    agent = open_agent(run, ("val_unseen",))
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    choices = imagined(plans.planner, agent.module, split, 6)
    one = choices.among(1)
    assert (one.present.sum(1) == 1).all()
    assert choices.among(6).present.equal(choices.present)
    policy = {"policy": 1.0}
    best = [one.good[row, 0].item() for row in range(len(split))]
    np.testing.assert_array_equal(one.success(policy), best)


@pytest.mark.parametrize("form", ["maxent", "classifier"])
def test_either_reward_learns_what_it_is_taught(run: Path, form: str) -> None:
    agent = open_agent(run, ("train",))
    task, config = agent.task, agent.config
    train = task.splits["train"]
    ways = Ways(task.data.buildings, edges_of(train), config.max_steps)
    steady = replace(config.network, dropout=0.0, feature_dropout=0.0)
    torch.manual_seed(0)
    reward = PathReward(len(task.vocabulary), task.world.dimension, steady, form)  # type: ignore[arg-type]
    reward.start_from(agent.module.policy)
    taught = Pairs(SMALL, train, None).batch(0)
    optimizer = torch.optim.Adam(reward.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = update_loss(reward, taught, ways, agent.module.observer, 0.05)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_candidate_succeeds_where_it_is_within_three_metres(agent: PlannedAgent) -> None:
    buildings = agent.task.data.buildings
    ways = Ways(buildings, (1, 3), agent.config.max_steps)
    trees = ways.trees(agent.task.splits["val_unseen"].paths[:2])
    width = max(len(tree.paths) for tree in trees)
    present = torch.tensor([[k < len(tree.paths) for k in range(width)] for tree in trees])
    near = alike(buildings, trees, present)
    for row, tree in enumerate(trees):
        metres = buildings.distance(tree.ends[:, None], tree.ends[None, :])
        count = len(tree.paths)
        np.testing.assert_array_equal(near[row, :count, :count].numpy(), metres < 3.0)
    log_p = torch.zeros(present.shape).masked_fill(~present, -torch.inf).log_softmax(-1)
    assert present.gather(1, minimum_risk(log_p, near)[:, None]).all()


@pytest.mark.parametrize("method", ["langgoal", "gail", "completion"])
def test_a_runs_own_reward_is_that_of_its_method(
    tiny: IRLConfig, task: Task, tmp_path: Path, method: str
) -> None:
    """The reward along a tree is that of the network that the method trained, path by path."""
    config = replace(tiny, method=method, held_back=0.3)  # type: ignore[arg-type]
    run = untrained_run(tmp_path / "run", config, task)
    module = Agent(**sizes_of(config, task))
    module.load_state_dict({k: torch.from_numpy(v) for k, v in load_weights(run, config).items()})
    agent = open_agent(run, ("val_unseen",))
    module.attach(agent.task.world.observer())
    module.eval()
    paths = agent.task.splits["val_unseen"].paths[:3]
    trees = [PathTree.of(paths[k : k + 1]) for k in range(3)]
    score = RewardScore(own_reward(run, agent), agent.module.observer)  # type: ignore[arg-type]
    found = Planner(agent.task.data.buildings, {"reward": score}, {}).score(
        ["reward"], trees, paths.tokens
    )
    c = {name: torch.from_numpy(array) for name, array in path_batch(paths).items()}
    with torch.no_grad():
        f = module.reward(
            module.observe(c), module.policy.sentence(c["tokens"]), c["length"], c["action"]
        )
    steps = torch.arange(f.shape[1])
    asked = steps == c["length"][:, None] - 1
    counted = asked if method == "completion" else steps < c["length"][:, None]
    torch.testing.assert_close(found.values[0, :, 0], (f * counted).sum(1))


def test_a_run_that_held_nothing_back_is_refused(untrained: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"held no instructions back.*--held-back 0\.05"):
        plan_run(untrained, SMALL, "test")


def test_a_run_without_a_planner_says_how_to_make_one(untrained: Path) -> None:
    with pytest.raises(RunError, match=r"has no planner.*rayforge irl plan"):
        evaluate_planned(untrained, "val_unseen", None, "map", 1, "test")
