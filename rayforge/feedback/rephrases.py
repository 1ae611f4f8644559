"""Which later request of a session says the first one again, and better: span prediction.

    [CLS] first request, its signal [SEP] gap, request, reply, signal [SEP] gap, request, ...

A transformer reads the whole session; P_start and P_end over its tokens point at the rephrase, or
at [CLS] where there is none (after ContReph, Wang et al., EMNLP 2021, whose article and abstract
were read; the null, the marks and the match with the first request are designed here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.feedback.text import BUCKETS, GRAMS, SMALL, fixed_vectors, hashes, normal, spans_of
from rayforge.settings import SHARE, Above, AtLeast, check_limits

TOKENS = 512
"""Tokens of a session that are read at most."""
TURN_WORDS = 60
"""Words of a request, and of a reply, that are read at most: a long one leaves room for others."""
CLS, FIRST, REQUEST, REPLY, MARK = range(5)
"""What a token is."""
GAPS_S = (2.0, 5.0, 10.0, 20.0, 45.0)
"""Borders between the marks of silence before a turn, seconds."""


class Said(NamedTuple):
    """One turn of a session."""

    request: str
    reply: str = ""
    signal: str = "none"
    """How the person took it."""
    gap_s: float = 0.0
    """Seconds since the turn before it was over."""
    well: bool = True
    """Whether it ended well."""


class Session(NamedTuple):
    turns: tuple[Said, ...]
    rephrase: tuple[int, int, int] | None = None
    """Where it is known: (turn, begin, end) in that turn's request; None: there is none."""


class Found(NamedTuple):
    """A rephrase of a session's first request."""

    turn: int
    text: str
    score: float
    """The span's log-odds against [CLS]."""


@dataclass(frozen=True)
class RephraseConfig:
    """The network that reads sessions, its training, and what it may point at."""

    signals: tuple[str, ...] = ("none",)
    text: str = SMALL
    """Text encoder beside the learnt words: small (none), wordllama, a transformers folder."""
    width: Annotated[int, AtLeast(8)] = 96
    heads: Annotated[int, AtLeast(1)] = 4
    layers: Annotated[int, AtLeast(1)] = 2
    dropout: Annotated[float, SHARE] = 0.1
    epochs: Annotated[int, AtLeast(0)] = 8
    batch: Annotated[int, AtLeast(1)] = 24
    learning_rate: Annotated[float, Above(0)] = 1.5e-3
    window_s: Annotated[float, Above(0)] = 120.0
    """A request later than this after the first one's end is never its rephrase."""
    margin: Annotated[float, AtLeast(0)] = 0.0
    """By how much a span must beat [CLS], in log-odds."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads, got {self.width} and {self.heads}"
            )


class Tokens(NamedTuple):
    """A session as tokens."""

    words: tuple[str, ...]
    roles: np.ndarray
    """int64 [N]."""
    turns: np.ndarray
    """int64 [N]: the turn that a token is of."""
    matches: np.ndarray
    """float32 [N]: whether a word stands in the first request too."""
    spans: tuple[tuple[int, int, int], ...]
    """(turn, first, last) tokens of each request that may be the rephrase."""
    places: tuple[tuple[int, int], ...]
    """[begin, end) of each token in its turn's text."""


def tokens_of(session: Session, window_s: float) -> Tokens:
    """A session's tokens, cut at `TOKENS`; a request that is cut, or too late, is no candidate."""
    first = session.turns[0]
    words, roles, turns, places = ["[cls]"], [CLS], [0], [(0, 0)]
    spans: list[tuple[int, int, int]] = []

    def add(text: str, role: int, turn: int) -> int:
        found = spans_of(text)[:TURN_WORDS]
        words.extend(text[a:b] for a, b in found)
        places.extend(found)
        roles.extend([role] * len(found))
        turns.extend([turn] * len(found))
        return len(found)

    def mark(name: str, turn: int) -> None:
        words.append(f"[{name}]")
        places.append((0, 0))
        roles.append(MARK)
        turns.append(turn)

    add(first.request, FIRST, 0)
    mark(first.signal, 0)
    late = 0.0
    for number, turn in enumerate(session.turns[1:], 1):
        late += max(0.0, turn.gap_s)
        mark(f"gap{int(np.searchsorted(GAPS_S, turn.gap_s))}", number)
        begin = len(words)
        count = add(turn.request, REQUEST, number)
        if count and late <= window_s and begin + count <= TOKENS:
            spans.append((number, begin, begin + count - 1))
        add(turn.reply, REPLY, number)
        mark(turn.signal, number)
    own = {word.lower() for word, role in zip(words, roles, strict=True) if role == FIRST}
    matches = np.array([word.lower() in own for word in words], np.float32)
    cut = slice(0, TOKENS)
    return Tokens(
        tuple(words[cut]), np.array(roles[cut]), np.array(turns[cut]), matches[cut], tuple(spans),
        tuple(places[cut]),
    )  # fmt: skip


