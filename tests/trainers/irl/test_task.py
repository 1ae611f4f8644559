"""Demonstrations as arrays, and a data folder read for a configuration."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.episodes.episode import Episode
from envs.graph.buildings import heading_bin
from envs.graph.simulator import GraphSimulator
from rayforge.errors import DataError
from rayforge.irl.config import NetworkConfig
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.irl.pairs import path_batch
from rayforge.language.vocabulary import END, Vocabulary
from rayforge.paths.observation import GraphObserver
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import resolve_split
from trainers.irl.task import Shared, Task, demonstrations, hold_back, read_task

SPLITS = ("train", "val_seen", "val_unseen")


@pytest.fixture
def config(tiny_folder: Path) -> IRLConfig:
    return IRLConfig(data=str(tiny_folder), max_steps=12, max_words=20)


@pytest.fixture
def made_up(tiny_folder: Path, config: IRLConfig) -> Task:
    return read_task(tiny_folder, config, SPLITS)


def test_actions_walk_the_path_and_stop_at_its_end(made_up: Task, config: IRLConfig) -> None:
    buildings = made_up.data.buildings
    for name in SPLITS:
        split = made_up.splits[name]
        assert len(split) == len(made_up.data.splits[name]) == 3 * {"train": 12}.get(name, 5)
        paths = split.paths
        start = np.array([heading_bin(e.heading) for e in split.episodes])
        np.testing.assert_array_equal(paths.heading[:, 0], start)
        simulator = GraphSimulator(buildings, config.max_steps)
        simulator.reset(paths.viewpoint[:, 0], start)
        for step in range(paths.viewpoint.shape[1]):
            going = paths.length > step
            np.testing.assert_array_equal(simulator.done, ~going)
            places = paths.viewpoint[going, step]
            np.testing.assert_array_equal(simulator.viewpoint[going], places)
            np.testing.assert_array_equal(simulator.heading_bin[going], paths.heading[going, step])
            for row in np.flatnonzero(going):
                episode = split.episodes[row]
                place = buildings.index(episode.scan, episode.path[step])
                assert place == paths.viewpoint[row, step]
            simulator.step(paths.action[:, step].astype(np.int64))
        assert simulator.done.all()
        np.testing.assert_array_equal(simulator.viewpoint, split.goal)
        assert paths.length.tolist() == [len(e.path) for e in split.episodes]


def test_instructions_are_the_episodes_own(made_up: Task) -> None:
    split = made_up.splits["train"]
    for row, episode in enumerate(split.episodes):
        said = made_up.vocabulary.decode(split.paths.tokens[row])
        assert said == episode.instruction.lower()
    assert split.names(np.array([0])) == (
        f"building {split.episodes[0].scan}, episode {split.episodes[0].episode_id}",
    )


def test_words_come_from_the_training_instructions_alone(
    tiny_folder: Path, config: IRLConfig, made_up: Task
) -> None:
    file = tiny_folder / "R2R_val_unseen.json"
    file.write_text(file.read_text().replace("lamp", "zebra").replace("bed", "zebra"))
    again = read_task(tiny_folder, config, SPLITS)
    assert again.vocabulary == made_up.vocabulary
    assert "zebra" not in again.vocabulary.words
    assert again.fingerprint == made_up.fingerprint


def test_another_runs_words_are_taken_over(
    tiny_folder: Path, config: IRLConfig, made_up: Task
) -> None:
    words = Vocabulary.from_texts(["walk walk steps"], 1)
    task = read_task(tiny_folder, config, ("val_seen",), words, made_up.data.objects)
    assert task.vocabulary is words
    assert set(task.splits) == {"val_seen"}


def test_long_instructions_are_cut_and_counted(tiny_folder: Path, config: IRLConfig) -> None:
    task = read_task(tiny_folder, replace(config, max_words=6), ("train",))
    split = task.splits["train"]
    assert split.cut == len(split)
    assert split.paths.tokens.shape[1] == 6
    assert (split.paths.tokens[:, 5] == END).all()


def test_a_path_longer_than_the_limit_is_named(
    tiny_folder: Path, config: IRLConfig, made_up: Task
) -> None:
    episodes = made_up.splits["train"].episodes
    longest = max(len(e.path) for e in episodes)
    with pytest.raises(DataError) as caught:
        read_task(tiny_folder, replace(config, max_steps=longest - 1), ("train",))
    message = str(caught.value)
    worst = next(e for e in episodes if len(e.path) == longest)
    for part in (
        str(tiny_folder), "train", f"building {worst.scan}", f"episode {worst.episode_id}",
        f"{longest} actions", f"max_steps is {longest - 1}",
    ):  # fmt: skip
        assert part in message
    enough = read_task(tiny_folder, replace(config, max_steps=longest), ("train",))
    assert enough.splits["train"].paths.viewpoint.shape[1] == longest


def test_held_out_buildings_leave_training(tiny_folder: Path, config: IRLConfig) -> None:
    held = replace(config, held_out=("beta",))
    task = read_task(tiny_folder, held, ("train", "held_out"))
    assert {e.scan for e in task.splits["train"].episodes} == {"alpha"}
    assert {e.scan for e in task.splits["held_out"].episodes} == {"beta"}
    with pytest.raises(DataError, match=r"'bta'.*nearest name is beta"):
        read_task(tiny_folder, replace(config, held_out=("bta",)), ("train",))


def test_the_fingerprint_tells_training_data_apart(
    tiny_folder: Path, config: IRLConfig, made_up: Task
) -> None:
    file = tiny_folder / "R2R_train.json"
    file.write_text(file.read_text().replace("past the lamp", "past the chair", 1))
    assert read_task(tiny_folder, config, SPLITS).fingerprint != made_up.fingerprint


def other_goal(task: Task, config: IRLConfig) -> tuple[Demonstrations, Demonstrations]:
    """The training episodes, and the same with other instructions."""
    episodes = task.splits["train"].episodes
    told = [replace(e, instruction="wait past the bed , then walk 2 steps .") for e in episodes]

    def arrays(given: list[Episode]) -> Demonstrations:
        return demonstrations(given, task.data.buildings, task.vocabulary, config, "here")

    return arrays(list(episodes)), arrays(told)


@torch.no_grad()
def log_probabilities(task: Task, config: IRLConfig, split: Demonstrations) -> torch.Tensor:
    torch.manual_seed(0)
    policy = Policy(
        len(task.vocabulary), task.data.tables.dimension, NetworkConfig(word=16, hidden=16)
    ).eval()
    observer = GraphObserver.from_tables(task.data.tables, config.max_steps)
    c = {name: torch.from_numpy(array) for name, array in path_batch(split.paths).items()}
    seen = observer.observe_paths(c["viewpoint"], c["heading"], c["action"], c["length"])
    return policy(seen, policy.instruction_encoder(c["tokens"]), c["length"])


def test_a_policy_without_text_does_not_change_with_the_goal(
    made_up: Task, config: IRLConfig
) -> None:
    """A goal-agnostic policy's log-probabilities must not depend on the instruction at all."""
    silent = replace(config, text=False)
    ours, others = other_goal(made_up, silent)
    assert (ours.paths.tokens[:, 0] == END).all()
    assert not ours.paths.tokens[:, 1:].any()
    assert torch.equal(
        log_probabilities(made_up, silent, ours), log_probabilities(made_up, silent, others)
    )
    reading = other_goal(made_up, config)
    told, otherwise = (log_probabilities(made_up, config, split) for split in reading)
    assert not torch.allclose(told, otherwise, atol=1e-3), "with text it does"


