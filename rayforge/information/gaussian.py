"""Information in weights, in nats: how many of them the noise that a loss allows leaves over.

    C_beta(Q) = E_{w ~ Q} [ L(w) ] + beta KL(Q || P)

L is the mean loss in nats, P = N(0, lambda^2 I) a code fixed before the data, Q = N(w*, S) a law
of noise around the trained weights. The information in the weights is KL(Q || P) at the optimum
(Achille, Paolini & Soatto, arXiv 1905.12213). The published width S is half of the optimum (a
factor 1/2 is missing in its Taylor term); the correct one is used here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def best_noise(curvature: Tensor, beta: float, prior_variance: float) -> Tensor:
    """The optimal variances S* = beta / (H + beta / lambda^2), [k], of a diagonal curvature H [k].

    H is the Hessian of the mean loss, or the Fisher information in its place; it must not be
    negative. beta > 0 is the price of a nat, in units of the loss. Raises ValueError otherwise.
    """
    if not beta > 0 or not prior_variance > 0:
        raise ValueError(f"beta {beta} and prior_variance {prior_variance} must be above 0")
    if bool((curvature < 0).any()):
        raise ValueError(f"a curvature is {float(curvature.min()):.3g}: it must not be negative")
    return beta / (curvature + beta / prior_variance)


def divergence(weights: Tensor, variance: Tensor, prior_variance: float) -> Tensor:
    """KL( N(w, diag S) || N(0, lambda^2 I) ) in nats, of weights [k] and variances [k].

    1/2 sum [ S / lambda^2 + w^2 / lambda^2 - 1 - log(S / lambda^2) ].
    """
    ratio = variance / prior_variance
    return 0.5 * (ratio + weights.square() / prior_variance - 1.0 - ratio.log()).sum()


def gaussian_information(
    weights: Tensor, curvature: Tensor, beta: float, prior_variance: float
) -> Tensor:
    """Information in the weights [k] in nats at the optimal noise, for a diagonal curvature [k].

    1/2 log|H + beta/lambda^2 I| + k/2 log(lambda^2/beta) - k/2
    + 1/(2 lambda^2) [ ||w||^2 + beta tr (H + beta/lambda^2 I)^-1 ].
    """
    return divergence(weights, best_noise(curvature, beta, prior_variance), prior_variance)


def lagrangian_change(curvature: Tensor, variance: Tensor, kl: Tensor, beta: float) -> Tensor:
    """What noise costs: 1/2 sum H S + beta KL, the Lagrangian less L(w*), to second order."""
    return 0.5 * (curvature * variance).sum() + beta * kl


def learnt_noise(
    loss: Callable[[dict[str, Tensor]], Tensor],
    weights: Mapping[str, Tensor],
    beta: float,
    prior_variance: float,
    steps: int,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Log-variances of noise, one for each row of each tensor, that minimise the Lagrangian.

    Args:
        loss: the mean loss in nats of weights by name; called with noisy ones, each time for a
            fresh batch if it likes.
        weights: the trained weights, which stay as they are.
        beta: as above.
        prior_variance: as above.
        steps: steps of Adam on the log-variances.
        seed: of the noise.

    Returns log S by name, of shape [rows] (of a tensor's first dimension; [1] for a scalar). No
    curvature is computed: what the loss allows is found by trying (the robust form of Task2Vec).
    """
    generator = torch.Generator().manual_seed(seed)
    start = {
        name: torch.full((max(1, len(w)) if w.dim() else 1,), -6.0) for name, w in weights.items()
    }
    logs = {name: value.requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(logs.values(), lr=learning_rate)
    for _ in range(steps):
        noisy = {}
        kl = torch.zeros(())
        for name, w in weights.items():
            rows = logs[name].view(-1, *[1] * max(0, w.dim() - 1)).expand(w.shape or (1,))
            noise = torch.randn(w.shape or (1,), generator=generator)
            noisy[name] = w.detach() + ((0.5 * rows).exp() * noise).view(w.shape)
            kl = kl + divergence(w.detach().flatten(), rows.exp().flatten(), prior_variance)
        optimizer.zero_grad()
        (loss(noisy) + beta * kl).backward()
        optimizer.step()
    return {name: value.detach() for name, value in logs.items()}


def rows_information(
    weights: Mapping[str, Tensor], logs: Mapping[str, Tensor], prior_variance: float
) -> dict[str, float]:
    """Nats by tensor, of the log-variances that `learnt_noise` found for each row."""
    found = {}
    for name, w in weights.items():
        rows = logs[name].view(-1, *[1] * max(0, w.dim() - 1)).expand(w.shape or (1,))
        found[name] = float(divergence(w.flatten(), rows.exp().flatten(), prior_variance))
    return found


def prior_variance_of(weights: Mapping[str, Tensor]) -> float:
    """The mean square of all weights: the variance of the code N(0, lambda^2 I) that fits best.

    Chosen after training, it costs the description of one number more, which is left out.
    """
    count = sum(w.numel() for w in weights.values())
    square = sum(float(w.detach().double().square().sum()) for w in weights.values())
    return max(square / max(1, count), math.ulp(1.0))
