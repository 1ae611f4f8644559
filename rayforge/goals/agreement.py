"""Whether an instruction leads along its path: judged by who would follow it and by who wrote it.

Two listeners say how likely a path is under an instruction. The follower's is the policy,
log pi(tau | G). The generator's is its own likelihood turned round by Bayes' rule over the path and
other ways from the same start, log p(tau | G) = log p(G | tau) - log sum_tau' p(G | tau'). An
instruction is used where both agree on its path, and of several the one on which they agree most
(pragmatic inference: Andreas & Klein 2016; Fried et al. 2018, who weigh the two likewise).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Scores(NamedTuple):
    """What both listeners say of pairs of paths and instructions, any shape alike."""

    follower: Tensor
    """log pi(tau | G) an action, the mean over the path; at most 0."""
    speaker: Tensor
    """log p(tau | G) among the path and other ways, nats; 0 where there is no other way."""
    ahead: Tensor
    """Bool: the instruction is likelier for the path than for every other way."""


def follower_score(log_pi: Tensor, action: Tensor, length: Tensor) -> Tensor:
    """Mean of log pi(a_t | s_t, G) over the actions of paths: log pi [B, T, A], action int64
    [B, T], length [B] -> [B].

    Its exponential is the geometric mean of the probabilities of the path's actions.
    """
    taken = log_pi.gather(-1, action[..., None]).squeeze(-1)
    real = torch.arange(taken.shape[1], device=taken.device) < length[:, None]
    return (taken * real).sum(1) / length


def path_posterior(own: Tensor, others: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """log p(tau | G) [B] under a uniform prior over tau and the other ways that are `present`, and
    whether tau is ahead of them all, bool [B].

    Args:
        own: log p(G | tau) [B].
        others: log p(G | tau') [B, D].
        present: bool [B, D].
    """
    others = others.masked_fill(~present, -torch.inf)
    total = torch.cat([own[:, None], others], 1).logsumexp(1)
    return own - total, (own[:, None] > others).all(1)


def accepted(scores: Scores, agreement: float) -> Tensor:
    """Which pairs both listeners take as matching, bool: the follower gives each action at least
    probability `agreement` in the geometric mean, and the generator finds no other way likelier.

    With `agreement` 0 every pair is accepted.
    """
    if agreement == 0.0:
        return torch.ones_like(scores.ahead)
    return (scores.follower >= math.log(agreement)) & scores.ahead


def choose(scores: Scores, length: Tensor, agreement: float) -> tuple[Tensor, Tensor]:
    """The best of K instructions for each path: scores [B, K], length [B] -> place int64 [B], and
    whether any was accepted, bool [B].

    The best has the largest log pi(tau | G) + log p(tau | G) among the accepted ones, or, where
    none is, among all.
    """
    total = scores.follower * length[:, None] + scores.speaker
    good = accepted(scores, agreement)
    total = torch.where(good | ~good.any(1, keepdim=True), total, -torch.inf)
    return total.argmax(1), good.any(1)
