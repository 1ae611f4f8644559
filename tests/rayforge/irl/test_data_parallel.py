"""Learners with a part of the batch each: gradients and figures of one learner with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from rayforge.goals.config import GeneratorConfig
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig, NetworkConfig
from rayforge.irl.data_parallel import parted, pooled, summed
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.pairs import Role, join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import Update, loss_of
from tests.rayforge.made_up import DIMENSION, MAX_STEPS, WORDS, World

LEARNERS = 2
STEADY = NetworkConfig(word=12, hidden=16, dropout=0.0, feature_dropout=0.0)
DRAWS = GeneratorConfig(
    word=12, hidden=16, latent=4, dropout=0.0, feature_dropout=0.0, word_dropout=0.0
)


class Case(NamedTuple):
    name: str
    agent: Agent
    batch: dict[str, Tensor]


class Made(NamedTuple):
    """What an update came to."""

    loss: Tensor
    figures: dict[str, float]
    gradients: dict[str, Tensor | None]
    weights: dict[str, Tensor]


def make(agent: Agent, batch: dict[str, Tensor]) -> Made:
    update = Update(agent)
    loss, figures = loss_of(agent, batch)
    update.backward(loss)
    gradients = {name: p.grad for name, p in agent.named_parameters()}
    kept = {name: None if g is None else g.clone() for name, g in gradients.items()}
    for optimizer in update.optimizers.values():
        optimizer.step()
    return Made(loss.detach(), figures, kept, agent.state_dict())


def cases(world: World) -> list[Case]:
    """Updates of every kind on walks of unlike lengths; 13 expert paths, so that halves differ."""
    expert, walked = world.walks(13, 1), world.walks(16, 2)
    told = Replay(32, MAX_STEPS, 20)
    told.add(walked, np.arange(16))
    buildings = np.arange(13) % 2
    demonstrations = Demonstrations(
        (None,) * 13, expert, expert.viewpoint[:, 0], 0, buildings, np.arange(13)
    )
    found = []
    kinds: tuple[tuple[Any, dict[str, Any]], ...] = (
        ("langgoal", {"entropy_target": 0.5, "potential_shaping": True}),
        ("gail", {}),
        ("completion", {"likeliest_left_out": 0.0}),
        ("hindsight", {}),
    )
    for method, more in kinds:
        config = AgentConfig(
            method=method, network=STEADY, generator=DRAWS, positives=7, negatives=6, **more
        )
        parts = pairs_of_update(
            config, demonstrations, told, told, expert, True, np.random.default_rng(3)
        )
        found.append(Case(method, new_agent(world, config), as_batch(*join_parts(parts))))
    config = AgentConfig(network=STEADY, generator=DRAWS)
    for name, role, count in (("clone", Role.CLONE, 13), ("describe", Role.DESCRIBE, 13),
                              ("one pair", Role.CLONE, 1)):  # fmt: skip
        batch = as_batch(expert[:count], np.full(count, int(role)))
        found.append(Case(name, new_agent(world, config), batch))
    return found


def as_batch(paths: Any, role: np.ndarray) -> dict[str, Tensor]:
    batch = {name: torch.from_numpy(column) for name, column in pair_batch(paths, role).items()}
    return {**batch, "kl_weight": torch.full((len(role),), 0.7)}


def new_agent(world: World, config: AgentConfig) -> Agent:
    """An agent whose networks differ: an equilibrium would hide what is wrong."""
    torch.manual_seed(1)
    agent = Agent(config, vocabulary=WORDS, dimension=DIMENSION)
    agent.attach(world.observer)
    with torch.no_grad():
        for name, parameter in agent.named_parameters():
            if name != "log_temperature":
                parameter.add_(0.1 * torch.randn_like(parameter))
    return agent


def learn(rank: int, folder: str) -> None:
    """One of the learners."""
    torch.set_num_threads(1)
    torch.randn_like = torch.zeros_like  # type: ignore[assignment]
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=LEARNERS)
    found = {}
    for case in torch.load(f"{folder}/cases", weights_only=False):
        rows = torch.from_numpy(parted(len(case.batch["role"]), LEARNERS)[rank])
        found[case.name] = make(case.agent, {k: v[rows] for k, v in case.batch.items()})
    torch.save({name: tuple(made) for name, made in found.items()}, f"{folder}/{rank}")
    distributed.destroy_process_group()


def test_two_learners_make_the_update_of_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = cases(world)
    torch.save(made_up, tmp_path / "cases")
    multiprocessing.spawn(learn, (str(tmp_path),), nprocs=LEARNERS)
    one, other = (torch.load(tmp_path / str(r), weights_only=False) for r in range(LEARNERS))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # their noise differs by design
    for name, agent, batch in made_up:
        whole, ours, theirs = make(agent, batch), Made(*one[name]), Made(*other[name])
        torch.testing.assert_close(ours.loss, whole.loss, rtol=1e-5, atol=1e-6, msg=name)
        assert ours.figures == pytest.approx(whole.figures, rel=1e-4, abs=1e-6), name
        assert ours.figures == theirs.figures and torch.equal(ours.loss, theirs.loss)
        assert any(gradient is not None for gradient in whole.gradients.values())
        for parameter, gradient in whole.gradients.items():
            found = ours.gradients[parameter]
            if gradient is None:
                assert found is None, (name, parameter)
            else:
                assert found is not None, (name, parameter)
                torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)
        for parameter, value in ours.weights.items():
            assert torch.equal(value, theirs.weights[parameter]), (name, parameter)


def test_one_learner_is_given_back_what_it_has() -> None:
    part = torch.tensor(3.0)
    assert summed(part)[0] is part and pooled(4, part)[0] is part


@pytest.mark.parametrize(("rows", "learners"), [(7, 2), (8, 3), (5, 4), (3, 3)])
def test_each_row_is_one_learners(rows: int, learners: int) -> None:
    parts = parted(rows, learners)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_fewer_rows_than_learners_are_everybodys() -> None:
    assert [part.tolist() for part in parted(2, 3)] == [[0, 1]] * 3
