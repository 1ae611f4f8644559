"""How far the policy has moved since it acted: importance ratios of what was done."""

from __future__ import annotations

import torch
from torch import Tensor


def importance(log_pi: Tensor, probability: Tensor, real: Tensor) -> dict[str, float]:
    """Figures of the ratios rho = pi_now(a|s) / pi_then(a|s) of the steps that were taken.

    Args:
        log_pi: log pi_now(a|s) of the actions taken, [B, T].
        probability: pi_then(a|s), what they were sampled with, [B, T].
        real: the steps that are no padding, bool [B, T].

    Returns:
        `mean`, 1 in expectation; `max`; and `effective`, the share of the steps that an estimate by
        importance sampling has left, (sum rho)^2 / (n sum rho^2): 1 where nothing has moved (Kong
        1992).
    """
    ratios = (log_pi - probability.clamp(min=1e-8).log())[real].double().exp()
    effective = ratios.sum().square() / (len(ratios) * ratios.square().sum())
    figures = torch.stack([ratios.mean(), ratios.max(), effective]).tolist()
    return dict(zip(("mean", "max", "effective"), figures, strict=True))
