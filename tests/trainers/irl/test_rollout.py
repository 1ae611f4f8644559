"""Roll-outs: reproducible, what the policy says, ended by STOP or by the limit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from envs.graph.agents import roll_out
from envs.graph.simulator import GraphSimulator, SimulatorError
from rayforge.irl.config import NetworkConfig
from rayforge.irl.networks import Memory, Policy
from rayforge.irl.pairs import path_batch
from rayforge.irl.rollout import Rollout, join_rollouts
from rayforge.language.encoder import Instructions
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver, Observation
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task


class Restless(Policy):
    """Stops where it must, never before."""

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[torch.Tensor, Memory]:
        log_pi, memory = super().step(seen, instructions, memory)
        may_move = seen.legal[..., 1:].any(-1)
        log_pi[..., 0] = torch.where(may_move, -torch.inf, 0.0)
        return log_pi, memory


@pytest.fixture(scope="module")
def observer(task: Task, tiny: IRLConfig) -> GraphObserver:
    return GraphObserver.from_tables(task.data.tables, tiny.max_steps)


@pytest.fixture
def simulator(task: Task, tiny: IRLConfig) -> GraphSimulator:
    return GraphSimulator(task.data.buildings, tiny.max_steps)


def new_policy(task: Task, kind: type[Policy] = Policy) -> Policy:
    torch.manual_seed(0)
    dimension = task.data.tables.dimension
    return kind(len(task.vocabulary), dimension, NetworkConfig(word=16, hidden=16))


def goals_of(task: Task) -> Paths:
    return task.splits["train"].paths


def assert_same(a: Rollout, b: Rollout) -> None:
    for field in fields(Paths):
        np.testing.assert_array_equal(getattr(a.paths, field.name), getattr(b.paths, field.name))
    np.testing.assert_array_equal(a.probability, b.probability)
    np.testing.assert_array_equal(a.entropy, b.entropy)


def draws(goals: Paths, observer: GraphObserver, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(goals), observer.max_steps), np.float32)


def test_the_seed_decides(task: Task, observer: GraphObserver, simulator: GraphSimulator) -> None:
    policy, goals = new_policy(task), goals_of(task)
    first = roll_out(policy, observer, simulator, goals, draws(goals, observer, 1))
    torch.manual_seed(5)  # torch's own random numbers play no part, nor does dropout
    policy.train()
    other_simulator = GraphSimulator(task.data.buildings, observer.max_steps)
    assert_same(
        roll_out(policy, observer, other_simulator, goals, draws(goals, observer, 1)), first
    )
    other = roll_out(policy, observer, simulator, goals, draws(goals, observer, 2))
    assert not np.array_equal(other.paths.action, first.paths.action)
    best = roll_out(policy, observer, simulator, goals, None)
    assert_same(roll_out(policy, observer, simulator, goals, None), best)
    assert not np.array_equal(best.paths.action, first.paths.action)


def test_paths_are_what_the_simulator_does(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    goals = goals_of(task)
    paths = roll_out(new_policy(task), observer, simulator, goals, draws(goals, observer, 3)).paths
    assert len(set(paths.length.tolist())) > 3, "some stop early, some late"
    steps = np.arange(observer.max_steps)
    real = steps < paths.length[:, None]
    assert not paths.action[np.arange(len(paths)), paths.length - 1].any(), "the last is STOP"
    assert (paths.action[steps < paths.length[:, None] - 1] > 0).all(), "and no other is"
    for name in ("viewpoint", "heading", "action"):
        assert not getattr(paths, name)[~real].any(), f"padding of {name}"
    np.testing.assert_array_equal(paths.tokens, goals.tokens)
    simulator.reset(goals.viewpoint[:, 0], goals.heading[:, 0])
    for step in range(observer.max_steps):
        going = real[:, step]
        np.testing.assert_array_equal(simulator.done, ~going)
        np.testing.assert_array_equal(paths.viewpoint[going, step], simulator.viewpoint[going])
        np.testing.assert_array_equal(paths.heading[going, step], simulator.heading_bin[going])
        simulator.step(paths.action[:, step].astype(np.int64))
    assert simulator.done.all()


@torch.no_grad()
def test_probabilities_are_the_policys_on_the_whole_path(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    """Also of rows that go on when others have ended and left the batch."""
    policy, goals = new_policy(task), goals_of(task)
    rollout = roll_out(policy, observer, simulator, goals, draws(goals, observer, 4))
    c = {name: torch.from_numpy(array) for name, array in path_batch(rollout.paths).items()}
    seen = observer.observe_paths(c["viewpoint"], c["heading"], c["action"], c["length"])
    log_pi = policy(seen, policy.instruction_encoder(c["tokens"]), c["length"])
    real = torch.arange(log_pi.shape[1]) < c["length"][:, None]
    taken = log_pi.gather(-1, c["action"][..., None]).squeeze(-1).exp() * real
    width = log_pi.shape[1]
    np.testing.assert_allclose(rollout.probability[:, :width], taken.numpy(), atol=1e-5)
    assert not rollout.probability[:, width:].any()
    entropy = -(log_pi.exp() * seen.legal * log_pi).sum(-1) * real
    expected = entropy.sum(1) / c["length"]
    np.testing.assert_allclose(rollout.entropy, expected.numpy(), atol=1e-5)


def test_actions_are_taken_as_often_as_they_are_likely(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    """Four thousand episodes from one state: the first actions' shares are the probabilities."""
    count = 4000
    goals = goals_of(task)[np.zeros(count, int)]
    rollout = roll_out(new_policy(task), observer, simulator, goals, draws(goals, observer, 5))
    first = rollout.paths.action[:, 0]
    assert len(set(first.tolist())) > 1
    total = 0.0
    for action in np.unique(first):
        chance = float(rollout.probability[first == action, 0][0])
        assert abs((first == action).mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / count)
        total += chance
    assert total == pytest.approx(1.0, abs=0.01)


