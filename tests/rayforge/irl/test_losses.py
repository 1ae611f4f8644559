"""The losses' known answers (docs/langgoal.md): equilibrium, soft values, entropy counted once."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rayforge.irl import losses
from rayforge.irl.networks import log_policy, probabilities

ONE = torch.ones(1, 1)


def all_legal(actions: int) -> Tensor:
    return torch.ones(1, 1, actions, dtype=torch.bool)


def best_policy(q: Tensor, temperature: float, steps: int = 400) -> Tensor:
    """log pi [1, 1, A] after small steps on the policy loss from the uniform policy."""
    scores = torch.zeros_like(q, requires_grad=True)
    legal = torch.ones_like(q, dtype=torch.bool)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        losses.actor_loss(log_policy(scores, legal), q, legal, temperature, ONE).backward()
        optimizer.step()
    return log_policy(scores, legal).detach()


def test_adversarial_equilibrium() -> None:
    """One state, expert (0.7, 0.2, 0.1): alternating small steps end at pi = p, D = 1/2, f = log p.

    Each action stands for the step that takes it; how much it counts is how often it is taken.
    """
    expert, legal = torch.tensor([[0.7, 0.2, 0.1]]), all_legal(3)
    f = torch.zeros(1, 3, requires_grad=True)
    scores = torch.tensor([[[-1.0, 0.5, 1.0]]], requires_grad=True)
    reward_steps = torch.optim.SGD([f], lr=1.0)
    policy_steps = torch.optim.SGD([scores], lr=0.3)
    for _ in range(1500):
        log_pi = log_policy(scores, legal)
        acting = log_pi.detach()[0]
        reward_steps.zero_grad()
        logit = losses.discriminator_logit(f, acting)
        losses.discriminator_loss(logit, expert, acting.exp(), smoothing=0.0).backward()
        reward_steps.step()
        policy_steps.zero_grad()
        losses.actor_loss(log_pi, f.detach()[None], legal, 1.0, ONE).backward()
        policy_steps.step()
    log_pi = log_policy(scores, legal).detach()
    torch.testing.assert_close(log_pi.exp()[0], expert, atol=2e-3, rtol=0)
    half = losses.discriminator_logit(f, log_pi[0]).sigmoid().detach()
    torch.testing.assert_close(half, torch.full((1, 3), 0.5), atol=2e-3, rtol=0)
    expected = torch.tensor([[-0.357, -1.609, -2.303]])
    torch.testing.assert_close(f.detach(), expected, atol=1e-2, rtol=0)


def test_soft_bandit() -> None:
    reward = torch.tensor([[[1.0, 0.0]]])
    log_pi = best_policy(reward, temperature=0.5)
    assert float(log_pi[0, 0, 0].exp()) == pytest.approx(0.8808, abs=1e-4)
    value = losses.soft_value(reward, log_pi, all_legal(2), 0.5)
    assert float(value) == pytest.approx(1.0635, abs=1e-4)


def test_soft_backup_of_two_steps() -> None:
    """Action 0 earns nothing and leads to the bandit above; action 1 earns 0.2 and ends."""
    bandit = torch.tensor([[[1.0, 0.0]]])
    following = losses.soft_value(bandit, best_policy(bandit, 0.5), all_legal(2), 0.5)
    f, done = torch.tensor([[0.0, 0.2]]), torch.tensor([[0.0, 1.0]])
    q = losses.critic_target(f, following.expand(1, 2), done, gamma=0.9)
    torch.testing.assert_close(q, torch.tensor([[0.9571, 0.2]]), atol=1e-4, rtol=0)
    log_pi = best_policy(q[None], temperature=0.5)
    torch.testing.assert_close(log_pi.exp()[0], torch.tensor([[0.8197, 0.1803]]), atol=1e-4, rtol=0)
    value = losses.soft_value(q[None], log_pi, all_legal(2), 0.5)
    assert float(value) == pytest.approx(1.0565, abs=1e-4)


def reinforce(reward: Tensor, steps: int = 400) -> Tensor:
    """pi after exact policy gradients on the reward f - log pi, the entropy in the reward alone."""
    scores = torch.zeros_like(reward, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    for _ in range(steps):
        log_pi = scores.log_softmax(-1)
        gain = (reward - log_pi).detach()
        optimizer.zero_grad()
        (-(log_pi.exp().detach() * gain * log_pi).sum()).backward()
        optimizer.step()
    return scores.softmax(-1).detach()


def test_entropy_is_counted_once() -> None:
    f = torch.tensor([[[1.0, 0.0]]])
    expected = torch.tensor([[[0.7311, 0.2689]]])
    soft = best_policy(f, temperature=1.0).exp()
    torch.testing.assert_close(soft, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(reinforce(f), expected, atol=1e-4, rtol=0)


def test_both_ways_to_count_the_entropy_have_the_same_gradient() -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 1, 5, requires_grad=True)
    f, legal = torch.randn(1, 1, 5), all_legal(5)
    log_pi = log_policy(scores, legal)
    (soft,) = torch.autograd.grad(losses.actor_loss(log_pi, f, legal, 1.0, ONE), scores)
    log_pi = scores.log_softmax(-1)
    gain = losses.discriminator_logit(f, log_pi).detach()
    (plain,) = torch.autograd.grad(-(log_pi.exp().detach() * gain * log_pi).sum(), scores)
    torch.testing.assert_close(soft, plain)
    assert soft.abs().max() > 0.05


def test_discriminator_loss_at_one_half_and_its_optimum_under_smoothing() -> None:
    half = torch.zeros(2, 3)
    weights = torch.tensor([[1.0, 1, 1], [0, 0, 0]]), torch.tensor([[0.0, 0, 0], [1, 1, 0]])
    for smoothing in (0.0, 0.1):
        loss = losses.discriminator_loss(half, *weights, smoothing)
        assert float(loss) == pytest.approx(2 * math.log(2))
    # With labels 0.9 and 0.1 the loss is least where D says 0.9 on positives, 0.1 on negatives.
    best = math.log(0.9 / 0.1)
    logit = torch.tensor([[best] * 3, [-best] * 3], requires_grad=True)
    losses.discriminator_loss(logit, *weights, 0.1).backward()
    assert logit.grad is not None
    assert logit.grad.abs().max() < 1e-6
    right = losses.discriminator_loss(torch.tensor([[4.0] * 3, [-4.0] * 3]), *weights, 0.0)
    wrong = losses.discriminator_loss(torch.tensor([[-4.0] * 3, [4.0] * 3]), *weights, 0.0)
    assert right < 0.05 < 8 < wrong


def test_positives_and_negatives_count_alike_whatever_their_number() -> None:
    logit = torch.tensor([[1.0, 1.0, 1.0, -2.0]])
    positive, negative = torch.tensor([[1.0, 1, 1, 0]]), torch.tensor([[0.0, 0, 0, 1]])
    expected = math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.0))
    loss = losses.discriminator_loss(logit, positive, negative, 0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_padding_weighs_nothing_and_an_empty_batch_gives_zero() -> None:
    values = torch.tensor([[1.0, 2.0, torch.finfo().max]])
    assert float(losses.mean(values, torch.tensor([[1.0, 1.0, 0.0]]))) == pytest.approx(1.5)
    assert float(losses.mean(values, torch.zeros(1, 3))) == 0.0
    assert float(losses.cloning_loss(torch.tensor([[-2.0, 0.0]]), torch.tensor([[1.0, 0.0]]))) == 2


def test_critic_loss_sums_over_the_twins() -> None:
    q = torch.tensor([[[1.0, 0.0]], [[4.0, 0.0]]])
    target, weight = torch.tensor([[3.0, 9.0]]), torch.tensor([[1.0, 0.0]])
    assert float(losses.critic_loss(q, target, weight)) == pytest.approx(4.0 + 1.0)


def test_illegal_actions_take_no_part_in_values_entropy_or_gradients() -> None:
    legal = torch.tensor([[[True, True, False]]])
    scores = torch.tensor([[[0.0, 0.0, 9.0]]], requires_grad=True)
    log_pi = log_policy(scores, legal)
    assert probabilities(log_pi, legal).tolist() == [[[0.5, 0.5, 0.0]]]
    q = torch.tensor([[[1.0, 3.0, 100.0]]])
    value = losses.soft_value(q, log_pi, legal, 0.5)
    assert float(value.detach()) == pytest.approx(2.0 + 0.5 * math.log(2))
    assert float(losses.entropy(log_pi, legal).detach()) == pytest.approx(math.log(2))
    losses.actor_loss(log_pi, q, legal, 1.0, ONE).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0, 2] == 0
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0, 0, 1] < 0 < scores.grad[0, 0, 0]


def test_actor_loss_gives_no_gradient_to_illegal_states_of_one_action() -> None:
    """A forced STOP: its probability is 1 whatever the scores say."""
    legal = torch.tensor([[[True, False, False]]])
    scores = torch.tensor([[[-3.0, 1.0, 2.0]]], requires_grad=True)
    log_pi = log_policy(scores, legal)
    assert log_pi.tolist() == [[[0.0, 0.0, 0.0]]]
    losses.actor_loss(log_pi, torch.randn(1, 1, 3), legal, 1.0, ONE).backward()
    assert scores.grad is not None
    assert not scores.grad.any()


def test_entropy_target_is_set_by_the_legal_actions_of_each_state() -> None:
    """Uniform over 2, over 4 and over 1 action: the gap to 0.5 log|A| is 0.5 log|A|; the forced
    state does not count."""
    legal = torch.tensor([[[True, True, False, False], [True] * 4, [True, False, False, False]]])
    log_pi = log_policy(torch.zeros(1, 3, 4), legal)
    log_temperature = torch.tensor(math.log(2.0), requires_grad=True)
    weight = torch.ones(1, 3)
    loss = losses.temperature_loss(log_temperature, log_pi, legal, 0.5, weight)
    gap = 0.5 * (math.log(2) + math.log(4)) / 2
    assert float(loss.detach()) == pytest.approx(2.0 * gap)
    loss.backward()
    assert log_temperature.grad is not None
    assert float(log_temperature.grad) > 0, "too much entropy: the temperature falls"


def test_temperature_rises_where_the_policy_is_too_sure() -> None:
    legal = all_legal(4)
    scores = torch.tensor([[[8.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    log_temperature = torch.tensor(0.0, requires_grad=True)
    losses.temperature_loss(log_temperature, log_policy(scores, legal), legal, 0.5, ONE).backward()
    assert log_temperature.grad is not None
    assert float(log_temperature.grad) < 0
    assert scores.grad is None, "the policy learns nothing from it"


def test_inflections_are_where_the_action_changes() -> None:
    action = torch.tensor([[1, 1, 2, 2, 0], [3, 3, 3, 1, 1]])
    expected = torch.tensor([[3.0, 1, 3, 1, 3], [3.0, 1, 1, 3, 1]])
    torch.testing.assert_close(losses.inflections(action, 3.0), expected)
    assert (losses.inflections(action, 1.0) == 1).all()


def adversarial(reward_of: Callable[[Tensor, Tensor], Tensor], temperature: float) -> Tensor:
    """pi [3] where a plain classifier d and a soft policy end against expert (0.7, 0.2, 0.1) in one
    state; `reward_of(d, log_pi)` is what the soft critic is given."""
    expert, legal = torch.tensor([[0.7, 0.2, 0.1]]), all_legal(3)
    d = torch.zeros(1, 3, requires_grad=True)
    scores = torch.tensor([[[-1.0, 0.5, 1.0]]], requires_grad=True)
    classifier_steps = torch.optim.SGD([d], lr=1.0)
    policy_steps = torch.optim.SGD([scores], lr=0.3)
    for _ in range(700):
        log_pi = log_policy(scores, legal)
        acting = log_pi.detach()[0]
        classifier_steps.zero_grad()
        losses.discriminator_loss(d, expert, acting.exp(), smoothing=0.0).backward()
        classifier_steps.step()
        policy_steps.zero_grad()
        q = reward_of(d.detach(), acting)[None]
        losses.actor_loss(log_pi, q, legal, temperature, ONE).backward()
        policy_steps.step()
    return log_policy(scores, legal).detach().exp()[0, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_a_plain_classifiers_reward_ends_at_the_expert(temperature: float) -> None:
    """GAIL: the log-odds hold the entropy, so that it counts once whatever the temperature is."""
    policy = adversarial(lambda d, log_pi: losses.plain_reward(d, log_pi, temperature), temperature)
    torch.testing.assert_close(policy, torch.tensor([0.7, 0.2, 0.1]), atol=5e-3, rtol=0)


def test_the_same_reward_given_to_soft_critics_as_it_is_counts_entropy_twice() -> None:
    """pi ~ p^(1/2): 0.523, 0.280, 0.198."""
    policy = adversarial(lambda d, log_pi: d, 1.0)
    torch.testing.assert_close(policy, torch.tensor([0.5229, 0.2795, 0.1976]), atol=5e-3, rtol=0)


def test_plain_reward_makes_steps_of_mirror_descent() -> None:
    """Rewards (1, 0) at temperature 0.5 from the uniform policy: pi(a1) = sigmoid(2), sigmoid(4);
    and the soft value is the plain one, sum pi r."""
    reward = torch.tensor([[[1.0, 0.0]]])
    log_pi = log_policy(torch.zeros(1, 1, 2), all_legal(2))
    for expected in (0.8808, 0.9820):
        q = losses.plain_reward(reward, log_pi, 0.5)
        value = losses.soft_value(q, log_pi, all_legal(2), 0.5)
        assert float(value) == pytest.approx(float(log_pi[0, 0, 0].exp()), abs=1e-5)
        log_pi = best_policy(q, 0.5)
        assert float(log_pi[0, 0, 0].exp()) == pytest.approx(expected, abs=2e-3)


def test_completion_is_rewarded_at_the_stop_alone() -> None:
    logit = torch.tensor([[3.0, -2.0, math.log(3.0), 9.0], [math.log(1 / 3), 5.0, 5.0, 5.0]])
    ends = torch.tensor([[0.0, 0, 1, 0], [1.0, 0, 0, 0]])
    expected = torch.tensor([[0.0, 0, 0.75, 0], [0.25, 0, 0, 0]])
    torch.testing.assert_close(losses.completion_reward(logit, ends), expected)


def test_the_likeliest_roll_outs_are_not_taught_as_failures() -> None:
    logit = torch.tensor([[1.0, 9.0], [4.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    kept = losses.without_likeliest(logit, weight, 0.5)
    assert kept.tolist() == [[1, 0], [0, 0], [0, 0], [1, 0]], "what does not count is not dropped"
    assert weight.sum() == 4, "the given weights stay"
    assert losses.without_likeliest(logit, weight, 0.2) is weight
