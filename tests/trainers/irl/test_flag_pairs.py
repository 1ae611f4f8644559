"""Every main flag of `rayforge irl train` with every other, at the tiny size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rayforge.irl.agent import Agent
from rayforge.irl.pairs import join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import Update
from rayforge.settings import changed
from tests.trainers.conftest import Build
from trainers.configuration import from_dict, to_dict
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent
from trainers.irl.preflight import check_run
from trainers.irl.task import Task

FLAGS: dict[str, tuple[Any, ...]] = {
    "method": ("langgoal", "gcbc", "gail", "completion", "hindsight", "forcing"),
    "env": ("graph", "continuous"),
    "warm_start": (True, False),
    "augment": (True, False),
    "relabel": (True, False),
    "mismatched_negatives": (True, False),
    "potential_shaping": (False, True),
    "entropy_target": (0.0, 0.5),
    "imitation_weight": (1.0, 0.0),
    "inflection_weight": (1.0, 3.0),
    "text": (True, False),
    "shuffled_text": (False, True),
    "held_back": (0.0, 0.2),
    "neighbour_rooms": (False, True),
    "runners": (0, 1),
    "evaluate_every": (0, 4),
    "generator.free_nats": (0.0, 2.0),
    "network.dropout": (0.3, 0.0),
    "network.feature_dropout": (0.4, 0.0),
    "network.trunk": ("lstm", "transformer", "circuit", "circuit-conditioned"),
    "network.circuit.links": ("mean", "threshold"),
    "network.circuit.prior": ("planted-partition", "none"),
    "information_every": (0, 2),
}
FORBIDDEN = {("forcing", "continuous")}
"""Pairs of values that a configuration refuses, as its documentation says."""

Row = dict[str, Any]


def pairwise_rows(flags: dict[str, tuple[Any, ...]]) -> Iterator[Row]:
    """Few rows in which each pair of values of two flags stands together once at least: greedily,
    each row begins with a pair that is missing and takes for each further flag the value that
    covers most (Cohen et al. 1997, AETG)."""
    missing = {
        ((a, x), (b, y))
        for a, b in combinations(flags, 2)
        for x, y in product(flags[a], flags[b])
        if (x, y) not in FORBIDDEN
    }
    while missing:
        row: Row = dict(min(missing, key=str))
        for name in flags:
            if name not in row:
                fits = [v for v in flags[name] if not {(v, o) for o in row.values()} & FORBIDDEN
                        and not {(o, v) for o in row.values()} & FORBIDDEN]  # fmt: skip
                row[name] = max(fits, key=lambda v: len(covered({**row, name: v}) & missing))
        missing -= covered(row)
        yield row


def covered(row: Row) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The pairs of a row, flags in the order of FLAGS."""
    named = [(name, row[name]) for name in FLAGS if name in row]
    return set(combinations(named, 2))


ROWS = list(pairwise_rows(FLAGS))


def test_the_rows_cover_every_pair() -> None:
    wanted = sum(len(FLAGS[a]) * len(FLAGS[b]) for a, b in combinations(FLAGS, 2))
    assert len(set().union(*map(covered, ROWS))) == wanted - len(FORBIDDEN)
    assert len(ROWS) < 30


def name_of(row: Row) -> str:
    return f"{row['method']}-{row['env']}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_run_may_start(row: Row, tiny: IRLConfig, tmp_path: Path) -> None:
    """The settings are taken, kept in files, made small by --debug and pass every check that comes
    before Ray."""
    config = changed(tiny, row)
    assert from_dict(IRLConfig, to_dict(config)) == config
    check_run(config, tmp_path / "run", resume=False)
    small = small_agent(config)
    assert small.runners == 0 and small.method == row["method"]
    check_run(small, tmp_path / "run", resume=False)


def test_what_cannot_go_together_is_refused(tiny: IRLConfig) -> None:
    with pytest.raises(ValueError, match="forcing"):
        replace(tiny, method="forcing", env="continuous")


@pytest.mark.parametrize("row", [row for row in ROWS if row["env"] == "graph"], ids=name_of)
def test_an_update_is_made(row: Row, tiny: IRLConfig, task: Task[Any]) -> None:
    """One update of cloning and one of the method's own move what they should, without Ray."""
    config = changed(tiny, row)
    torch.manual_seed(0)
    agent = Agent(**sizes_of(config, task))
    agent.attach(task.world.observer())
    update = Update(agent)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    train, rng = task.splits["train"], np.random.default_rng(0)
    told, described = (Replay(64, config.max_steps, config.max_words) for _ in range(2))
    told.add(train.paths[:8], np.arange(8))
    if config.labels:
        described.add(train.paths[8:16], np.arange(8))
    if config.cloning_first or not config.rolls_out:
        update(columns(train.paths[:4], np.full(4, 2)))
    if config.adversarial and config.warm_start:
        agent.start_from_policy()
    if config.rolls_out and config.method != "forcing":
        goals = train.paths[:8]
        parts = pairs_of_update(config, train, told, described, goals, True, rng)
        figures = update(columns(*join_parts(parts)))
        assert all(np.isfinite(value) for value in figures.values())
    moved = {name for name, value in agent.state_dict().items() if not value.equal(before[name])}
    assert any(name.startswith("policy") for name in moved)


def columns(paths: Any, role: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(v) for name, v in pair_batch(paths, role).items()}


@pytest.mark.ray
@pytest.mark.parametrize("method", ["langgoal", "completion"])
def test_a_row_of_the_method_really_runs(method: str, build: Build, tiny: IRLConfig) -> None:
    row = next(row for row in ROWS if row["method"] == method and row["env"] == "graph")
    algorithm = build(
        changed(tiny, {**row, "held_back": 0.0, "shuffled_text": False, "runners": 0})
    )
    while not algorithm.finished:
        algorithm.train()
    assert algorithm.counts["irl"] == tiny.updates
