"""What modules compute: layers that all of them share and that each module's code modulates.

Shapes: states [B, T, U, D] of U modules in T states of B samples; codes [N, U, C], where N is B, or
1 where all samples share them. Equations after Rahaman, Weiss et al. (NeurIPS 2022).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.circuits.attention import Wiring, attend_over

GAIN = 0.1
"""Of a code's influence at the start."""


class ModFC(nn.Module):
    """W (x ⊙ a) + b with a = 1 + g LayerNorm(L c): one linear layer, modulated by a code c.

    `W` and `b` are shared by all modules; two of equal code compute the same.
    """

    def __init__(self, code: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias)
        self.read = nn.Linear(code, inputs, bias=False)
        self.gain = nn.Parameter(torch.tensor(GAIN))

    def modulation(self, code: Tensor) -> Tensor:
        """a [..., inputs] of codes [..., C]."""
        read = self.read(code)
        return 1.0 + self.gain * F.layer_norm(read, read.shape[-1:])

    def forward(self, inputs: Tensor, code: Tensor) -> Tensor:
        """Inputs [B, T, U, inputs] and codes [N, U, C] -> [B, T, U, outputs]."""
        found: Tensor = self.linear(inputs * self.modulation(code)[:, None])
        return found


class ModFFN(nn.Module):
    """GEGLU between two modulated layers: (gelu(g) ⊙ h) W', with g and h of one ModFC."""

    def __init__(self, code: int, size: int, inner: int) -> None:
        super().__init__()
        self.widen = ModFC(code, size, 2 * inner)
        self.narrow = ModFC(code, inner, size)

    def forward(self, states: Tensor, code: Tensor) -> Tensor:
        gate, value = self.widen(states, code).chunk(2, -1)
        found: Tensor = self.narrow(F.gelu(gate) * value, code)
        return found


class Propagator(nn.Module):
    """One layer of a circuit: receivers listen to senders, and then think.

        x_u <- x_u + scale ModFC_o( attention(q_u, k_v, v_v; links) ; c_u )
        x_u <- x_u + scale ModFFN( LN x_u ; c_u )

    `residual=False` (the read-out) leaves the first x_u out.
    """

    def __init__(self, code: int, size: int, heads: int, inner: int, residual: bool = True) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.query, self.key, self.value, self.out = (ModFC(code, size, size) for _ in range(4))
        self.think = ModFFN(code, size, inner)
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        # LayerScale: what a layer adds begins small.
        self.scale = nn.Parameter(torch.full((2, size), 0.5))

    def forward(
        self, receivers: Tensor, receiver_code: Tensor, senders: Tensor, sender_code: Tensor,
        wiring: Wiring,
    ) -> Tensor:  # fmt: skip
        """States [B, T, R, D] and [B, T, S, D] -> [B, T, R, D]."""
        heard = self.before(senders)
        own = heard if senders is receivers else self.before(receivers)
        query = self._split(self.query(own, receiver_code))
        key = self._split(self.key(heard, sender_code))
        value = self._split(self.value(heard, sender_code))
        mixed = attend_over(query, key, value, wiring)
        said = self.scale[0] * self.out(mixed.flatten(-2), receiver_code)
        states = receivers + said if self.residual else said
        found: Tensor = states + self.scale[1] * self.think(self.between(states), receiver_code)
        return found

    def _split(self, states: Tensor) -> Tensor:
        found: Tensor = states.unflatten(-1, (self.heads, -1))
        return found


class ReadIn(nn.Module):
    """Modules look at input tokens: cross-attention whose keys and values are modulated by the
    code of the module that looks.

        key_uv = W_k (y_v ⊙ a_u) + b_k,  score_uv = q_u key_uv / sqrt d,
        out_u = sum_v A_uv value_uv

    A key for every pair of module and token would cost their product. Written the other way round
    it does not: q_u W_k (y_v ⊙ a_u) = ((W_k^T q_u) ⊙ a_u) y_v, the bias b_k is the same for all
    tokens and cancels (there is none), and
    sum_v A_uv W_v (y_v ⊙ a_u) = W_v ((sum_v A_uv y_v) ⊙ a_u). Equal to the
    plain form up to rounding (tested).
    """

    def __init__(self, code: int, size: int, inputs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.tokens = nn.LayerNorm(size), nn.LayerNorm(inputs)
        self.query = ModFC(code, size, size)
        self.key = ModFC(code, inputs, size, bias=False)
        self.value = ModFC(code, inputs, size)
        self.out = ModFC(code, size, size)

    def forward(
        self, states: Tensor, code: Tensor, near: Tensor, near_mask: Tensor,
        far: Tensor | None = None, far_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """States [B, T, U, D] after they have looked.

        Args:
            near: tokens [B, T, W, I] of each state, those in `near_mask` bool [B, T, W] count.
            far: tokens [B, N, I] that all states of a sample share, and `far_mask` bool [B, N].
        """
        heads = self.heads
        query = self.query(self.before(states), code).unflatten(-1, (heads, -1))
        onto = self.key.linear.weight.unflatten(0, (heads, -1))  # [H, E, I]
        looks = torch.einsum("btuhe,hei->btuhi", query, onto)
        looks = looks * self.key.modulation(code)[:, None, :, None] / query.shape[-1] ** 0.5
        near = self.tokens(near)
        scores = torch.einsum("btuhi,btwi->btuhw", looks, near)
        scores = scores.masked_fill(~near_mask[:, :, None, None], -torch.inf)
        if far is None or far_mask is None:
            seen = torch.einsum("btuhw,btwi->btuhi", scores.softmax(-1), near)
        else:
            far = self.tokens(far)
            others = torch.einsum("btuhi,bni->btuhn", looks, far)
            others = others.masked_fill(~far_mask[:, None, None, None], -torch.inf)
            both = torch.cat([scores, others], -1).softmax(-1)
            first, second = both.split([scores.shape[-1], others.shape[-1]], -1)
            seen = torch.einsum("btuhw,btwi->btuhi", first, near)
            seen = seen + torch.einsum("btuhn,bni->btuhi", second, far)
        seen = seen * self.value.modulation(code)[:, None, :, None]
        value = self.value.linear
        read = torch.einsum("btuhi,hei->btuhe", seen, value.weight.unflatten(0, (heads, -1)))
        found: Tensor = states + self.out(read.flatten(-2) + value.bias, code)
        return found
