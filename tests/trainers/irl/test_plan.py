"""`rayforge irl plan` and planning evaluations, end to end at a tiny size, without Ray."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.demo_planning import three_settings
from envs.episodes.r2r import write_r2r
from envs.graph_env import OnMap
from rayforge.errors import ConfigurationError, RunError
from rayforge.irl.agent import Agent
from rayforge.irl.pairs import path_batch
from rayforge.irl.path_reward import PathReward
from rayforge.irl.planning import minimum_risk
from rayforge.paths.tree import PathTree, TreeBatch
from tests.trainers.conftest import untrained_run
from trainers.cli import main
from trainers.irl.algorithm import sizes_of
from trainers.irl.choices import ensemble_success, imagined, mapped
from trainers.irl.config import IRLConfig
from trainers.irl.loading import load_agent, load_weights
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
from trainers.irl.plan_trial import PLAN, PlanTrialConfig
from trainers.irl.planned import evaluate_planned, load_planner, planned_paths
from trainers.irl.planner import Planner, RewardScore, Ways, alike, keys_of
from trainers.irl.task import FIRST_PATH_ID, HELD_BACK, Task, read_task
from trainers.irl.walked_plan import walk_plans
from trainers.irl.watch_plan import with_plans

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
def test_planning_is_scored_beside_anothers_instruction(run: Path, kind: str) -> None:
    found = evaluate_planned(run, "val_unseen", None, kind, 3, "test")  # type: ignore[arg-type]
    assert set(found["agents"]) == {"agent", "another's instruction"}
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


@pytest.fixture(scope="module")
def second(
    run: Path, tiny: IRLConfig, task: Task, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Another seed of it, which plans too."""
    config = replace(tiny, held_back=0.3, seed=1)
    second = untrained_run(tmp_path_factory.mktemp("planned") / "second", config, task)
    plan_run(second, SMALL, "test")
    return second


def test_an_ensemble_averages_what_its_members_make_of_a_candidate(
    run: Path, second: Path, agent: PlannedAgent
) -> None:
    split, alone = agent.task.splits["val_unseen"], load_planner(run, agent)
    other = open_agent(second, ("val_unseen",))
    plans = load_planner(run, agent, [second])
    members = []
    for one, own in ((alone, run), (load_planner(second, other), second)):
        weights = one.weights["map"]
        members.append((mapped(one.planner, one.ways, split, list(weights)), weights))
        assert len(weights) == 4, own
    paths = planned_paths(plans, agent, "map", split, split.paths.tokens, 1)
    reached = agent.task.world.reached(split, np.arange(len(split)), paths)
    np.testing.assert_array_equal(ensemble_success(members), reached)
    # A run twice is itself, and a shortlist of all candidates asks for all.
    twice = planned_paths(load_planner(run, agent, [run]), agent, "map", split,
                          split.paths.tokens, 1)  # fmt: skip
    same = planned_paths(alone, agent, "map", split, split.paths.tokens, 1)
    np.testing.assert_array_equal(twice.viewpoint, same.viewpoint)
    whole = planned_paths(plans, agent, "map", split, split.paths.tokens, 1, shortlist=1_000)
    np.testing.assert_array_equal(whole.viewpoint, paths.viewpoint)


def test_the_command_plans_by_an_ensemble(run: Path, second: Path) -> None:
    words = ["irl", "evaluate", str(run), "--split", "val_unseen", "--planner", "samples"]
    main([*words, "--candidates", "3", "--shortlist", "2", "--ensemble", str(second)])
    found = json.loads((run / "planned_val_unseen_samples.json").read_text())
    assert found["ensemble"] == [str(second)] and found["method"].endswith("ensemble of 2")
    assert any("of member 2" in name for name in found["weights"])