def best_span(
    start: np.ndarray, end: np.ndarray, spans: Sequence[tuple[int, int]], margin: float
) -> tuple[int, int, float] | None:
    """(i, j, score against null) with the largest start[i] + end[j], i <= j, both inside one span.

    `start`, `end` [N] are logits, or log-probabilities: the softmax takes the same from all.
    `spans`: (first, last) tokens of each user turn. None where the best does not beat
    start[0] + end[0], the null's, by more than `margin`, or there are no spans.
    """
    best: tuple[int, int, float] | None = None
    for first, last in spans:
        top = first
        for j in range(first, last + 1):
            top = j if start[j] > start[top] else top
            score = float(start[top] + end[j])
            if best is None or score > best[2]:
                best = (top, j, score)
    null = float(start[0] + end[0])
    if best is None or best[2] - null <= margin:
        return None
    return best[0], best[1], best[2] - null


def span_loss(start: Tensor, end: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """½ (cross-entropy of starts + of ends), mean over sessions.

    `start`, `end` [B, N] logits, `targets` int64 [B, 2] (0, 0 for the null), `mask` [B, N]; log N
    for equal logits over N tokens.
    """
    parts = [
        F.cross_entropy(logits.masked_fill(~mask, -torch.inf), targets[:, n])
        for n, logits in enumerate((start, end))
    ]
    return 0.5 * (parts[0] + parts[1])


class SpanReader(nn.Module):
    """Sessions as tokens -> start and end logits [B, N]."""

    def __init__(self, config: RephraseConfig) -> None:
        super().__init__()
        self.config = config
        self.fixed = fixed_vectors(config.text)
        width = config.width
        self.table = nn.Embedding(BUCKETS, width, padding_idx=0, sparse=True)
        self.role = nn.Embedding(5, width)
        self.turn = nn.Embedding(16, width)
        self.place = nn.Embedding(TOKENS, width)
        self.match = nn.Linear(1, width)
        with torch.no_grad():
            for table in (self.table, self.role, self.turn, self.place):
                table.weight.mul_(0.2)
            self.table.weight[0] = 0.0
        if self.fixed is not None:
            self.project = nn.Linear(self.fixed.width, width)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )
        self.over = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.point = nn.Linear(width, 2)

    def forward(self, sessions: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
        """(start, end, mask), each [B, N]."""
        longest = max(len(s.words) for s in sessions)
        shape = (len(sessions), longest)
        ids = np.zeros((*shape, GRAMS), np.int64)
        roles, turns = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        matches, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for row, session in enumerate(sessions):
            count = len(session.words)
            ids[row, :count] = np.stack([hashes(word) for word in session.words])
            roles[row, :count] = session.roles
            turns[row, :count] = np.minimum(session.turns, 15)
            matches[row, :count] = session.matches
            mask[row, :count] = True
        codes = (
            self.table(torch.from_numpy(ids)).sum(2) + self.role(torch.from_numpy(roles))
            + self.turn(torch.from_numpy(turns)) + self.place(torch.arange(longest))
            + self.match(torch.from_numpy(matches)[..., None])
        )  # fmt: skip
        if self.fixed is not None:
            fixed = np.zeros((*shape, self.fixed.width), np.float32)
            for row, vectors in enumerate(self.fixed.vectors([s.words for s in sessions])):
                fixed[row, : len(vectors)] = vectors
            codes = codes + self.project(torch.from_numpy(fixed))
        known = torch.from_numpy(mask)
        read = self.over(codes, src_key_padding_mask=~known)
        start, end = self.point(read).unbind(-1)
        return start, end, known


def train_reader(
    config: RephraseConfig, sessions: Sequence[Session], seed: int = 0,
    after_epoch: Callable[[], object] | None = None,
) -> SpanReader:  # fmt: skip
    """A reader trained on sessions with known rephrases; the same ones and seed give the same.

    `after_epoch` is called after each pass. Raises ValueError where there are none.
    """
    usable = [session for session in sessions if len(session.turns) > 1]
    if not usable:
        raise ValueError("rephrases are learnt from sessions of two turns and more, got none")
    read = [tokens_of(session, config.window_s) for session in usable]
    targets = torch.tensor(
        [_target(session, tokens) for session, tokens in zip(usable, read, strict=True)]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = SpanReader(config).train()
        table = reader.table.weight
        optimisers: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam([table], config.learning_rate),
            torch.optim.AdamW(
                [p for p in reader.parameters() if p is not table], config.learning_rate
            ),
        ]
        generator = np.random.default_rng(seed)
        for epoch in range(config.epochs):
            for optimiser in optimisers:
                for settings in optimiser.param_groups:
                    settings["lr"] = config.learning_rate * (1 - 0.9 * epoch / config.epochs)
            for rows in _batches(len(read), config.batch, generator):
                start, end, mask = reader([read[n] for n in rows])
                loss = span_loss(start, end, targets[rows], mask)
                reader.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(
                    [p for p in reader.parameters() if p is not table], 1.0
                )
                for optimiser in optimisers:
                    optimiser.step()
            if after_epoch is not None:
                after_epoch()
    return reader.eval()


def _batches(count: int, size: int, generator: np.random.Generator) -> Iterator[list[int]]:
    order = generator.permutation(count).tolist()
    for first in range(0, count, size):
        yield order[first : first + size]


def _target(session: Session, tokens: Tokens) -> tuple[int, int]:
    """First and last token of the known rephrase; (0, 0) for none, or where it is no candidate."""
    if session.rephrase is None:
        return 0, 0
    turn, begin, end = session.rephrase
    for number, first, last in tokens.spans:
        if number == turn:
            inside = [
                n for n in range(first, last + 1)
                if tokens.places[n][0] >= begin and tokens.places[n][1] <= end
            ]  # fmt: skip
            return (inside[0], inside[-1]) if inside else (0, 0)
    return 0, 0


@torch.no_grad()
def find_rephrases(reader: SpanReader, sessions: Sequence[Session]) -> list[Found | None]:
    """The rephrase of each session's first request, or None; of one turn, always None."""
    found: list[Found | None] = [None] * len(sessions)
    read = {
        n: tokens_of(session, reader.config.window_s)
        for n, session in enumerate(sessions)
        if len(session.turns) > 1
    }
    # Sessions of like length together: less padding.
    order = sorted(read, key=lambda n: len(read[n].words))
    for first in range(0, len(order), 32):
        rows = order[first : first + 32]
        start, end, _ = reader([read[n] for n in rows])
        for n, starts, ends in zip(rows, start.numpy(), end.numpy(), strict=True):
            spans = [(a, b) for _, a, b in read[n].spans]
            best = best_span(starts, ends, spans, reader.config.margin)
            if best is not None:
                turn = int(read[n].turns[best[0]])
                begin, last = read[n].places[best[0]][0], read[n].places[best[1]][1]
                text = sessions[n].turns[turn].request[begin:last]
                found[n] = Found(turn, text, best[2])
    return found


class Mined(NamedTuple):
    """A request and what stood in for it, over sessions."""

    request: str
    rephrase: str
    times: int
    """Sessions in which it did, and that turn ended well."""
    rate: float
    """Of the sessions that begin with the request."""


def mine(
    sessions: Sequence[Session], found: Sequence[Found | None], least: int = 2, rate: float = 0.1
) -> list[Mined]:
    """Pairs that occur in `least` sessions and in the share `rate` of those that begin so.

    A rephrase counts where its turn ended well. Requests are told apart by their normal form; the
    most frequent pairs come first.
    """
    begins: dict[str, int] = {}
    counts: dict[tuple[str, str], int] = {}
    shown: dict[str, str] = {}
    for session, rephrase in zip(sessions, found, strict=True):
        if not session.turns:
            continue
        key = normal(session.turns[0].request)
        begins[key] = begins.get(key, 0) + 1
        shown[key] = session.turns[0].request
        if rephrase is None or not session.turns[rephrase.turn].well:
            continue
        better = normal(rephrase.text)
        if not better or better == key:
            continue
        shown[better] = rephrase.text
        counts[key, better] = counts.get((key, better), 0) + 1
    pairs = [
        Mined(shown[a], shown[b], count, count / begins[a])
        for (a, b), count in counts.items()
        if count >= least and count >= rate * begins[a]
    ]
    return sorted(pairs, key=lambda p: (-p.times, p.request, p.rephrase))