def test_copies_of_what_is_shared_hold_the_same_value() -> None:
    value = {"tables": np.zeros(3)}
    shared = Shared(value)
    assert shared.get() is value
    assert copy.deepcopy({"config": shared})["config"].get() is value


def test_paths_held_back_are_whole_and_in_no_training_pair(made_up: Task) -> None:
    train = made_up.splits["train"]
    splits = hold_back(made_up.splits, 0.25, "here")
    assert list(splits) == [*SPLITS, "held_back"]
    kept, out = splits["train"], splits["held_back"]
    assert len(kept) + len(out) == len(train)
    routes = [{(e.scan, *e.path) for e in split.episodes} for split in (kept, out)]
    assert not routes[0] & routes[1]
    assert len(routes[1]) == round(0.25 * (int(train.route.max()) + 1))
    assert set(kept.route) == set(range(len(routes[0])))  # numbered anew, without gaps
    ends = out.paths.viewpoint[np.arange(len(out)), out.paths.length - 1]
    np.testing.assert_array_equal(out.goal, ends)
    with pytest.raises(DataError, match=r"here: held_back 0.99 of \d+ training paths"):
        hold_back(made_up.splits, 0.99, "here")


def test_nothing_is_scored_on_a_blind_split(
    tiny_folder: Path, tmp_path: Path, config: IRLConfig
) -> None:
    """Its goals are a leaderboard's secret: only the file for that may be asked for."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_folder, folder)
    records = json.loads((folder / "R2R_val_unseen.json").read_text())
    starts = [{**record, "path": record["path"][:1]} for record in records]
    (folder / "R2R_test.json").write_text(json.dumps(starts))
    (folder / "R2R_mixed.json").write_text(json.dumps([records[0], *starts[1:]]))
    with pytest.raises(DataError, match=r"split test .* starts and no goals.*evaluate RUN --split"):
        read_task(folder, config, ("train", "test"))
    assert read_task(folder, config, ("train", "test"), blind=True).splits["test"].blind
    for blind in (False, True):
        with pytest.raises(DataError, match=r"split mixed .*: 12 of 15 episodes .* no goal"):
            read_task(folder, config, ("train", "mixed"), blind=blind)


def test_unseen_needs_a_split_or_buildings_held_out(tiny_folder: Path, tmp_path: Path) -> None:
    config = IRLConfig()
    assert resolve_split("unseen", tiny_folder, config) == "val_unseen"
    (tmp_path / "R2R_train.json").write_text("[]")
    with pytest.raises(DataError, match=r"no split val_unseen \(it has train\).*--held-out"):
        resolve_split("unseen", tmp_path, config)
    held_out = replace(config, held_out=("a",))
    assert resolve_split("unseen", tmp_path, held_out) == "held_out"
    assert resolve_split("train", tmp_path, config) == "train"


def test_a_folder_of_the_other_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "R2R_train.json").write_text("[]")
    (tmp_path / "scenes" / "train").mkdir(parents=True)
    (tmp_path / "scenes" / "train" / "train.json").write_text("{}")
    with pytest.raises(DataError, match="--env continuous"):
        read_task(tmp_path / "scenes", IRLConfig(), ("train",))
    with pytest.raises(DataError, match="--env graph"):
        read_task(tmp_path / "graphs", IRLConfig(env="continuous"), ("train",))
