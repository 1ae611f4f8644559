"""An update: each loss is about its own pairs, and what cannot be learnt from is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from rayforge.errors import DivergedError, MachineError
from rayforge.irl.pairs import Role, join_parts, pair_batch
from rayforge.paths.arrays import Paths
from rayforge.paths.frame_store import FrameFile, FrameStore
from trainers.irl.algorithm import LangGoalIRLConfig, sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.learner import AgentLearner
from trainers.irl.learner_calls import halved
from trainers.irl.task import Shared, Task

ANCHOR = Role.CLONE
EXPERT = Role.POSITIVE | Role.REINFORCE | Role.IMPROVE
TOLD = Role.NEGATIVE | Role.REINFORCE | Role.IMPROVE
MISMATCHED = Role.NEGATIVE

Make = Callable[..., AgentLearner]


@pytest.fixture
def make(task: Task, tiny: IRLConfig) -> Make:
    """The learner by itself; without dropout, so that batches may be compared."""
    steady = replace(tiny.network, dropout=0.0, feature_dropout=0.0)
    config = replace(tiny, network=steady)

    def new(**changes: Any) -> AgentLearner:
        settings = LangGoalIRLConfig()
        settings.irl, settings.world = replace(config, **changes), Shared(task.world)
        settings.sizes = sizes_of(settings.irl, task)
        settings.debugging(seed=0, log_level="ERROR")
        spaces = {DEFAULT_MODULE_ID: (settings.observation_space, settings.action_space)}
        learner: AgentLearner = settings.build_learner(spaces=spaces)
        learner.build()
        # Any agent whose networks differ; the equilibrium would hide what is wrong.
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in learner.agent.named_parameters():
                if name == "log_temperature":
                    continue  # a temperature that is not learnt stays the configuration's
                parameter.add_(0.1 * torch.randn_like(parameter))
        return learner

    return new


def update(learner: AgentLearner, parts: list[tuple[Paths, Role]]) -> dict[str, float]:
    columns = pair_batch(*join_parts(parts))
    count = len(columns["role"])
    columns["kl_weight"] = np.zeros(count, np.float32)
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, count)
    figures: dict[str, Any] = learner.update(batch=batch)[DEFAULT_MODULE_ID]
    return {name: float(value.peek()) for name, value in figures.items() if "/" in name}


def gradients(learner: AgentLearner, network: str) -> dict[str, Tensor]:
    named = getattr(learner.agent, network).named_parameters()
    return {name: p.grad for name, p in named if p.grad is not None}


@pytest.fixture
def parts(task: Task) -> dict[Role, Paths]:
    paths = task.splits["train"].paths
    rows = np.random.default_rng(0).permutation(len(paths))
    return dict(
        zip((ANCHOR, EXPERT, TOLD, MISMATCHED), (paths[r] for r in np.split(rows[:12], 4)),
            strict=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("left_out", "network", "figures"),
    [
        (ANCHOR, "reward", ("discriminator/loss", "discriminator/accuracy", "reward/negative")),
        (ANCHOR, "critics", ("critic/loss", "critic/value", "policy/loss", "policy/entropy")),
        (MISMATCHED, "critics", ("critic/loss", "critic/value", "policy/loss")),
        (MISMATCHED, "policy", ("clone/loss", "policy/loss")),
    ],
)
def test_pairs_have_no_part_in_the_losses_of_others(
    make: Make, parts: dict[Role, Paths], left_out: Role, network: str, figures: tuple[str, ...]
) -> None:
    whole, without = make(), make()
    all_pairs = update(whole, [(paths, role) for role, paths in parts.items()])
    fewer = update(without, [(p, role) for role, p in parts.items() if role != left_out])
    for name in figures:
        assert fewer[name] == pytest.approx(all_pairs[name], rel=1e-4, abs=1e-6), name
    ours, theirs = gradients(whole, network), gradients(without, network)
    assert ours.keys() == theirs.keys() and ours
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-6, rtol=1e-3)


def test_every_part_counts(make: Make, parts: dict[Role, Paths]) -> None:
    everything = update(make(), [(paths, role) for role, paths in parts.items()])
    parts[MISMATCHED] = parts[MISMATCHED].with_tokens(parts[TOLD].tokens)
    other = update(make(), [(paths, role) for role, paths in parts.items()])
    assert other["discriminator/loss"] != pytest.approx(everything["discriminator/loss"], rel=1e-6)
    assert other["critic/loss"] == pytest.approx(everything["critic/loss"], rel=1e-4)


def test_the_order_of_pairs_changes_nothing(make: Make, parts: dict[Role, Paths]) -> None:
    forward = update(make(), [(paths, role) for role, paths in parts.items()])
    backward = update(make(), [(p[::-1], role) for role, p in reversed(parts.items())])
    assert forward == pytest.approx(backward, rel=1e-4, abs=1e-6)


def test_a_warm_up_without_an_anchor_leaves_the_policy(
    make: Make, parts: dict[Role, Paths]
) -> None:
    learner = make()
    only = [(parts[EXPERT], Role.POSITIVE | Role.REINFORCE), (parts[MISMATCHED], MISMATCHED)]
    assert update(learner, only)["clone/loss"] == 0.0
    assert not gradients(learner, "policy") and gradients(learner, "critics")


def test_a_gradient_that_is_not_finite_ends_the_run(make: Make, parts: dict[Role, Paths]) -> None:
    learner = make()
    learner.agent.reward.values.values.bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(DivergedError, match=r"'reward': (inf|nan).*lower .*reward_learning_rate"):
        update(learner, [(paths, role) for role, paths in parts.items()])


def test_a_learner_goes_on_from_its_state_to_the_bit(make: Make, parts: dict[Role, Paths]) -> None:
    """Weights and Adam's moments, whose form belongs to its implementation."""
    pairs = [(paths, role) for role, paths in parts.items()]
    whole, resumed = make(), make()
    update(whole, pairs)
    update(whole, pairs)
    resumed.set_state(whole.get_state())
    update(whole, pairs)
    update(resumed, pairs)
    ours, theirs = (learner.agent.state_dict() for learner in (whole, resumed))
    for name, weight in ours.items():
        assert torch.equal(theirs[name], weight), name


