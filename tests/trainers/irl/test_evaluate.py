"""Scoring by Room-to-Room's rules, and the controls beside the agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.episodes.episode import Episode
from envs.graph.buildings import Buildings, join_graphs
from envs.graph.navigation_graph import NavigationGraph
from envs.graph.simulator import GraphSimulator
from envs.graph.world import GraphWorld, random_walk, straight
from rayforge.irl.config import NetworkConfig
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.language.vocabulary import END, Vocabulary
from rayforge.paths.arrays import Paths
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import evaluate, follow, write_submission
from trainers.irl.task import Task, demonstrations, shuffled

CONFIG = IRLConfig(max_words=8, max_steps=6)
WORDS = Vocabulary.from_texts(["go on"], 1)


def corridor(spacing: float, count: int = 5) -> Buildings:
    """Viewpoints 0, 1, ... in a row to the east."""
    positions = np.array([(spacing * k, 0.0, 0.0) for k in range(count)])
    beside = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) == 1
    names = tuple(map(str, range(count)))
    return join_graphs([NavigationGraph("hall", names, positions, beside, beside)])


def world_of(buildings: Buildings) -> GraphWorld:
    """A world in which nobody looks."""
    return GraphWorld(buildings, None, CONFIG.max_steps)  # type: ignore[arg-type]


def asked(buildings: Buildings, *paths: str, heading: float = np.pi / 2) -> Demonstrations:
    """Reference paths, each a string of viewpoints."""
    episodes = [
        Episode(f"{number}_0", number, "hall", tuple(path), heading, "go on")
        for number, path in enumerate(paths)
    ]
    return demonstrations(episodes, buildings, WORDS, CONFIG, "made up")


def acting(*rows: list[int]) -> Callable[[GraphSimulator], np.ndarray]:
    """Fixed actions, step by step."""
    return lambda simulator: np.array([row[int(simulator.steps.max())] for row in rows])


def walked(buildings: Buildings, split: Demonstrations, *rows: list[int]) -> dict[str, np.ndarray]:
    paths = world_of(buildings).walk(split, acting(*rows))
    return world_of(buildings).score(split, paths)


# In the corridor, slot 0 is the neighbour to the east (heading 90), slot 1 the one to the west,
# save at the eastern end, which has the western one alone.
EAST, WEST, STOP = 1, 2, 0


def test_exactly_three_metres_fails_and_a_hair_less_succeeds() -> None:
    for spacing, success in ((3.0, 0.0), (2.99, 1.0)):
        buildings = corridor(spacing)
        split = asked(buildings, "0123")
        values = walked(buildings, split, [EAST, EAST, STOP, STOP])
        assert values["navigation_error"][0] == pytest.approx(spacing)
        assert values["success"][0] == success
        assert values["oracle_success"][0] == success
        assert values["spl"][0] == success
        assert values["sdtw"][0] == success * values["ndtw"][0]


def test_known_scores_of_stopping_early_going_past_and_turning_back() -> None:
    buildings = corridor(4.0)
    split = asked(buildings, "012", "012", "012", "2")
    values = walked(
        buildings,
        split,
        [STOP, STOP, STOP, STOP, STOP],
        [EAST, EAST, EAST, STOP, STOP],
        [EAST, EAST, EAST, WEST, STOP],
        [STOP, STOP, STOP, STOP, STOP],
    )
    assert values["success"].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert values["oracle_success"].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert values["navigation_error"].tolist() == [8.0, 4.0, 0.0, 0.0]
    assert values["path_length"].tolist() == [0.0, 12.0, 16.0, 0.0]
    np.testing.assert_allclose(values["spl"], [0.0, 0.0, 8 / 16, 1.0])
    warping = np.array([12.0, 4.0, 4.0, 0.0])  # metres off the reference, viewpoint by viewpoint
    np.testing.assert_allclose(values["ndtw"], np.exp(-warping / (3.0 * np.array([3, 3, 3, 1]))))


def test_expert_succeeds_everywhere_by_the_shortest_path(task: Task, tiny: IRLConfig) -> None:
    split = task.splits["train"]
    paths = task.world.walk(split, lambda s: s.expert(split.goal))
    values = task.world.score(split, paths)
    for name in ("success", "spl", "oracle_success", "ndtw", "sdtw"):
        np.testing.assert_allclose(values[name], 1.0, atol=1e-6, err_msg=name)
    assert not values["navigation_error"].any()
    assert not values["forced_stop"].any()


def test_forced_stops_are_flagged_wherever_they_end() -> None:
    buildings = corridor(1.0)
    split = asked(buildings, "01", "01")
    values = walked(buildings, split, [1] * 6, [EAST, STOP, STOP, STOP, STOP, STOP])
    assert values["forced_stop"].tolist() == [1.0, 0.0]
    assert values["success"].tolist() == [1.0, 1.0], "the last viewpoint counts all the same"


def test_an_illegal_choice_is_a_stop() -> None:
    buildings = corridor(1.0, count=3)
    split = asked(buildings, "21")
    paths = world_of(buildings).walk(split, acting([2] * 6))
    assert paths.length.tolist() == [1]
    assert not paths.action.any()


def test_straight_goes_where_it_faces_and_stops() -> None:
    buildings = corridor(2.0)
    east, west = asked(buildings, "1234"), asked(buildings, "321", heading=3 * np.pi / 2)
    for split, expected in ((east, [1, 2, 3, 4]), (west, [3, 2, 1, 0])):
        paths = world_of(buildings).walk(split, straight(3))
        assert paths.viewpoint[0, :4].tolist() == expected
        assert paths.length.tolist() == [4]
    stay = world_of(buildings).walk(east, straight(0))
    assert stay.length.tolist() == [1]
    limit = world_of(buildings).walk(east, straight(99))
    assert limit.length.tolist() == [CONFIG.max_steps], "it turns at the end, till it must stop"


def test_random_walks_are_legal_various_and_repeatable(task: Task, tiny: IRLConfig) -> None:
    split, buildings = task.splits["train"], task.data.buildings

    def walks(seed: int) -> Paths:
        return task.world.walk(split, random_walk(seed))

    first = walks(1)
    np.testing.assert_array_equal(walks(1).action, first.action)
    assert not np.array_equal(walks(2).action, first.action)
    assert len(set(first.length.tolist())) > 3
    moving = np.arange(tiny.max_steps) < first.length[:, None] - 1
    slots = first.action[moving] - 1
    reached = buildings.neighbours[first.viewpoint[moving], slots]
    following = np.roll(first.viewpoint, -1, axis=1)[moving]
    np.testing.assert_array_equal(reached, following)


def test_random_walks_take_each_legal_action_alike() -> None:
    buildings = corridor(2.0)
    split = asked(buildings, *["23"] * 3000)
    first = world_of(buildings).walk(split, random_walk(0)).action[:, 0]
    shares = np.bincount(first, minlength=3) / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)


def test_shuffled_instructions_are_another_paths_of_the_same_building(task: Task) -> None:
    split = task.splits["train"]
    other = shuffled(split.building, split.route, seed=0)
    for row, from_row in enumerate(other):
        assert split.episodes[row].path_id != split.episodes[from_row].path_id
        assert split.episodes[row].scan == split.episodes[from_row].scan
    np.testing.assert_array_equal(shuffled(split.building, split.route, seed=0), other)
    assert not np.array_equal(shuffled(split.building, split.route, seed=1), other)
    assert shuffled(np.zeros(1, int), np.zeros(1, int), seed=0).tolist() == [0], "no other"


def test_evaluation_of_an_agent_and_its_controls(task: Task, tiny: IRLConfig) -> None:
    torch.manual_seed(0)
    split = task.splits["train"]
    dimension = task.data.tables.dimension
    policy = Policy(len(task.vocabulary), dimension, NetworkConfig(word=16, hidden=16))
    told: list[tuple[str, int, int]] = []
    summaries, values, own = evaluate(
        policy, task.world, split, 0, lambda *progress: told.append(progress)
    )
    controls = ["no text", "shuffled text", "straight", "random", "expert", "shortest path"]
    assert list(summaries) == ["agent", *controls]
    for metrics in summaries.values():
        assert set(metrics) == {
            "success", "spl", "oracle_success", "navigation_error", "ndtw", "sdtw", "path_length",
            "forced_stop",
        }  # fmt: skip
        for interval in metrics.values():
            assert interval["count"] == len(split)
            assert interval["low"] <= interval["mean"] <= interval["high"]
    for name in ("expert", "shortest path"):
        assert summaries[name]["success"]["mean"] == 1.0
        assert summaries[name]["spl"]["mean"] == pytest.approx(1.0)
    assert summaries["agent"]["path_length"] != summaries["no text"]["path_length"]
    assert told[-1] == ("shuffled text", len(split), len(split))
    # The same agent, told nothing, and told another episode's instruction.
    silent = np.zeros_like(split.paths.tokens)
    silent[:, 0] = END
    others = split.paths.tokens[shuffled(split.building, split.route, 0)]
    for name, tokens in (("no text", silent), ("shuffled text", others)):
        scored = task.world.score(split, follow(policy, task.world, split, tokens).paths)
        for metric, array in scored.items():
            assert summaries[name][metric]["mean"] == pytest.approx(array.mean()), (name, metric)
    # The episodes are in the split's order, and their scores are theirs.
    np.testing.assert_array_equal(own.paths.viewpoint[:, 0], split.paths.viewpoint[:, 0])
    np.testing.assert_array_equal(own.paths.tokens, split.paths.tokens)
    again = task.world.score(split, own.paths)
    for name, array in values.items():
        np.testing.assert_array_equal(array, again[name])
        assert summaries["agent"][name]["mean"] == pytest.approx(array.mean())
    same, _, _ = evaluate(policy, task.world, split, 0)
    assert same == summaries


def test_a_blind_split_is_rolled_out_and_not_scored(
    task: Task, tiny: IRLConfig, tmp_path: Path
) -> None:
    split, buildings = task.splits["train"], task.data.buildings
    starts = [replace(e, path=e.path[:1]) for e in split.episodes]
    blind = demonstrations(starts, buildings, task.vocabulary, tiny, "made up")
    assert blind.blind and not split.blind
    policy = Policy(
        len(task.vocabulary), task.data.tables.dimension, NetworkConfig(word=16, hidden=16)
    )
    summaries, values, own = evaluate(policy, task.world, blind, 0)
    assert summaries == {}
    lines = task.world.record(blind, values, own)
    document = write_submission(tmp_path, "test", blind, lines, "a command")
    assert [f.name for f in tmp_path.iterdir()] == ["submission_test.json"]
    assert document["submission"] == str(tmp_path / "submission_test.json")
    answers = json.loads((tmp_path / "submission_test.json").read_text())
    assert [a["instr_id"] for a in answers] == [e.episode_id for e in starts]
    for answer, episode, length in zip(answers, starts, own.paths.length, strict=True):
        walked = [viewpoint for viewpoint, _, _ in answer["trajectory"]]
        assert walked[0] == episode.path[0] and len(walked) == length
        assert answer["trajectory"][0][1] == episode.heading
        assert all(isinstance(x, float) for step in answer["trajectory"] for x in step[1:])