def test_runs_that_read_otherwise_do_not_plan_together(
    run: Path, second: Path, agent: PlannedAgent, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = tmp_path / "other"
    shutil.copytree(second, other)
    words = json.loads((other / "vocabulary.json").read_text())
    listed = words if isinstance(words, list) else words["words"]
    listed[-1] = "zzz"
    (other / "vocabulary.json").write_text(json.dumps(words))
    with pytest.raises(ConfigurationError, match=r"cannot plan together .* its vocabulary differs"):
        load_planner(run, agent, [other])
    for flags, message in (
        (["--ensemble", str(second)], "an ensemble plans"),
        (["--planner", "map", "--ensemble", str(run)], "stands twice"),
    ):
        with pytest.raises(SystemExit):
            main(["irl", "evaluate", str(run), "--split", "val_unseen", *flags])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("shortlist", [2, 5])
def test_a_shortlist_chooses_as_its_choices_say(
    run: Path, agent: PlannedAgent, shortlist: int
) -> None:
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    weights = {"length": 0.5, "policy": 0.2, "generator": 1.0, "reward": 0.7}
    planner = plans.planner.with_weights(weights, shortlist)
    trees = plans.ways.trees(split.paths)
    paths, mass = planner.choose(trees, split.paths.tokens, keys_of(split.paths))
    choices = mapped(plans.planner, plans.ways, split, list(weights))
    listed = choices.shortlisted(weights, shortlist)
    np.testing.assert_array_equal(
        listed.success(weights), agent.task.world.reached(split, np.arange(len(split)), paths)
    )
    assert (mass <= 1.0 + 1e-6).all()
    asked: list[int] = []
    generator = plans.planner.scores["generator"]
    told = generator.read
    generator.read = lambda parts, trees, wanted, words: (  # type: ignore[method-assign]
        asked.append(int(wanted.sum(1).max())) or told(parts, trees, wanted, words)  # type: ignore[func-returns-value]
    )
    planner.choose(trees, split.paths.tokens, keys_of(split.paths))
    assert asked == [min(shortlist, int(choices.present.sum(1).max()))]


def test_what_is_recalled_of_a_tree_changes_nothing(run: Path, agent: PlannedAgent) -> None:
    """Cached equals uncached to float error, in whatever company a tree was recalled."""
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    names, tokens = list(plans.weights["map"]), split.paths.tokens
    trees, keys = plans.ways.trees(split.paths), keys_of(split.paths)
    cached = plans.planner
    for row in range(len(split)):  # recalled one by one
        cached.score(names, trees[row : row + 1], tokens[row : row + 1], keys[row : row + 1])
    found = cached.score(names, trees, tokens, keys)
    fresh = Planner(cached.buildings, cached.scores, {}).score(names, trees, tokens)
    torch.testing.assert_close(found.values, fresh.values, atol=2e-5, rtol=1e-5)


def test_a_planted_reward_is_planned_for(agent: PlannedAgent) -> None:
    """The path that a made-up reward likes best, wherever it is, is what the planner chooses."""

    class Planted:
        def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> list[PathTree]:
            return list(own)

        def read(
            self, recalled: Sequence[PathTree], trees: TreeBatch, asked: Tensor, tokens: Tensor
        ) -> Tensor:
            found = torch.zeros(asked.shape)
            for row, tree in enumerate(recalled):
                found[row, int(tokens[row, 0]) % len(tree.paths)] = 50.0
            return found

    split, buildings = agent.task.splits["val_unseen"], agent.task.data.buildings
    trees = Ways(buildings, (1, 4), agent.config.max_steps).trees(split.paths)
    tokens = split.paths.tokens
    paths, mass = Planner(buildings, {"reward": Planted()}, {"reward": 1.0}).choose(trees, tokens)
    best = [tree.ends[int(words[0]) % len(tree.paths)] for tree, words in
            zip(trees, tokens, strict=True)]  # fmt: skip
    ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
    assert (buildings.distance(ends, np.array(best)) < 3.0).all() and (mass > 0.999).all()


def test_a_loaded_agent_plans_on_its_map(run: Path, agent: PlannedAgent) -> None:
    data = agent.task.data
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    expected = planned_paths(plans, agent, "map", split, split.paths.tokens, 1)
    success = agent.task.world.reached(split, np.arange(len(split)), expected)
    loaded = load_agent(run, maps=data)
    env = OnMap(
        gym.make("rayforge/GraphGoal-v0", data=data, split="val_unseen", **loaded.environment)
    )
    for row, episode in enumerate(split.episodes):
        seen, _ = env.reset(options={"episode_id": episode.episode_id})
        assert env.observation_space.contains(seen)
        plan = loaded.plan(seen)
        assert 0.0 < plan.probability <= 1.0 + 1e-6 and plan.places[0] == episode.path[0]
        for action in plan.actions:
            seen, reward, ended, _, _ = env.step(np.int64(action))
        assert ended and reward == success[row]


def test_an_agent_without_maps_or_a_place_says_so(run: Path, agent: PlannedAgent) -> None:
    with pytest.raises(ValueError, match=r"no maps to plan on.*load_agent\(run, maps=data\)"):
        load_agent(run).plan({"tokens": np.zeros(80, int)})
    with pytest.raises(ValueError, match=r"no 'viewpoint'.*OnMap"):
        load_agent(run, maps=agent.task.data).plan({"tokens": np.zeros(80, int)})


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
            module.observe(c),
            module.policy.instruction_encoder(c["tokens"]),
            c["length"],
            c["action"],
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


def test_nothing_of_a_new_buildings_files_but_starts_and_instructions_is_read(
    run: Path, houses: Path, tmp_path: Path
) -> None:
    """Training files deleted, paths of the building falsified: the same plans, byte by byte."""

    def plans_in(folder: Path) -> list[bytes]:
        agent = open_agent(run, ("val_unseen",), folder)
        split = agent.task.splits["val_unseen"]
        found = planned_paths(load_planner(run, agent), agent, "map", split, split.paths.tokens, 1)
        return [array.tobytes() for array in found.arrays().values()]

    false = tmp_path / "false"
    shutil.copytree(houses, false, ignore=shutil.ignore_patterns("scenes", "R2R_val_seen.json"))
    (false / "R2R_train.json").unlink()
    file = false / "R2R_val_unseen.json"
    records = json.loads(file.read_text())
    for record in records:
        record["path"] = record["path"][:2]  # another goal, and another way to it
        record["distance"] = 1.0
    file.write_text(json.dumps(records))
    assert plans_in(false) == plans_in(houses)


def test_a_search_makes_planners_and_measures_them_on_buildings_for_tuning(
    run: Path, tmp_path: Path
) -> None:
    own = PlanTrialConfig(run=str(run), updates=2, checks=1, batch=4, split="val_unseen", every=2)
    PLAN.prepare(own)
    (tmp_path / "trial").mkdir()
    (figures,) = PLAN.train(own, tmp_path / "trial", range(1, 2))
    assert tuple(figures) == PLAN.metrics(own)
    assert np.isfinite(list(figures.values())).all()
    # Its folder is a run that plans, and the run that it came from is as it was.
    found = evaluate_planned(tmp_path / "trial", "val_unseen", None, "map", 1, "test", 2)
    assert found["shortlist"] == 2
    assert json.loads((run / "planner.json").read_text())["settings"]["updates"] == 3
    with pytest.raises(ConfigurationError, match="name the folder of the agent"):
        PLAN.prepare(PlanTrialConfig())
    with pytest.raises(RunError, match="is no run"):
        PLAN.prepare(PlanTrialConfig(run=str(tmp_path / "nothing")))


def test_the_planner_of_another_run_is_refused(
    run: Path, agent: PlannedAgent, tmp_path: Path
) -> None:
    """Another run's file, one of other sizes, one of an older form, and the run's own after its
    policy was trained further."""
    other = tmp_path / "run"
    shutil.copytree(run, other)
    document = json.loads((run / "planner.json").read_text())
    (other / "planner.json").write_text(json.dumps({**document, "policy": "of another run"}))
    with pytest.raises(RunError, match=r"made for another policy .* make it again with"):
        load_planner(other, agent)
    (other / "planner.json").write_text(json.dumps(document))
    changed = agent._replace(module=copy.deepcopy(agent.module))
    with torch.no_grad():
        next(changed.module.policy.parameters()).add_(1.0)
    with pytest.raises(RunError, match="its own before more training"):
        load_planner(other, changed)
    (other / "planner.safetensors").write_bytes(save({"scorer.weight": torch.zeros(2, 3)}))
    with pytest.raises(RunError, match=r"planner.safetensors is of another run") as caught:
        load_planner(other, agent)
    assert "\n" not in str(caught.value)
    for kept in ([], {name: document[name] for name in ("form", "settings")}):
        (other / "planner.json").write_text(json.dumps(kept))
        with pytest.raises(RunError, match="no planner of this version: it has no"):
            load_planner(other, agent)


def test_a_kept_reward_is_weighed_anew(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = json.loads((run / "planner.json").read_text())
    after = plan_run(tmp_path / "run", replace(SMALL, reward="kept"), "test")
    assert after["fitted"] == before["fitted"] and after["form"] == "maxent"
    same = [(place / "planner.safetensors").read_bytes() for place in (run, tmp_path / "run")]
    assert same[0] == same[1]


def test_an_adapted_run_holds_back_what_the_run_before_did(
    run: Path, agent: PlannedAgent, tmp_path: Path
) -> None:
    """Further demonstrations shift nothing, and are never held back themselves."""
    config = agent.config
    before = read_task(Path(config.data), config, ("train",)).splits
    shown = before["train"].episodes[:5]
    write_r2r(
        tmp_path / "further.json",
        [
            {"scan": e.scan, "path_id": FIRST_PATH_ID + k, "path": list(e.path), "heading": 0.0,
             "instructions": ["go there"]}
            for k, e in enumerate(shown)
        ],
    )  # fmt: skip
    further = replace(config, extra_demonstrations=str(tmp_path / "further.json"))
    after = read_task(Path(config.data), further, ("train",)).splits
    names = [e.episode_id for e in before[HELD_BACK].episodes]
    assert [e.episode_id for e in after[HELD_BACK].episodes] == names
    assert len(after["train"]) == len(before["train"]) + 5


def test_the_watch_page_gets_beliefs_that_end_where_the_planner_does(
    run: Path, agent: PlannedAgent, houses: Path
) -> None:
    split, plans = agent.task.splits["val_unseen"], load_planner(run, agent)
    chosen = planned_paths(plans, agent, "map", split, split.paths.tokens, 1)
    lines = [{"episode_id": e.episode_id} for e in split.episodes[:3]]
    found = with_plans(run, "val_unseen", houses, [*lines, {"episode_id": "another"}])
    assert "plan" not in found[3]
    names = agent.task.world.buildings.viewpoint_ids
    for row in range(3):
        plan = found[row]["plan"]
        assert len(plan["words"]) == len(plan["belief"]) == (split.paths.tokens[row] > 0).sum()
        belief = np.array(plan["belief"])
        np.testing.assert_allclose(belief.sum(1), 1.0, atol=0.01)
        mass = [belief[-1][near].sum() for near in plan["alike"]]
        end = plan["ways"][int(np.argmax(mass))][-1]
        assert end == names[chosen.viewpoint[row, chosen.length[row] - 1]]


def test_plans_are_walked_in_three_dimensions(run: Path) -> None:
    """The reference paths as plans: they arrive, with about as many metres as on the graph."""
    agent = open_agent(run, ("val_unseen",))
    split = agent.task.splits["val_unseen"].take(np.arange(3))
    values = walk_plans(agent, split, split.paths)
    assert (values["success"] == 1.0).all() and (values["navigation_error"] < 0.5).all()
    metres = agent.task.world.score(split, split.paths)["path_length"]
    np.testing.assert_allclose(values["path_length"], metres, rtol=0.35)
    found = evaluate_planned(run, "val_unseen", None, "map", 1, "test", 2, walked=True)
    assert "walked in 3-D" in found["agents"]


def test_the_demonstration_scores_two_runs_in_three_settings(run: Path) -> None:
    lines = three_settings({"one": run, "other": run}, "val_unseen").splitlines()
    assert [line.split(" | ")[0] for line in lines[3:]] == [
        "| one", "| other", "| one minus other, paired",
    ]  # fmt: skip
    assert lines[3].split(" | ")[1:] == lines[4].split(" | ")[1:]
    assert lines[5].count("+0.000 [+0.000, +0.000]") == 3