def test_step_sizes_are_the_configurations_after_a_restore(make: Make) -> None:
    """An optimiser's state holds the step size that it was saved with: 2e-4, where 2e-5 is asked
    for by `irl adapt --rate 0.1` or by the configuration of a run that goes on."""
    saved = make(reward_learning_rate=2e-4, critic_learning_rate=2e-4)
    asked = make(reward_learning_rate=2e-5, critic_learning_rate=4e-5, learning_rate=1e-3)
    asked.set_state(saved.get_state())
    (module_id,) = asked.module.keys()
    wanted = {"reward": 2e-5, "critics": 4e-5, "temperature": 4e-5, "policy": 1e-3,
              "generator": saved.config.irl.generator.learning_rate}  # fmt: skip
    for name, rate in wanted.items():
        (group,) = asked.get_optimizer(module_id, name).param_groups
        assert group["lr"] == rate, name


def test_a_network_that_is_not_finite_is_named_by_its_step_size(
    make: Make, parts: dict[Role, Paths]
) -> None:
    learner = make(reward_learning_rate=3.0)
    with torch.no_grad():
        next(iter(learner.agent.reward.parameters())).fill_(torch.nan)
    with pytest.raises(DivergedError, match=r"lower reward_learning_rate \(now 3\)$"):
        update(learner, [(paths, role) for role, paths in parts.items()])


def test_weights_of_half_the_bytes_are_taken_over_rounded(make: Make) -> None:
    learner, other = make(), make()
    (module,), (runner,) = learner.module.values(), other.module.values()
    state = module.unwrapped().get_state(inference_only=True)
    sent = halved(state)
    assert sum(v.nbytes for v in sent.values()) < 0.51 * sum(v.nbytes for v in state.values())
    runner.unwrapped().set_state(sent)
    for name, value in runner.unwrapped().get_state(inference_only=True).items():
        assert value.dtype == state[name].dtype
        np.testing.assert_allclose(value, state[name], rtol=1e-3, atol=1e-6)
        assert np.array_equal(value, sent[name].astype(value.dtype))


def test_the_temperature_is_the_configurations_after_a_restore(make: Make) -> None:
    """It is a parameter of the agent, which the checkpoint of another trial would set."""
    saved, asked, learns = make(), make(temperature=0.5), make(temperature=0.5, entropy_target=0.3)
    for learner in (asked, learns):
        learner.set_state(saved.get_state())
    assert float(asked.agent.temperature) == pytest.approx(0.5)
    assert float(learns.agent.temperature) == pytest.approx(1.0)  # goes on from what was learnt


def test_a_node_without_the_images_of_the_demonstrations_is_told(tmp_path: Path) -> None:
    frames = FrameStore(FrameFile(tmp_path / "gone.npy", np.array([0, 1])), 1)
    with pytest.raises(MachineError, match=r"gone.npy, the images of .* set XDG_CACHE_HOME"):
        object.__new__(AgentLearner).show(frames)
