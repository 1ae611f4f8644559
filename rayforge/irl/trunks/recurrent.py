"""The recurrent trunk: LSTM, attention over the words, LSTM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.irl.config import NetworkConfig
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import (
    Attention,
    Instructions,
    LockedDropout,
    like_lengths,
    step_lstm,
)
from rayforge.paths.observation import GEOMETRY, SECTORS, Observation
from rayforge.paths.tree import Levels, tree_lstm


class RecurrentTrunk(nn.Module):
    """Codes [B, T, H] of what was seen, done and read: LSTM, attention over the words, LSTM."""

    def __init__(self, dimension: int, config: NetworkConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.dropout = LockedDropout(config.dropout)
        self.look = nn.Linear(SECTORS * dimension + GEOMETRY, hidden)
        self.history = nn.LSTM(hidden, hidden, batch_first=True)
        self.attend = Attention(hidden, hidden)
        self.progress = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.attend_again = Attention(hidden, hidden)
        self.join = nn.Linear(2 * hidden, hidden)

    def forward(self, seen: Observation, instructions: Instructions, lengths: Tensor) -> Tensor:
        """Codes of whole paths; `lengths` [B] counts the real states of each.

        Paths run together with their neighbours of like length: sorted ones are the fastest.
        """
        steps = seen.state.shape[1]
        sizes, ends = like_lengths(lengths, steps)
        columns = (seen.state, seen.arrival, instructions.codes, instructions.mask)
        runs = zip(ends, *(column.split(sizes) for column in columns), strict=True)
        parts = []
        for end, state, arrival, codes, mask in runs:
            words = Instructions(codes, mask)
            history, _ = self.history(self._look(state[:, :end], arrival[:, :end]))
            progress, _ = self.progress(self._read(history, words))
            parts.append(F.pad(self._code(progress, words), (0, 0, 0, steps - end)))
        return torch.cat(parts)

    def step(
        self, seen: Observation, instructions: Instructions, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        """Codes [B, 1, H] of one further state (T = 1) and the memory to go on with: h and c of
        the two recurrences, [B, H] each."""
        look = self._look(seen.state, seen.arrival)
        first, second = (None, None) if memory is None else _pairs(memory)
        history, (h1, c1) = step_lstm(self.history, look, first)
        read = self._read(history, instructions)
        progress, (h2, c2) = step_lstm(self.progress, read, second)
        return self._code(progress, instructions), (h1[0], c1[0], h2[0], c2[0])

    def prior_loss(self, instructions: Instructions) -> Tensor:
        """0: there is no wiring to draw anywhere."""
        return instructions.codes.new_zeros(())

    def recall(self, seen: Observation, levels: Levels) -> Tensor:
        """What of the codes of trees of states is the same for every instruction, [G, N, H]."""
        return tree_lstm(self.history, self._look(seen.state, seen.arrival), levels)

    def read_tree(self, recalled: Tensor, instructions: Instructions, levels: Levels) -> Tensor:
        """Codes [G, N, H] of trees that were recalled, under an instruction each: those of
        `forward` along every path."""
        progress = tree_lstm(self.progress, self._read(recalled, instructions), levels)
        return self._code(progress, instructions)

    def _look(self, state: Tensor, arrival: Tensor) -> Tensor:
        found: Tensor = self.dropout(self.look(torch.cat([state, arrival], -1)).relu())
        return found

    def _read(self, history: Tensor, instructions: Instructions) -> Tensor:
        history = self.dropout(history)
        return torch.cat([history, self.attend(history, *instructions)], -1)

    def _code(self, progress: Tensor, instructions: Instructions) -> Tensor:
        progress = self.dropout(progress)
        words = self.attend_again(progress, *instructions)
        found: Tensor = self.dropout(self.join(torch.cat([progress, words], -1)).tanh())
        return found


def _pairs(memory: Memory) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    h1, c1, h2, c2 = (state[None] for state in memory)
    return (h1, c1), (h2, c2)
