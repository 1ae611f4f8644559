"""Who listens to whom: a kernel between signatures, and the links that are made of it.

Equations after Rahaman, Weiss et al. (NeurIPS 2022). A wiring is a matrix [..., R, S]: how strongly
each receiver hears each sender, in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rayforge.circuits.config import Links

_NEAREST = 1e-6
"""Distance below which two signatures count as this far apart, where a logarithm needs it."""


def distance(receivers: Tensor, senders: Tensor) -> Tensor:
    """1 - cos(s_u, s_v), in [0, 2]: signatures [..., R, D] and [..., S, D] -> [..., R, S]."""
    cosine = F.normalize(receivers, dim=-1) @ F.normalize(senders, dim=-1).transpose(-1, -2)
    return (1.0 - cosine).clamp(0.0, 2.0)


def kernel(distances: Tensor, epsilon: float = 1.0) -> Tensor:
    """k = exp(-distance / epsilon): 1 for equal signatures, e^-1 for orthogonal ones."""
    return (-distances / epsilon).exp()


def relaxed_bernoulli(probability: Tensor, temperature: float, shape: torch.Size) -> Tensor:
    """Draws in (0, 1) of Bernoulli links that gradients pass through (Maddison et al. 2017):
    sigmoid((logit p + logit u) / temperature), u uniform. P(draw > 0.5) = p at any temperature."""
    # 1 - k = 0 for a module and itself: its logit is held at a large finite number.
    p = probability.clamp(_NEAREST, 1.0 - _NEAREST)
    u = torch.rand(shape, dtype=p.dtype, device=p.device).clamp(_NEAREST, 1.0 - _NEAREST)
    return ((p.logit() + u.logit()) / temperature).sigmoid()


def truncated(links: Tensor, distances: Tensor, furthest: float) -> Tensor:
    """The links with exact zeros where signatures lie further apart than `furthest`. Gradients pass
    as if nothing had been cut (straight through), so that a link that was cut can come back."""
    if furthest >= 2.0:
        return links
    return links - (links * (distances > furthest)).detach()


def links_between(
    receivers: Tensor, senders: Tensor, how: Links, furthest: float, temperature: float,
    samples: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The links of a pass and their probabilities, [..., R, S] each.

    Args:
        receivers: signatures [N, R, D], N is 1 where all samples share them.
        senders: signatures [N, S, D].
        how: "mean" takes the probabilities, "sampled" draws, "threshold" takes 1 where the
            probability is above one half and 0 elsewhere.
        furthest: distance from which on there is no link.
        temperature: of drawn links.
        samples: how many draws are made where the signatures are shared; each has its own links.

    A receiver that would hear nobody hears its nearest sender.
    """
    distances = distance(receivers, senders)
    probability = truncated(kernel(distances), distances, furthest)
    if how == "sampled":
        shape = distances.expand(samples or len(distances), -1, -1).shape
        links = relaxed_bernoulli(kernel(distances), temperature, shape)
        links = truncated(links, distances, furthest)
    elif how == "threshold":
        links = (probability > 0.5).to(probability)
    else:
        links = probability
    return _heard(links, distances), probability


def _heard(links: Tensor, distances: Tensor) -> Tensor:
    """Links in which every receiver hears somebody: without, its attention would divide by 0."""
    deaf = ~(links > 0).any(-1, keepdim=True)
    if not bool(deaf.any()):
        return links
    nearest = distances == distances.amin(-1, keepdim=True)
    return torch.where(deaf & nearest, torch.ones_like(links), links)


def reach(links: Tensor, reading: Tensor, layers: int) -> Tensor:
    """How much of what each processor says gets to an output along the wiring, [U], sums to the
    number of ways taken: the share of each link among its receiver's, multiplied along all ways of
    0 to `layers` links before the read-out (designed here). 0: there is no way to an output.

    `links` [U, U], `reading` [O, U].
    """
    onward = links / links.sum(-1, keepdim=True)
    heard = (reading / reading.sum(-1, keepdim=True)).mean(0)
    total = heard
    for _ in range(layers):
        heard = heard @ onward
        total = total + heard
    return total
