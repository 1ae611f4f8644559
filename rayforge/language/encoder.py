"""Sentence encoder: word vectors and a bidirectional LSTM (the speaker-follower tradition)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rayforge.language.vocabulary import PAD


class Sentences(NamedTuple):
    """Encoded sentences: `codes` [B, N, H], `mask` [B, N] (true where there is a word)."""

    codes: Tensor
    mask: Tensor


def run_lstm(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """An LSTM over padded sequences: inputs [B, T, I], lengths [B] >= 1 -> outputs [B, T, H].

    Packing keeps the result independent of the padding, also in the backward direction, and the
    whole recurrence is one fused call.
    """
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, _ = lstm(packed)
    return pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])[0]


class SentenceEncoder(nn.Module):
    """Tokens [B, N] -> `Sentences`; sentences end where their padding begins."""

    def __init__(self, vocabulary: int, word: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, word, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(word, hidden // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Sentences:
        mask = tokens != PAD
        lengths = mask.sum(1)
        longest = int(lengths.max())
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        words = self.dropout(self.embedding(tokens))
        return Sentences(self.dropout(run_lstm(self.lstm, words, lengths)), mask)


class Attention(nn.Module):
    """Dot-product attention: queries [B, T, Q] over keys = values [B, N, H] -> [B, T, H]."""

    def __init__(self, query: int, key: int) -> None:
        super().__init__()
        self.project = nn.Linear(query, key, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        scores = torch.bmm(self.project(queries), keys.transpose(1, 2))
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        return torch.bmm(scores.softmax(-1), keys)
