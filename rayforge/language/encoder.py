"""Instruction encoder: word vectors and a bidirectional LSTM (the speaker-follower tradition)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.language.vocabulary import PAD

_RUN, _STEP = 40, 4
"""Steps of padding that a run of sequences may have, and for each step of the longest: about what
an LSTM call costs by itself, and what each of its steps costs however few sequences take it."""


class Instructions(NamedTuple):
    """Encoded instructions: `codes` [B, N, H], `mask` [B, N] (true where there is a word)."""

    codes: Tensor
    mask: Tensor


def like_lengths(lengths: Tensor, steps: int) -> tuple[list[int], list[int]]:
    """Neighbouring rows of like length, to be padded no further than the longest of them.

    `lengths` [B], padded to `steps` now -> how many rows each run has, and its longest length.
    Sorted rows make few runs with little padding. On a GPU all rows are one run: there calls cost
    more than padding, and looking at lengths makes it wait.
    """
    if lengths.device.type != "cpu":
        return [len(lengths)], [steps]
    sizes: list[int] = []
    ends: list[int] = []
    padding = 0  # of the run so far
    for length in lengths.tolist():
        if sizes:
            end = max(ends[-1], length)
            more = padding + sizes[-1] * (end - ends[-1]) + end - length
            if more <= _RUN + _STEP * end:
                sizes[-1], ends[-1], padding = sizes[-1] + 1, end, more
                continue
        sizes.append(1)
        ends.append(length)
        padding = 0
    return sizes, ends


def run_lstm(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """An LSTM over padded sequences: inputs [B, T, I], lengths [B] >= 1 -> outputs [B, T, H].

    What stands after a sequence's end is padding (its values mean nothing) and changes nothing
    before it. Sequences run together with those of like length. Packed sequences would do the
    same, but their backward pass fills a whole-size gradient with zeros for every change of length:
    with lengths of 10 to 80 in a batch it took ten times as long.
    """
    order = lengths.argsort()
    steps = inputs.shape[1]
    sizes, ends = like_lengths(lengths[order], steps)
    if len(sizes) == 1:
        found: Tensor = lstm(inputs)[0]
        return found
    # Splits and selections of whole rows: their gradients are put together in one go.
    parts = [
        F.pad(lstm(part[:, :end])[0], (0, 0, 0, steps - end))
        for part, end in zip(inputs.index_select(0, order).split(sizes), ends, strict=True)
    ]
    return torch.cat(parts).index_select(0, order.argsort())


def step_lstm(
    lstm: nn.LSTM, inputs: Tensor, memory: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step: inputs [B, 1, I], states (h, c) [1, B, H] -> outputs [B, 1, H] and new states.

    As `lstm` itself does, in three quarters of its time, most of which goes into weights.
    """
    if memory is None:
        zero = inputs.new_zeros(len(inputs), lstm.hidden_size)
        before = (zero, zero)
    else:
        before = (memory[0][0], memory[1][0])
    h, c = torch.lstm_cell(inputs[:, 0], before, *lstm.all_weights[0])
    return h[:, None], (h[None], c[None])


class BothWays(nn.Module):
    """A bidirectional LSTM over padded sequences: inputs [B, T, I] -> outputs [B, T, hidden]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(inputs, hidden // 2, batch_first=True)
        self.back = nn.LSTM(inputs, hidden // 2, batch_first=True)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        # Each sequence turned round in place; its padding stays behind it.
        mirror = (lengths[:, None] - 1 - steps).clamp(min=0)
        turned = run_lstm(self.back, _take(inputs, mirror), lengths)
        return torch.cat([run_lstm(self.onward, inputs, lengths), _take(turned, mirror)], -1)


def _take(values: Tensor, places: Tensor) -> Tensor:
    """values [B, T, H], places int64 [B, T] -> values[b, places[b, t]]."""
    batch, steps, _ = values.shape
    first = torch.arange(batch, device=values.device)[:, None] * steps
    # index_select copies whole rows: several times faster here than gather.
    taken = values.flatten(0, 1).index_select(0, (first + places).flatten())
    return taken.view(*places.shape, -1)


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence [..., T, H] (Gal & Ghahramani 2016).

    What a recurrence is not told at one step it cannot read off the next. The mask is also cheap:
    independent ones for every step took an eighth of an update.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or not self.share:
            return inputs
        *batch, _, width = inputs.shape
        kept = torch.rand(*batch, 1, width, device=inputs.device) >= self.share
        return inputs * (kept / (1.0 - self.share))


class Dropout(nn.Module):
    """What nn.Dropout does, whose own random numbers cost twice as much on a CPU."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or not self.share:
            return inputs
        kept = torch.rand(inputs.shape, device=inputs.device) >= self.share
        return inputs * (kept / (1.0 - self.share))


class InstructionEncoder(nn.Module):
    """Tokens [B, N] -> `Instructions`; instructions end where their padding begins."""

    def __init__(self, vocabulary: int, word: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, word, padding_idx=PAD)
        self.dropout = LockedDropout(dropout)
        self.lstm = BothWays(word, hidden)

    def forward(self, tokens: Tensor) -> Instructions:
        mask = tokens != PAD
        lengths = mask.sum(1)
        longest = int(lengths.max())
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        words = self.dropout(self.embedding(tokens))
        return Instructions(self.dropout(self.lstm(words, lengths)), mask)


class Attention(nn.Module):
    """Dot-product attention: queries [B, T, Q] over keys = values [B, N, H] -> [B, T, H]."""

    def __init__(self, query: int, key: int) -> None:
        super().__init__()
        self.project = nn.Linear(query, key, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        scores = torch.bmm(self.project(queries), keys.transpose(1, 2))
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        return torch.bmm(scores.softmax(-1), keys)
