"""The transformer trunk: causal attention over the states so far, and over the words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.irl.config import NetworkConfig
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions, LockedDropout
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation
from rayforge.paths.tree import Levels

LAYERS = 2


def heads_of(hidden: int) -> int:
    """Heads of attention: four, or as many as divide the size."""
    return next(count for count in (4, 2, 1) if hidden % count == 0)


class Heads(nn.Module):
    """Attention with several heads: queries [B, T, H] over tokens [B, S, H] -> [B, T, H]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = heads_of(hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, queries: Tensor, tokens: Tensor, allowed: Tensor) -> Tensor:
        """`allowed` bool [B or 1, T or 1, S]: what each query may attend to, one at least."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(queries), *self.key_value(tokens).chunk(2, -1))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, allowed[:, None])
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found


class Layer(nn.Module):
    """States attend to those before them, then to the words, then each thinks (pre-norm)."""

    def __init__(self, hidden: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.history, self.words = Heads(hidden), Heads(hidden)
        self.think = nn.Sequential(nn.Linear(hidden, inner), nn.GELU(), nn.Linear(inner, hidden))
        self.dropout = LockedDropout(dropout)

    def forward(
        self, states: Tensor, before: Tensor, allowed: Tensor, instructions: Instructions
    ) -> Tensor:
        """States [B, T, H] that attend to `before` [B, S, H], as `allowed` [B or 1, T, S]."""
        known = self.norms[0](before)
        own = known if before is states else self.norms[0](states)
        states = states + self.dropout(self.history(own, known, allowed))
        read = self.words(self.norms[1](states), instructions.codes, instructions.mask[:, None])
        states = states + self.dropout(read)
        found: Tensor = states + self.dropout(self.think(self.norms[2](states)))
        return found


class TransformerTrunk(nn.Module):
    """Codes [B, T, H] of what was seen, done and read."""

    def __init__(self, dimension: int, config: NetworkConfig, inner: int) -> None:
        """`inner` is the width of the feed-forward layers."""
        super().__init__()
        hidden = config.hidden
        self.dropout = LockedDropout(config.dropout)
        self.look = nn.Linear(SECTORS * dimension + GEOMETRY, hidden)
        self.layers = nn.ModuleList(Layer(hidden, inner, config.dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(hidden)
        self.join = nn.Linear(hidden, hidden)

    def forward(self, seen: Observation, instructions: Instructions, lengths: Tensor) -> Tensor:
        """Codes of whole paths; `lengths` [B] counts the real states of each."""
        steps = seen.state.shape[1]
        step = torch.arange(steps, device=seen.state.device)
        looks = self._look(seen)
        return self._codes(looks, step[None], (step <= step[:, None])[None], instructions)

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        """Codes [B, 1, H] of one further state (T = 1) and the memory to go on with: what each
        layer was given so far [B, S, LAYERS, H], and which of it is real, bool [B, S]."""
        looks = self._look(seen)
        if memory is None:
            batch, _, hidden = looks.shape
            memory = looks.new_zeros(batch, 0, LAYERS, hidden), looks.new_zeros(batch, 0).bool()
        given, real = memory
        real = torch.cat([real, real.new_ones(len(real), 1)], 1)
        states = looks + positions(real.sum(1, keepdim=True) - 1, looks.shape[-1])
        own = []
        for number, layer in enumerate(self.layers):
            own.append(states)
            before = torch.cat([given[:, :, number], states], 1)
            states = layer(states, before, real[:, None], instructions)
        given = torch.cat([given, torch.stack(own, 2)], 1)
        return self._code(states), (given, real)

    def recall(self, seen: Observation, levels: Levels) -> Tensor:
        """What of the codes of trees of states is the same for every instruction, [G, N, H]."""
        return self._look(seen)

    def read_tree(self, recalled: Tensor, instructions: Instructions, levels: Levels) -> Tensor:
        """Codes [G, N, H] of trees that were recalled, under an instruction each: those of
        `forward` along every path."""
        places, there = levels.lines(len(levels.sizes))
        groups, size = levels.shape
        allowed = torch.zeros(groups, size, size, dtype=torch.bool, device=recalled.device)
        # In place of those that are not there: the state itself, which is allowed anyway.
        allowed.scatter_(2, torch.where(there, places, places[..., :1]), True)
        return self._codes(recalled, levels.depth, allowed, instructions)

    def prior_loss(self, instructions: Instructions) -> Tensor:
        """0: there is no wiring to draw anywhere."""
        return instructions.codes.new_zeros(())

    def _codes(
        self, looks: Tensor, place: Tensor, allowed: Tensor, instructions: Instructions
    ) -> Tensor:
        states = looks + positions(place, looks.shape[-1])
        for layer in self.layers:
            states = layer(states, states, allowed, instructions)
        return self._code(states)

    def _look(self, seen: Observation) -> Tensor:
        found: Tensor = self.dropout(self.look(torch.cat([seen.state, seen.arrival], -1)).relu())
        return found

    def _code(self, states: Tensor) -> Tensor:
        found: Tensor = self.dropout(self.join(self.norm(states)).tanh())
        return found


def positions(step: Tensor, size: int) -> Tensor:
    """Sines and cosines [..., size] of the numbers of steps (Vaswani et al. 2017); size is even."""
    rates = 10_000.0 ** (-torch.arange(0, size, 2, device=step.device) / size)
    angles = step[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)
