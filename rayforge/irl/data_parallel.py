"""Several learners, each with a part of one batch, make the update of one learner with all of it.

Every loss is a function of sums over the batch: L = g(S_1, ..., S_m), S_k = sum over learners of
S_k,l. A mean over steps is one such sum over another, so that a learner counts as much as the steps
that it has. `summed` gives every learner the sums of all, and a gradient as if each learner's own
part were taken `count` times: the average over the learners of

    sum_k dg/dS_k . count . dS_k,l/dw     (l: the learner)

is dL/dw, of the whole batch; and what depends on weights alone, whose gradient every learner has,
is averaged to itself. Losses and gradients are the same on every learner, and so are the checks
that they are finite. (Designed here. DistributedDataParallel averages the learners' means instead,
and sees only what goes through the module's own forward pass.)

Learners are the processes of `torch.distributed`'s default group; where there is none, one learner
has the whole batch, and everything here leaves what it is given as it is. All learners must call
the same functions in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, distributed, nn


def learner_count() -> int:
    """Processes that learn together."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def summed(*parts: Tensor) -> tuple[Tensor, ...]:
    """Each of these sums over a learner's part of the batch, over the parts of all learners."""
    count = learner_count()
    if count == 1:
        return parts
    flat = torch.cat([part.detach().reshape(-1) for part in parts])
    distributed.all_reduce(flat)
    totals = flat.split([part.numel() for part in parts])
    return tuple(
        total.view_as(part) + count * (part - part.detach())
        for part, total in zip(parts, totals, strict=True)
    )


def pooled(rows: int, *means: Tensor) -> tuple[Tensor, ...]:
    """Means over a learner's `rows` rows of the batch as means over the rows of all learners."""
    if learner_count() == 1:
        return means
    number = torch.tensor(float(rows), device=means[0].device)
    total, *sums = summed(number, *(mean * number for mean in means))
    return tuple(part / total for part in sums)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """The average over all learners of each gradient; one that no learner has stays None."""
    count = learner_count()
    if count == 1:
        return
    device = parameters[0].device
    having = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    distributed.all_reduce(having)
    used = [p for p, number in zip(parameters, having.tolist(), strict=True) if number]
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in used]
    )
    distributed.all_reduce(flat)
    flat /= count
    for parameter, gradient in zip(used, flat.split([p.numel() for p in used]), strict=True):
        parameter.grad = gradient.view_as(parameter)


def share_weights(tensors: Iterable[Tensor]) -> None:
    """Every learner takes over the first one's."""
    if learner_count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), 0)


def parted(rows: int, learners: int) -> list[np.ndarray]:
    """The rows of a batch that each learner has, int64: every `learners`-th, so that each has some
    of every part of the batch.

    Where there are fewer rows than learners, each learner has all rows: a mean stays as it is when
    every row is taken equally often.
    """
    if rows < learners:
        return [np.arange(rows)] * learners
    return [np.arange(start, rows, learners) for start in range(learners)]
