"""What a latent carries: mutual information and active units of q(z | x), from its parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ACTIVE = 0.01
"""A unit is active where its posterior mean varies by more than this (Burda et al. 2016)."""


def active_units(mean: Tensor) -> int:
    """Dimensions of posterior means [N, Z] whose variance over the data exceeds `ACTIVE`."""
    return int((mean.var(0, unbiased=False) > ACTIVE).sum())


def mutual_information(mean: Tensor, log_variance: Tensor, random: torch.Generator) -> Tensor:
    """I(x; z) = E[log q(z | x) - log 1/N sum_x' q(z | x')], nats, one z a row of [N, Z].

    The aggregate over the N rows stands for q(z), so that the estimate is at most log N
    (Hoffman & Johnson 2016). It is what is left of the mean KL to the prior once the distance of
    q(z) from the prior is taken off.
    """
    count = len(mean)
    noise = torch.randn(mean.shape, generator=random)
    z = mean + (0.5 * log_variance).exp() * noise
    own = -0.5 * (noise.square() + log_variance).sum(1)
    aggregate = []
    for part in z.split(64):
        gap = (part[:, None] - mean).square() / log_variance.exp()
        aggregate.append((-0.5 * (gap + log_variance).sum(-1)).logsumexp(1) - math.log(count))
    return (own - torch.cat(aggregate)).mean()