def test_episodes_do_not_depend_on_their_batch(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    policy, goals = new_policy(task), goals_of(task)
    chosen = np.random.default_rng(0).permutation(len(goals))[:9]
    for numbers in (None, draws(goals, observer, 8)):
        together = roll_out(policy, observer, simulator, goals, numbers).paths
        own = None if numbers is None else numbers[chosen]
        part = roll_out(policy, observer, simulator, goals[chosen], own).paths
        np.testing.assert_array_equal(part.action, together.action[chosen])
        np.testing.assert_array_equal(part.viewpoint, together.viewpoint[chosen])
        np.testing.assert_array_equal(part.heading, together.heading[chosen])


def test_joined_rollouts_are_one_after_the_other(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    policy, goals = new_policy(task), goals_of(task)
    whole = roll_out(policy, observer, simulator, goals, None)
    parts = [
        roll_out(policy, observer, simulator, goals[rows], None)
        for rows in (slice(0, 5), slice(5, None))
    ]
    joined = join_rollouts(parts)
    np.testing.assert_array_equal(joined.paths.action, whole.paths.action)
    np.testing.assert_allclose(joined.probability, whole.probability, atol=1e-5)
    np.testing.assert_allclose(joined.entropy, whole.entropy, atol=1e-5)


@pytest.mark.parametrize("edge", [0.0, float(np.nextafter(np.float32(1), np.float32(0)))])
def test_the_ends_of_the_draws_range_take_legal_actions(
    task: Task, observer: GraphObserver, simulator: GraphSimulator, edge: float
) -> None:
    """Those of probability 0 are never taken, not even by a draw of 0."""
    goals = goals_of(task)
    numbers = np.full((len(goals), observer.max_steps), edge, np.float32)
    for kind in (Policy, Restless):
        rollout = roll_out(new_policy(task, kind), observer, simulator, goals, numbers)
        real = np.arange(observer.max_steps) < rollout.paths.length[:, None]
        assert (rollout.probability[real] > 0).all()


def test_the_limit_forces_a_stop(
    task: Task, observer: GraphObserver, simulator: GraphSimulator
) -> None:
    policy, goals = new_policy(task, Restless), goals_of(task)
    rollout = roll_out(policy, observer, simulator, goals, draws(goals, observer, 6))
    assert (rollout.paths.length == observer.max_steps).all()
    assert (rollout.paths.action[:, -1] == 0).all()
    assert (rollout.paths.action[:, :-1] > 0).all()
    np.testing.assert_array_equal(rollout.probability[:, -1], 1.0)


def test_an_error_of_the_simulator_names_its_row(task: Task, observer: GraphObserver) -> None:
    class Broken(GraphSimulator):
        def step(self, action: np.ndarray, waiting: np.ndarray | None = None) -> None:
            if self.steps[3] == 1:
                wrong = action.copy()
                wrong[3] = 99
                return super().step(wrong, waiting)
            return super().step(action, waiting)

    simulator = Broken(task.data.buildings, observer.max_steps)
    goals = goals_of(task)
    with pytest.raises(SimulatorError, match="row 3: action 99 is illegal at viewpoint") as caught:
        roll_out(new_policy(task, Restless), observer, simulator, goals, draws(goals, observer, 7))
    assert caught.value.row == 3
    scan = task.splits["train"].episodes[3].scan
    assert f"building {scan}" in str(caught.value)
