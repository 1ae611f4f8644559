"""Planning: which of the paths that could be taken an instruction means.

Candidates are scored, the scores weighed, and the choice is the one with the least expected loss
under the task's own rule of success. Equations are designed here but where a source is named.
Tensors are [G, C]: G instructions, C candidates each, of which those `present` count.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_choice(scores: Tensor, weights: Tensor, present: Tensor) -> Tensor:
    """log P(candidate) = log-softmax over candidates of sum_k w_k s_k, [G, C]; -inf where absent.

    `scores` [K, G, C], `weights` [K]. One score with weight w is a softmax at temperature 1 / w.
    """
    total = torch.einsum("k,kgc->gc", weights, scores.masked_fill(~present, 0.0))
    return total.masked_fill(~present, -torch.inf).log_softmax(-1)


def log_mass(log_probability: Tensor, good: Tensor) -> Tensor:
    """log sum of the probability of the candidates that are `good`, bool [G, C] -> [G]; -inf where
    none is."""
    return log_probability.masked_fill(~good, -torch.inf).logsumexp(-1)


def maximum_entropy_loss(reward: Tensor, good: Tensor, present: Tensor) -> Tensor:
    """- log sum_good exp R + log sum_all exp R, nats, the mean over the instructions that have a
    good candidate (Ziebart et al. 2008, with every candidate that succeeds as the demonstrated
    one).

    `reward`, `good`, `present` [G, C]. 0 where no instruction has one.
    """
    # Rows without a good candidate are left out before the logarithm: -inf has no gradient.
    rows = (good & present).any(-1)
    if not rows.any():
        return reward.sum() * 0.0
    reward, good, present = reward[rows], good[rows] & present[rows], present[rows]
    every = reward.masked_fill(~present, -torch.inf).logsumexp(-1)
    return (every - reward.masked_fill(~good, -torch.inf).logsumexp(-1)).mean()


def fit_weights(scores: Tensor, good: Tensor, present: Tensor, ridge: float = 1e-3) -> Tensor:
    """The weights [K] under which the good candidates are likeliest: conditional logit with a set
    of right answers (McFadden 1974), by L-BFGS from 0.

    `scores` [K, G, C]. `ridge` times the squared weights, in units of each score's spread among
    the candidates of an instruction, is added to the mean loss: without it perfectly separated data
    have no finite answer. A temperature is fitted with it: weights may be of any size.

    Raises ValueError where no instruction has a good candidate.
    """
    rows = (good & present).any(-1)
    if not rows.any():
        raise ValueError("no instruction has a good candidate to fit weights on")
    scores, good, present = scores[:, rows].double(), good[rows], present[rows]
    count = present.sum(-1, keepdim=True)
    centred = scores.masked_fill(~present, 0.0)
    centred = (centred - centred.sum(-1, keepdim=True) / count).masked_fill(~present, 0.0)
    spread = (centred.square().sum((1, 2)) / count.sum()).sqrt().clamp(min=1e-12)
    units = centred / spread[:, None, None]
    weights = torch.zeros(len(scores), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_p = log_choice(units, weights, present)
        loss = -log_mass(log_p, good & present).mean() + ridge * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (weights.detach() / spread).float()


def minimum_risk(log_probability: Tensor, succeeds: Tensor) -> Tensor:
    """The candidate with the largest probability of success, int64 [G] (minimum Bayes risk).

    `succeeds` bool [G, C, C]: whether choosing the row is a success where the column was meant;
    False for what is absent. Among equals the first.
    """
    return (succeeds * log_probability.exp()[:, None, :]).sum(-1).argmax(-1)


def representatives(probability: Tensor, succeeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` candidates of each instruction that stand for the others, one after the other: the
    next one has the most probability of success that no earlier one shares, plus its own (designed
    here). Where there are no more candidates than `count`, all.

    `probability` [G, C], 0 where absent; `succeeds` bool [G, C, C] as in `minimum_risk`.

    Returns bool [G, C], which they are, and int64 [G, C], for every candidate the likeliest of
    them that succeeds where it does: itself for a representative, -1 where there is none.
    """
    chosen = torch.zeros_like(probability, dtype=torch.bool)
    left, near = probability.clone(), succeeds.to(probability.dtype)
    present = succeeds.diagonal(dim1=1, dim2=2)
    for _ in range(min(count, probability.shape[1])):
        gain = torch.einsum("gcd,gd->gc", near, left) + probability
        best = gain.masked_fill(chosen | ~present, -1.0).argmax(-1, keepdim=True)
        chosen = chosen.scatter(1, best, True)
        covered = near.gather(1, best[..., None].expand(-1, -1, near.shape[-1]))[:, 0]
        left = left * (1.0 - covered)
    chosen = chosen & present
    stands = succeeds & chosen[:, None, :]
    likeliest = probability[:, None, :].masked_fill(~stands, -1.0).argmax(-1)
    likeliest = likeliest.masked_fill(~stands.any(-1), -1)
    itself = torch.arange(probability.shape[1], device=probability.device)
    return chosen, torch.where(chosen, itself, likeliest)
