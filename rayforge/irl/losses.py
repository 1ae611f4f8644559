"""The losses of LangGoalIRL as functions of tensors.

States are the steps of paths: tensors are [B, T] or, over actions, [B, T, A]. `legal` is true for
the actions a state allows; wherever an action is not legal, log pi and values are 0 and the
probability is 0. `weight` [B, T] says how much a step counts (0 for padding); every loss is the
weighted mean over steps. Equations: Zhou & Small 2021 as set down in docs/langgoal.md (their
adversarial form and the discrete soft actor-critic are recalled, not read, there).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rayforge.irl.data_parallel import summed
from rayforge.irl.networks import probabilities


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over all steps (of all learners, `data_parallel`); 0 where nothing counts."""
    total, count = summed((values * weight).sum(), weight.sum())
    return total / count.clamp(min=1e-8)


def discriminator_logit(f: Tensor, log_pi: Tensor) -> Tensor:
    """logit D = f - log pi, where D = exp f / (exp f + pi): high for what experts do."""
    return f - log_pi


def discriminator_loss(
    logit: Tensor, positive: Tensor, negative: Tensor, smoothing: float
) -> Tensor:
    """- E_P[log D] - E_N[log(1 - D)] with both labels moved by `smoothing` towards one half.

    `positive`, `negative` [B, T]: weights of the steps in P (expert pairs, rephrased expert pairs,
    relabelled roll-outs) and in N (roll-outs with the instruction they were told to follow).
    """
    high = torch.full_like(logit, 1.0 - smoothing)
    low = torch.full_like(logit, smoothing)
    on_positive = F.binary_cross_entropy_with_logits(logit, high, reduction="none")
    on_negative = F.binary_cross_entropy_with_logits(logit, low, reduction="none")
    return mean(on_positive, positive) + mean(on_negative, negative)


def plain_reward(reward: Tensor, log_pi: Tensor, temperature: Tensor | float) -> Tensor:
    """reward + temperature log pi(a|s): what soft critics are given to pursue `reward` alone.

    Soft critics add the entropy. That is right for the f of D = exp f / (exp f + pi), which does
    not hold it. A plain classifier's log-odds d end at log rho_E - log rho_pi, with the entropy in
    them already: given to soft critics as they are, it counts twice, and one state with expert p
    ends at pi ~ p^(1 / (1 + temperature)) instead of p. A reward for completing a task asks for no
    entropy at all. With temperature log pi of the policy as it is added, Q = q + temperature log
    pi, where q is the plain action value of `reward`; V = sum_a pi q; and the policy loss leads to
    pi exp(q / temperature): a step of mirror descent, whose size is all that the temperature still
    means (Vieillard, Pietquin & Geist 2020, Munchausen reinforcement learning, alpha = 1). Where
    all rewards are 0, Q = log pi stays as it is at temperature 1.
    """
    return reward + temperature * log_pi


def completion_reward(logit: Tensor, ends: Tensor) -> Tensor:
    """P("this path fulfils this instruction") at the STOP, 0 before: in [0, 1], [B, T].

    `logit` [B, T] is the classifier's at every step, `ends` [B, T] is true at the STOP (after
    AGILE, Bahdanau et al. 2019, whose reward is whether that probability is above one half).
    """
    return logit.sigmoid() * ends


def without_likeliest(logit: Tensor, weight: Tensor, share: float) -> Tensor:
    """`weight` [B, T] with the given share of its counted steps, those of highest logit, set to 0.

    Among an agent's roll-outs some fulfil their instruction: the classifier is not taught that they
    do not (AGILE drops a quarter). The number dropped is rounded down.
    """
    dropped = int(share * float((weight > 0).sum()))
    if not dropped:
        return weight
    counted = logit.detach().masked_fill(weight <= 0, -torch.inf).flatten()
    kept = weight.flatten().clone()
    kept[counted.topk(dropped).indices] = 0.0
    return kept.view_as(weight)


def soft_value(q: Tensor, log_pi: Tensor, legal: Tensor, temperature: Tensor | float) -> Tensor:
    """V(s) = sum_a pi(a|s) [Q(s,a) - temperature log pi(a|s)], [..., A] -> [...]."""
    return (probabilities(log_pi, legal) * (q - temperature * log_pi)).sum(-1)


def critic_target(f: Tensor, next_value: Tensor, done: Tensor, gamma: float) -> Tensor:
    """y = f + gamma (1 - done) V'(s'). The reward is f alone: the entropy is in V' already."""
    return f + gamma * (1.0 - done) * next_value


def critic_loss(q_taken: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum over the critics of (Q_i(s,a) - y)^2; q_taken [critics, B, T], target [B, T]."""
    return mean((q_taken - target).square().sum(0), weight)


def actor_loss(
    log_pi: Tensor, q: Tensor, legal: Tensor, temperature: Tensor | float, weight: Tensor
) -> Tensor:
    """sum_a pi(a|s) [temperature log pi(a|s) - min_i Q_i(s,a)]; q is the minimum, no gradient."""
    return -mean(soft_value(q, log_pi, legal, temperature), weight)


def entropy(log_pi: Tensor, legal: Tensor) -> Tensor:
    """H(pi(.|s)) in nats, [..., A] -> [...]."""
    return -(probabilities(log_pi, legal) * log_pi).sum(-1)


def temperature_loss(
    log_temperature: Tensor, log_pi: Tensor, legal: Tensor, scale: float, weight: Tensor
) -> Tensor:
    """temperature x (H(pi) - scale log|A(s)|), log pi without gradient.

    The target is set per state, because the number of legal actions differs from panorama to
    panorama; states with one legal action (a forced STOP) have no entropy and do not count.
    """
    choices = legal.sum(-1)
    target = scale * choices.clamp(min=1).float().log()
    gap = entropy(log_pi, legal).detach() - target
    return log_temperature.exp() * mean(gap, weight * (choices > 1))


def inflections(action: Tensor, weight: float) -> Tensor:
    """How much a step counts in imitation [B, T]: `weight` where the action differs from the one
    before, else 1 (inflection weighting, Wijmans et al. 2019).

    Low-level walks repeat themselves: an agent that repeats its last action is right most of the
    time and goes nowhere.
    """
    changed = torch.ones_like(action, dtype=torch.bool)
    changed[:, 1:] = action[:, 1:] != action[:, :-1]
    return 1.0 + (weight - 1.0) * changed.float()


def cloning_loss(log_pi_taken: Tensor, weight: Tensor) -> Tensor:
    """- log pi(a_expert|s), the mean over steps."""
    return -mean(log_pi_taken, weight)
