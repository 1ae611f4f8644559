"""Requests as vectors: a weighted bag of word vectors, for dense retrieval in milliseconds.

A word's vector is the sum of the rows that its hashes point to and a projection of its fixed
vector. Before training the rows are random and far from each other, and the weights are inverse
document frequencies: then the cosine of two requests is about that of their TF-IDF bags. Training
(dense passage retrieval, Karpukhin et al. 2020) moves both from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.feedback.rewriting_config import EncoderConfig
from rayforge.feedback.text import BUCKETS, fixed_vectors, hashes, normal

WORDS = 64
"""Words of a request, and of its context, that are read at most."""


@dataclass(frozen=True)
class Query:
    """A request with what was said before it, oldest first."""

    request: str
    context: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A request that failed and the one that stood in for it."""

    query: Query
    better: str
    worse: tuple[str, ...] = ()
    """Hard negatives: candidates that look right and are not."""


class RequestEncoder(nn.Module):
    """Requests and candidates -> unit vectors [n, width]; their dot product is the score."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.fixed = fixed_vectors(config.text)
        width = config.width
        # Sparse: an update touches the rows of its words alone, and Adam over all takes 20 times as
        # long.
        self.table = nn.Embedding(BUCKETS, width, padding_idx=0, sparse=True)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        with torch.no_grad():
            self.table.weight[0] = 0.0
        # The word itself counts most, then its trigrams together, then shape and ends.
        self.share = torch.tensor([1.0, 0.05, 0.2, 0.2, *[0.25] * 8])
        self.weight = nn.Embedding(BUCKETS, 1, sparse=True)
        nn.init.constant_(self.weight.weight, 1.0)
        # How much what was said before counts, by how far back it was.
        self.past = nn.Parameter(torch.tensor([0.3, 0.3, 0.2, 0.1]))
        if self.fixed is not None:
            self.project = nn.Linear(self.fixed.width, width, bias=False)
            nn.init.normal_(self.project.weight, std=(self.fixed.width * width) ** -0.5)

    def start_weights(self, texts: Sequence[str]) -> None:
        """Weights of words = inverse document frequency in `texts`: log((n + 1) / (count + 1))."""
        counts = np.zeros(BUCKETS)
        for text in texts:
            counts[list({int(hashes(word)[0]) for word in words_read(text)})] += 1
        idf = np.log((len(texts) + 1) / (counts + 1)) + 0.1
        with torch.no_grad():
            # The inverse of softplus, so that the weight is the frequency itself.
            self.weight.weight[:, 0] = torch.tensor(np.log(np.expm1(idf)), dtype=torch.float32)

    def words(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Vectors [n, width] and weights [n] of words, small letters expected."""
        ids = torch.from_numpy(np.stack([hashes(word) for word in words]))
        vectors = (self.table(ids) * self.share[None, :, None]).sum(1)
        if self.fixed is not None:
            # Retrieval takes bags of words: each has one vector, whatever stands beside it.
            vectors = vectors + self.project(torch.from_numpy(self.fixed.alone(words)))
        return vectors, F.softplus(self.weight(ids[:, 0])[:, 0])

    def sums(self, texts: Sequence[str]) -> Tensor:
        """Weighted sums of the word vectors of texts, [n, width]; zero for an empty one."""
        read = [words_read(text) for text in texts]
        known = sorted({word for words in read for word in words})
        sums = self.table.weight.new_zeros(len(texts), self.config.width)
        if not known:
            return sums
        number = {word: n for n, word in enumerate(known)}
        vectors, weights = self.words(known)
        words = torch.tensor([number[word] for words in read for word in words])
        rows = torch.tensor([row for row, words in enumerate(read) for _ in words])
        return sums.index_add(0, rows, (vectors * weights[:, None]).index_select(0, words))

    def candidates(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(self.sums(texts), dim=-1)

    def queries(self, queries: Sequence[Query]) -> Tensor:
        """The request, and the last turns before it, each with a learnt share."""
        texts = [query.request for query in queries]
        rows, back = list(range(len(queries))), [0] * len(queries)
        for row, query in enumerate(queries):
            for place, said in enumerate(query.context[: -len(self.past) - 1 : -1]):
                texts.append(said)
                rows.append(row)
                back.append(place + 1)
        shares = torch.cat([self.past.new_ones(1), self.past])[torch.tensor(back)]
        sums = self.sums(texts) * shares[:, None]
        own = sums.new_zeros(len(queries), self.config.width)
        return F.normalize(own.index_add(0, torch.tensor(rows), sums), dim=-1)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch: int = 4096) -> np.ndarray:
        """Candidates as float32 [n, width], many at a time."""
        if not texts:
            return np.zeros((0, self.config.width), np.float32)
        parts = [self.candidates(texts[n : n + batch]) for n in range(0, len(texts), batch)]
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def encode_query(self, query: Query) -> np.ndarray:
        found: np.ndarray = self.queries([query])[0].numpy()
        return found


def words_read(text: str) -> list[str]:
    """The words of a request that count, in small letters."""
    return normal(text).split()[:WORDS]


def in_batch_loss(queries: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """−log softmax of each query's own candidate among all of the batch, mean over queries.

    L = −log exp(q·p₊/t) / Σ_j exp(q·p_j/t); `queries` [n, d], `candidates` [n + m, d]: the first n
    are the queries' own, in order, the rest are hard negatives of all (Karpukhin et al. 2020).
    """
    scores = queries @ candidates.T / temperature
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def train_encoder(config: EncoderConfig, pairs: Sequence[Pair], seed: int = 0) -> RequestEncoder:
    """An encoder trained on pairs; the same pairs and seed give the same encoder.

    Two pairs of a batch with the same better request are no negatives of each other: one of them
    waits for a later batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = RequestEncoder(config)
    texts = [p.better for p in pairs] + [text for p in pairs for text in p.worse]
    encoder.start_weights(texts + [p.query.request for p in pairs])
    sparse = [encoder.table.weight, encoder.weight.weight]
    dense = [p for p in encoder.parameters() if all(p is not other for other in sparse)]
    optimisers = [
        torch.optim.SparseAdam(sparse, config.learning_rate),
        torch.optim.Adam(dense, config.learning_rate),
    ]
    generator = np.random.default_rng(seed)
    for _ in range(config.epochs):
        for batch in _batches(pairs, config.batch, generator):
            queries = encoder.queries([pair.query for pair in batch])
            better = [pair.better for pair in batch]
            own = {normal(text) for text in better}
            worse = [t for pair in batch for t in pair.worse[:2] if normal(t) not in own]
            candidates = encoder.candidates(better + worse)
            loss = in_batch_loss(queries, candidates, config.temperature)
            encoder.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
    return encoder.eval()


def _batches(
    pairs: Sequence[Pair], size: int, generator: np.random.Generator
) -> Iterator[list[Pair]]:
    """The pairs in a random order, no better request twice in a batch."""
    waiting = [pairs[n] for n in generator.permutation(len(pairs))]
    while waiting:
        batch: list[Pair] = []
        later: list[Pair] = []
        taken: set[str] = set()
        for pair in waiting:
            key = normal(pair.better)
            if len(batch) == size or key in taken:
                later.append(pair)
            else:
                taken.add(key)
                batch.append(pair)
        if len(batch) < 2:
            return  # alone, a pair teaches nothing
        yield batch
        waiting = later
