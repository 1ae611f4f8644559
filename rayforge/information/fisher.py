"""The Fisher information of a network's weights: its trace, by module, with its spread.

    F = E_x E_{y ~ p_w(.|x)} [ g g^T ],   g = grad_w log p_w(y|x)
    E_x KL(p_w || p_{w + dw}) = 1/2 dw^T F dw + higher orders

(Achille, Rovere & Soatto, ICLR 2019; Achille, Paolini & Soatto, arXiv 1905.12213). The labels y are
drawn from the model. With the labels of a data set it is another matrix, and the batch trick below
is wrong. Networks must be in evaluation mode: dropout and batch statistics tie samples together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
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


def squared_batch_scores(
    log_likelihoods: Sequence[Callable[[], Tensor]],
    parameters: Mapping[str, nn.Parameter],
    decisions: Sequence[int],
) -> dict[str, Tensor]:
    """The batch trick: an estimate of the trace from one backward pass for each batch, [batches].

    Args:
        log_likelihoods: each returns the sum of log p_w(y|x) over a batch of independent samples,
            with labels drawn anew from the model.
        parameters: parameters by name.
        decisions: how many samples each batch holds.

    The score has mean zero under the model's own labels, so || sum of B scores ||^2 has B times
    the trace as its expectation. With labels of the data the mean is not zero and the estimate is
    wrong.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for log_likelihood, count in zip(log_likelihoods, decisions, strict=True):
        gradients = torch.autograd.grad(
            log_likelihood(), list(parameters.values()), allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            square = torch.zeros(()) if gradient is None else gradient.square().sum().cpu()
            found[name].append(square / count)
    return {name: torch.stack(values) for name, values in found.items()}


def by_module(squares: Mapping[str, Tensor], depth: int = 1) -> dict[str, Tensor]:
    """Sums over parameters of one module, named by the first `depth` parts of their names.

    The sum over modules is the sum over parameters. The trace of one module is not invariant to a
    change of scale between modules that leaves the network's function as it is.
    """
    sums: dict[str, Tensor] = {}
    for name, values in squares.items():
        module = ".".join(name.split(".")[:depth])
        sums[module] = sums[module] + values if module in sums else values
    return sums


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
