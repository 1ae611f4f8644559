"""Every trunk gives the same answer alone, padded, step by step and along a tree, at equal size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rayforge.circuits.config import CircuitConfig
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig, NetworkConfig
from rayforge.irl.networks import ActionValues, Policy, Reward
from rayforge.irl.path_reward import Recalled, tree_log_policy
from rayforge.irl.trunks import circuit as circuit_trunk
from rayforge.irl.trunks.circuit import CircuitTrunk
from rayforge.irl.trunks.making import make_trunk, parameters
from rayforge.irl.trunks.memory import Memory
from rayforge.irl.update import loss_of
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GEOMETRY
from rayforge.paths.tree import PathTree, TreeBatch
from tests.rayforge.made_up import DIMENSION, MAX_STEPS, WORDS, World, columns

KINDS = ("lstm", "transformer", "circuit", "circuit-conditioned")
CIRCUIT = CircuitConfig(modules=5, layers=1, code=4, signature=4)
SMALL = NetworkConfig(word=12, hidden=16, dropout=0.4, circuit=CIRCUIT)


def network(trunk: str) -> NetworkConfig:
    return replace(SMALL, trunk=trunk)  # type: ignore[arg-type]


def policy_of(trunk: str) -> Policy:
    torch.manual_seed(0)
    policy = Policy(WORDS, DIMENSION, network(trunk)).eval()
    for name, parameter in policy.named_parameters():
        if "move_" in name and parameter.ndim == 2:  # of circuits: instructions differ
            torch.nn.init.normal_(parameter)
    return policy


def log_pi(policy: Policy, world: World, paths: Paths) -> torch.Tensor:
    c = columns(paths)
    with torch.no_grad():
        found: torch.Tensor = policy(
            world.see(paths), policy.instruction_encoder(c["tokens"]), c["length"]
        )
    return found


@pytest.mark.parametrize(("trunk", "window"), [*((kind, 32) for kind in KINDS), ("circuit", 3)])
def test_alone_padded_and_step_by_step(
    world: World, trunk: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, paths = policy_of(trunk), world.walks(8, seed=3)
    monkeypatch.setattr(circuit_trunk, "WINDOW", window)
    whole, c = log_pi(policy, world, paths), columns(paths)
    assert whole.std() > 0.01
    for row in (0, 1, 5):
        alone, length = paths[row : row + 1].trimmed(), int(paths.length[row])
        torch.testing.assert_close(
            log_pi(policy, world, alone)[0], whole[row, :length], atol=1e-5, rtol=1e-4
        )
    instructions = policy.instruction_encoder(c["tokens"])
    memory: Memory | None = None
    arrival = torch.zeros(len(paths), GEOMETRY)
    for step in range(MAX_STEPS):
        viewpoint, heading = c["viewpoint"][:, step], c["heading"][:, step]
        at = torch.full((len(paths), 1), step)
        seen = world.observer(
            viewpoint[:, None], heading[:, None], at, torch.ones_like(at).bool(), arrival[:, None]
        )
        found, memory = policy.step(seen, instructions, memory)
        assert all(len(part) == len(paths) for part in memory)
        going = c["length"] > step
        torch.testing.assert_close(found[going, 0], whole[going, step], atol=1e-5, rtol=1e-4)
        arrival = world.observer.arrivals(viewpoint, heading, c["action"][:, step])


@pytest.mark.parametrize("trunk", KINDS)
def test_a_row_of_zeros_is_an_episode_that_has_just_begun(world: World, trunk: str) -> None:
    policy, paths = policy_of(trunk), world.walks(4, seed=3)
    c, seen = columns(paths), world.see(paths)
    instructions = policy.instruction_encoder(c["tokens"])
    first = replace_steps(seen, 0)
    begun, memory = policy.trunk.step(first, instructions, None)
    for part in memory:
        part[2] = 0
    again, _ = policy.trunk.step(first, instructions, memory)
    torch.testing.assert_close(again[2], begun[2])
    assert not torch.allclose(again[1], begun[1])


def replace_steps(seen: Any, step: int) -> Any:
    return seen._replace(
        state=seen.state[:, step : step + 1], arrival=seen.arrival[:, step : step + 1]
    )


@pytest.mark.parametrize("trunk", KINDS)
def test_along_a_tree(world: World, trunk: str) -> None:
    policy = policy_of(trunk)
    ways = [trees_of(world, seed) for seed in (0, 1)]
    tokens = torch.from_numpy(world.walks(2, seed=9).tokens.astype(np.int64))
    trees = TreeBatch.of([PathTree.of(paths) for paths in ways])
    with torch.no_grad():
        recalled = Recalled.of(policy, trees, trees.observe(world.observer))
        found = tree_log_policy(policy, recalled, trees, tokens)
    for row, paths in enumerate(ways):
        told = paths.with_tokens(np.repeat(tokens[row : row + 1].numpy(), len(paths), 0))
        scores, c = log_pi(policy, world, told), columns(told)
        taken = scores.gather(-1, c["action"][..., None])[..., 0]
        real = torch.arange(taken.shape[1]) < c["length"][:, None]
        torch.testing.assert_close(
            found[row, : len(paths)], (taken * real).sum(1), atol=1e-5, rtol=1e-4
        )


def trees_of(world: World, seed: int) -> Paths:
    """Walks that begin alike."""
    paths = world.walks(40, seed=seed)
    start = np.stack([paths.viewpoint[:, 0], paths.heading[:, 0]], 1)
    same = (start == start[0]).all(1)
    return paths[np.flatnonzero(same)]


@pytest.mark.parametrize("hidden", [32, 64, 128])
@pytest.mark.parametrize("trunk", KINDS[1:])
def test_trunks_have_as_many_parameters(trunk: str, hidden: int) -> None:
    config = NetworkConfig(hidden=hidden)
    counts = [parameters(make_trunk(50, replace(config, trunk=kind))) for kind in (trunk, "lstm")]  # type: ignore[arg-type]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)


@pytest.mark.parametrize("trunk", KINDS)
def test_reward_and_critics_begin_as_log_pi(world: World, trunk: str) -> None:
    policy, paths = policy_of(trunk), world.walks(6, seed=4)
    critics = ActionValues(DIMENSION, network(trunk), heads=2).eval()
    reward = Reward(DIMENSION, network(trunk), shaping=False, gamma=0.9).eval()
    critics.start_from(policy)
    reward.start_from(policy)
    c = columns(paths)
    instructions = policy.instruction_encoder(c["tokens"])
    values, _ = critics(world.see(paths), instructions, c["length"])
    for head in values:
        torch.testing.assert_close(head, log_pi(policy, world, paths), atol=1e-5, rtol=1e-4)
    assert reward.trunk is reward.values.trunk


@pytest.mark.parametrize("trunk", KINDS)
@pytest.mark.parametrize("roles", [2, 4 | 16 | 32])
def test_all_of_a_trunk_learns(world: World, trunk: str, roles: int) -> None:
    torch.manual_seed(0)
    config = AgentConfig(network=network(trunk), augment=False, relabel=False)
    agent = Agent(config, WORDS, DIMENSION)
    agent.attach(world.observer)
    batch = columns(world.walks(6, seed=5)) | {"role": torch.full((6,), roles)}
    if roles != 2:
        batch["role"][3:] = 8 | 16 | 32
    loss, _ = loss_of(agent, batch)
    loss.backward()
    networks = [agent.policy] if roles == 2 else [agent.policy, agent.reward, agent.critics]
    for part in networks:
        for name, parameter in part.trunk.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert (parameter.grad != 0).any() or roles != 2, name


def test_the_policy_draws_its_links_and_reward_and_critics_do_not(world: World) -> None:
    agent = Agent(AgentConfig(network=network("circuit")), WORDS, DIMENSION).train()
    drawn = {}
    for name in ("policy", "reward", "critics"):
        trunk = getattr(agent, name).trunk
        assert isinstance(trunk, CircuitTrunk)
        drawn[name] = trunk.circuit.links(trunk.generator(), 2)[0].shape[0]
    assert drawn == {"policy": 2, "reward": 1, "critics": 1}
