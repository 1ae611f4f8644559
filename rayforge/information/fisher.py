"""The Fisher information of a network's weights: its trace, by module, with its spread.

    F = E_x E_{y ~ p_w(.|x)} [ g g^T ],   g = grad_w log p_w(y|x)
    E_x KL(p_w || p_{w + dw}) = 1/2 dw^T F dw + higher orders

(Achille, Rovere & Soatto, ICLR 2019; Achille, Paolini & Soatto, arXiv 1905.12213). The labels y are
drawn from the model. With the labels of a data set it is another matrix, and the batch trick of
`probe` is wrong. Networks must be in evaluation mode: dropout and batch statistics tie samples
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

LogLikelihood = Callable[[dict[str, Tensor], Any], Tensor]
"""log p_w(y|x), a scalar, of parameters by name and one sample (x, y)."""


def squared_scores(
    log_likelihood: LogLikelihood,
    parameters: Mapping[str, Tensor],
    samples: Any,
    at_once: int = 64,
) -> dict[str, Tensor]:
    """|| grad_w log p_w(y|x) ||^2 of each sample, by parameter: tensors [M].

    Args:
        log_likelihood: as above, for one sample without a batch dimension.
        parameters: tensors by name; their gradients are taken.
        samples: a tensor, or a tuple or dictionary of tensors, whose first dimension is M.
        at_once: samples whose gradients are held in memory at a time.

    The sum over parameters is the trace's contribution of the sample; its mean over samples is an
    unbiased estimate of the trace.
    """

    def squares(values: dict[str, Tensor], sample: Any) -> dict[str, Tensor]:
        scores: dict[str, Tensor] = grad(log_likelihood)(values, sample)
        return {name: score.square().sum() for name, score in scores.items()}

    values = {name: tensor.detach() for name, tensor in parameters.items()}
    found: dict[str, Tensor] = vmap(squares, in_dims=(None, 0), chunk_size=at_once)(values, samples)
    return found


def total(squares: Mapping[str, Tensor]) -> Tensor:
    """Sums over all parameters, [M]."""
    return torch.stack(list(squares.values())).sum(0)


def uncertainty(logits: Tensor, legal: Tensor | None = None) -> Tensor:
    """The mean over choices of p(1 - p), [...] of logits [..., K].

    The control of saturation: as a network grows confident, p(1 - p) collapses and the trace falls
    with it, though no decision changes. A fall of the trace beyond that of this figure is one.
    Choices that are not `legal` (bool [..., K]) count neither in the sum nor in the number.
    """
    if legal is not None:
        logits = logits.masked_fill(~legal, -torch.inf)
    p = logits.softmax(-1)
    count = logits.shape[-1] if legal is None else legal.sum(-1).clamp(min=1)
    return (p * (1 - p)).sum(-1) / count


def at_temperature(logits: Tensor, spread: float = 1.0) -> Tensor:
    """Logits [..., K] of each row scaled to a standard deviation of `spread` over the choices.

    The trace with labels drawn from these has no part that comes from confidence alone (designed
    here, after the notes on arXiv 1905.12213). Rows whose logits are all equal stay as they are.
    Choices at minus infinity (not legal) do not count.
    """
    there = logits.isfinite()
    count = there.sum(-1, keepdim=True).clamp(min=1)
    known = torch.where(there, logits, 0.0)
    mean = known.sum(-1, keepdim=True) / count
    variance = (torch.where(there, logits - mean, 0.0).square().sum(-1, keepdim=True)) / count
    scale = torch.where(variance > 0, spread / variance.clamp(min=1e-12).sqrt(), 1.0)
    return torch.where(there, logits * scale.detach(), logits)
