"""Attention over the links that are there: what the wiring cuts is not computed.

Receivers stand in blocks of neighbours in the wiring, and each block attends to the senders that
any of it hears. One block of all is dense attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor

BLOCK = 16
"""Receivers of a block: fewer make more calls, more hear more that some of them do not."""
SPARSE = 0.5
"""Share of pairs computed up to which blocks are worth their calls."""


@dataclass(frozen=True)
class Block:
    """Receivers [r] and the senders [s] that any of them hears, as numbers of modules."""

    receivers: Tensor
    senders: Tensor


@dataclass(frozen=True)
class Wiring:
    """Links [N, R, S] of a pass, and the blocks that they are computed in where most are 0."""

    links: Tensor
    blocks: tuple[Block, ...] | None = None


def in_blocks(links: Tensor) -> Wiring:
    """A wiring [1, R, S] in blocks where that computes at most `SPARSE` of the pairs, else as it
    is."""
    matrix = links[0].detach().cpu().numpy()
    count = len(matrix)
    if links.shape[0] != 1 or count <= BLOCK or (matrix > 0).mean() > SPARSE:
        return Wiring(links)
    order = leaves_list(linkage(matrix > 0, "average"))
    parts = [order[start : start + BLOCK] for start in range(0, count, BLOCK)]
    pairs = [(rows, np.flatnonzero((matrix[rows] > 0).any(0))) for rows in parts]
    if sum(len(rows) * len(heard) for rows, heard in pairs) > SPARSE * matrix.size:
        return Wiring(links)
    device = links.device
    return Wiring(
        links,
        tuple(
            Block(
                torch.as_tensor(np.sort(rows), device=device), torch.as_tensor(heard, device=device)
            )
            for rows, heard in pairs
        ),
    )


def attend(queries: Tensor, keys: Tensor, values: Tensor, links: Tensor) -> Tensor:
    """Attention weighed by links:

        A_uv = e^(q_u k_v / sqrt d) l_uv / sum_w e^(q_u k_w / sqrt d) l_uw

    That is softmax(q k / sqrt d + log l), written so that a link of 0 gives an exact zero, in the
    value and in the gradient of what is heard, while the link itself keeps its gradient.

    Args:
        queries: [B, T, R, H, E], of R receivers with H heads.
        keys: [B, T, S, H, E].
        values: [B, T, S, H, E].
        links: [N, R, S]; every receiver has one above 0.
    """
    scores = torch.einsum("btrhe,btshe->bthrs", queries, keys) / queries.shape[-1] ** 0.5
    weights = links[:, None, None]
    # The largest score that counts becomes 0. One that does not may be larger, and is held finite.
    highest = scores.detach().masked_fill(weights <= 0, -torch.inf).amax(-1, keepdim=True)
    shares = (scores - highest).clamp(max=20.0).exp() * weights
    shares = shares / shares.sum(-1, keepdim=True)
    return torch.einsum("bthrs,btshe->btrhe", shares, values)


def attend_over(queries: Tensor, keys: Tensor, values: Tensor, wiring: Wiring) -> Tensor:
    """`attend` along a wiring, block by block where it has blocks."""
    if wiring.blocks is None:
        return attend(queries, keys, values, wiring.links)
    found = torch.empty_like(queries)
    for block in wiring.blocks:
        links = wiring.links[:, block.receivers][:, :, block.senders]
        asked = queries[:, :, block.receivers]
        key, value = (part.index_select(2, block.senders) for part in (keys, values))
        found[:, :, block.receivers] = attend(asked, key, value, links)
    return found
