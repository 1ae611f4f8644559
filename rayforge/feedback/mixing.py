"""The mixing encoder: a class from the fields of a log's record, whatever they are.

After the "mixing encoder" of Khaziev et al. (NAACL 2022): texts and metadata become one token each,
a transformer mixes them. The sizes and the text code are designed here: words are hashed, so that
an unknown word is no special case.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.language.vocabulary import words_of
from rayforge.settings import Above, AtLeast, Within, check_limits

_WORDS = 48
"""Words of a text that are read at most."""


@dataclass(frozen=True)
class Fields:
    """The fields of records, by name: what a record holds is `Record`."""

    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    categories: tuple[tuple[str, int], ...]
    """Name and number of values."""

    def __len__(self) -> int:
        return len(self.texts) + len(self.numbers) + len(self.categories)


@dataclass(frozen=True)
class Record:
    """One record; None: the field is missing."""

    texts: tuple[str | None, ...]
    numbers: tuple[float | None, ...]
    categories: tuple[int | None, ...]


@dataclass(frozen=True)
class MixingConfig:
    """Sizes and training."""

    width: Annotated[int, AtLeast(8)] = 48
    layers: Annotated[int, AtLeast(1)] = 2
    heads: Annotated[int, AtLeast(1)] = 4
    buckets: Annotated[int, AtLeast(16)] = 4096
    """Rows of the table of hashed words."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.1
    field_dropout: Annotated[float, Within(0, 1, "[)")] = 0.1
    """Share of fields that are hidden while training, as if they were missing."""
    epochs: Annotated[int, AtLeast(1)] = 12
    batch: Annotated[int, AtLeast(1)] = 64
    learning_rate: Annotated[float, Above(0)] = 2e-3

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class Encoded:
    """Records as tensors."""

    words: Tensor  # int64 [B, texts, _WORDS], 0 is padding
    numbers: Tensor  # float32 [B, numbers]
    categories: Tensor  # int64 [B, categories]
    present: Tensor  # bool [B, M], in the order texts, numbers, categories

    def __getitem__(self, rows: Tensor) -> Encoded:
        return Encoded(
            self.words[rows], self.numbers[rows], self.categories[rows], self.present[rows]
        )

    def __len__(self) -> int:
        return len(self.present)


def encode(records: Sequence[Record], buckets: int) -> Encoded:
    """Records as tensors; a word's row is its CRC modulo the table's size."""
    texts = len(records[0].texts)
    words = np.zeros((len(records), texts, _WORDS), np.int64)
    for row, record in enumerate(records):
        for place, text in enumerate(record.texts):
            codes = [1 + zlib.crc32(w.encode()) % (buckets - 1) for w in words_of(text or "")]
            words[row, place, : min(len(codes), _WORDS)] = codes[:_WORDS]
    numbers = np.array([[0.0 if n is None else n for n in r.numbers] for r in records], np.float32)
    kinds = np.array([[0 if c is None else c for c in r.categories] for r in records], np.int64)
    present = np.array(
        [[v is not None for v in (*r.texts, *r.numbers, *r.categories)] for r in records], bool
    )
    count = len(records)
    return Encoded(
        torch.from_numpy(words), torch.from_numpy(numbers.reshape(count, -1)),
        torch.from_numpy(kinds.reshape(count, -1)), torch.from_numpy(present),
    )  # fmt: skip


class MixingEncoder(nn.Module):
    """Fields [B, M] with a mask -> logits [B, classes]."""

    def __init__(self, config: MixingConfig, fields: Fields, classes: int) -> None:
        super().__init__()
        self.config, self.fields = config, fields
        width = config.width
        self.words = nn.Embedding(config.buckets, width, padding_idx=0)
        self.number = nn.ModuleList(
            nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width))
            for _ in fields.numbers
        )
        self.category = nn.ModuleList(nn.Embedding(count, width) for _, count in fields.categories)
        self.name = nn.Parameter(torch.randn(len(fields) + 1, width) * 0.1)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, given: Encoded) -> Tensor:
        """A missing field takes no part at all: it is no key of any attention."""
        mask = (given.words != 0).unsqueeze(-1)
        text = (self.words(given.words) * mask).sum(2) / mask.sum(2).clamp(min=1)
        tokens = [*text.unbind(1)]
        tokens += [net(given.numbers[:, k, None]) for k, net in enumerate(self.number)]
        tokens += [net(given.categories[:, k]) for k, net in enumerate(self.category)]
        fields = torch.stack(tokens, 1) + self.name[1:]
        first = self.name[0].expand(len(fields), 1, -1)
        hidden = F.pad(~given.present, (1, 0), value=False)
        mixed = self.layers(torch.cat([first, fields], 1), src_key_padding_mask=hidden)
        logits: Tensor = self.head(mixed[:, 0])
        return logits


def train_mixing(
    config: MixingConfig, fields: Fields, records: Sequence[Record], classes: np.ndarray,
    count: int, seed: int = 0,
) -> MixingEncoder:  # fmt: skip
    """Cross-entropy on classes int [n], each class weighted by the inverse root of its count."""
    torch.manual_seed(seed)
    model = MixingEncoder(config, fields, count)
    given, truth = encode(records, config.buckets), torch.from_numpy(classes.astype(np.int64))
    weight = truth.bincount(minlength=count).clamp(min=1).float().rsqrt()
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.01)
    steps = config.epochs * -(-len(given) // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    model.train()
    for _ in range(config.epochs):
        for rows in torch.randperm(len(given)).split(config.batch):
            batch = given[rows]
            shown = batch.present & (torch.rand(batch.present.shape) >= config.field_dropout)
            logits = model(Encoded(batch.words, batch.numbers, batch.categories, shown))
            loss = F.cross_entropy(logits, truth[rows], weight)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def probabilities(model: MixingEncoder, records: Sequence[Record]) -> np.ndarray:
    """float32 [n, classes]."""
    model.eval()
    given = encode(records, model.config.buckets)
    parts = [model(given[rows]).softmax(1) for rows in torch.arange(len(given)).split(512)]
    found: np.ndarray = torch.cat(parts).numpy()
    return found
