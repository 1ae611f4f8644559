"""Labels of a dialogue's turns and goals from texts and feedback: the network.

    words of a turn --BiLSTM--> word codes --attention--> + signal, numbers --> turn code
    turn codes of a dialogue --transformer over turns--> dialogue codes --> heads

The heads: does a turn begin a goal, go on with one, or stand outside (goal segmentation); was the
goal achieved; the turn's intent; a tag for each word (slots); how the person takes the turn
(feedback); is the reply this turn's own (pretraining). All of a dialogue is seen, later turns too,
since labels are made afterwards; with `online` a turn sees those before it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayforge.feedback.text import BUCKETS, GRAMS, SMALL, fixed_vectors, hashes, spans_of
from rayforge.language.encoder import BothWays, LockedDropout
from rayforge.settings import SHARE, Above, AtLeast, check_limits

WORDS = 48
"""Words of a request, and of its reply, that are read at most."""
BEGIN, INSIDE, OUTSIDE = 0, 1, 2
"""Goal segmentation of a turn: it begins a goal, goes on with it, or belongs to none."""
UNKNOWN = -100
"""A label that is not known: it counts in no loss."""


class Turn(NamedTuple):
    """What is known of one turn."""

    request: str
    reply: str = ""
    signal: str = "none"
    """The feedback that was seen; one of the labeller's signals, any other counts as unknown."""
    numbers: tuple[float, ...] = ()
    """Measured quantities, about 1 in size: as many as the configuration says; NaN: not known."""


class TurnTruth(NamedTuple):
    """What is known of one turn's labels; None where one is not known."""

    goal: int | None = None
    """Number of its goal in the dialogue, from 0; -1: of none."""
    achieved: bool | None = None
    """Whether that goal was achieved; equal in all turns of a goal."""
    intent: str | None = None
    slots: tuple[tuple[int, int, str], ...] | None = None
    """[begin, end) in the request and the slot's name."""
    satisfied: bool | None = None
    """How the person took it: feedback, perhaps noisy."""


class Dialogue(NamedTuple):
    turns: tuple[Turn, ...]
    truth: tuple[TurnTruth, ...] = ()
    """As many as turns, or none."""
    domain: str = ""
    """Replies are swapped within a domain or across: a home, a topic."""


@dataclass(frozen=True)
class LabellerConfig:
    """The network, its labels and its training."""

    intents: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    signals: tuple[str, ...] = ("none",)
    numbers: Annotated[int, AtLeast(0)] = 0
    """Measured quantities of a turn."""
    text: str = SMALL
    """Text encoder beside the learnt words: small (none), wordllama, a transformers folder."""
    word: Annotated[int, AtLeast(8)] = 64
    hidden: Annotated[int, AtLeast(8)] = 96
    layers: Annotated[int, AtLeast(1)] = 2
    """Of the transformer over turns."""
    heads: Annotated[int, AtLeast(1)] = 4
    dropout: Annotated[float, SHARE] = 0.3
    unseen: Annotated[float, SHARE] = 0.1
    """Share of words hidden in training, so that unknown words are no surprise."""
    online: bool = False
    """A turn sees earlier turns alone."""
    pretraining: Annotated[int, AtLeast(0)] = 2
    """Epochs of telling a turn's own reply from a swapped one."""
    hard: Annotated[float, SHARE] = 0.5
    """Share of the swaps that stay within a domain."""
    mixed: Annotated[float, SHARE] = 0.3
    """Share of slots whose text is another's of the same name in training."""
    epochs: Annotated[int, AtLeast(0)] = 12
    batch: Annotated[int, AtLeast(1)] = 24
    """Dialogues of an update."""
    learning_rate: Annotated[float, Above(0)] = 2e-3
    label_noise: Annotated[float, SHARE] = 0.0
    """Share of feedback that says the opposite; taken out of the probabilities afterwards."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.hidden % self.heads:
            raise ValueError(
                f"hidden must be a multiple of heads, got {self.hidden} and {self.heads}"
            )

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of words: "O", then B- and I- of each slot."""
        return ("O", *(f"{kind}-{name}" for name in self.slots for kind in "BI"))


class Batch(NamedTuple):
    """Dialogues as tensors: B dialogues of T turns of N words of the request."""

    request: Tensor
    """int64 [B·T, N, GRAMS]; 0 is padding."""
    reply: Tensor
    request_fixed: Tensor | None
    """float32 [B·T, N, width]."""
    reply_fixed: Tensor | None
    signal: Tensor
    """int64 [B, T]."""
    numbers: Tensor
    """float32 [B, T, 2·numbers]: values, and which of them are known."""
    mask: Tensor
    """bool [B, T]."""


class Outputs(NamedTuple):
    """Logits; turns and words that are padding hold numbers that mean nothing."""

    goal: Tensor
    """[B, T, 3]."""
    achieved: Tensor
    """[B, T]: of the goal that this turn belongs to, seen from the turn."""
    intent: Tensor
    """[B, T, intents]."""
    slots: Tensor
    """[B, T, N, tags]."""
    satisfied: Tensor
    """[B, T]."""
    own_reply: Tensor
    """[B, T]."""


class Labeller(nn.Module):
    """`Batch` -> `Outputs`."""

    def __init__(self, config: LabellerConfig) -> None:
        super().__init__()
        self.config = config
        self.fixed = fixed_vectors(config.text)
        self.table = nn.Embedding(BUCKETS, config.word, padding_idx=0, sparse=True)
        with torch.no_grad():
            self.table.weight.mul_(0.3)
            self.table.weight[0] = 0.0
        width = config.word
        if self.fixed is not None:
            self.project = nn.Linear(self.fixed.width, config.word)
            width += config.word
        self.dropout = LockedDropout(config.dropout)
        hidden = config.hidden
        self.read = BothWays(width, hidden)
        self.attend = nn.Linear(hidden, 1)
        self.signal = nn.Embedding(len(config.signals) + 1, 16)
        self.merge = nn.Linear(4 * hidden + 16 + 2 * config.numbers, hidden)
        self.place = nn.Embedding(32, hidden)
        nn.init.normal_(self.place.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(
            hidden, config.heads, 2 * hidden, config.dropout, batch_first=True, norm_first=True
        )
        self.over_turns = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(hidden), enable_nested_tensor=False
        )
        self.goal = nn.Linear(hidden, 3)
        self.achieved = nn.Linear(hidden, 1)
        self.intent = nn.Linear(hidden, max(1, len(config.intents)))
        self.slots = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.Tanh(), nn.Linear(hidden, len(config.tags))
        )
        self.satisfied = nn.Linear(hidden, 1)
        self.own_reply = nn.Linear(hidden, 1)

    def forward(self, batch: Batch) -> Outputs:
        count, turns = batch.mask.shape
        request, request_code = self._text(batch.request, batch.request_fixed)
        _, reply_code = self._text(batch.reply, batch.reply_fixed)
        # The product lets a linear layer see whether request and reply are about one thing.
        texts = torch.cat(
            [request_code, reply_code, request_code * reply_code,
             (request_code - reply_code).abs()], -1,
        ).view(count, turns, -1)  # fmt: skip
        merged = self.merge(torch.cat([texts, self.signal(batch.signal), batch.numbers], -1))
        places = torch.arange(turns, device=merged.device).clamp(max=31)
        merged = torch.tanh(merged) + self.place(places)
        later = None
        if self.config.online:
            later = torch.ones(turns, turns, dtype=torch.bool, device=merged.device).triu(1)
        codes = self.over_turns(merged, mask=later, src_key_padding_mask=~batch.mask)
        words = torch.cat(
            [request, codes.flatten(0, 1)[:, None].expand(-1, request.shape[1], -1)], -1
        )
        return Outputs(
            self.goal(codes), self.achieved(codes)[..., 0], self.intent(codes),
            self.slots(self.dropout(words)).view(count, turns, request.shape[1], -1),
            self.satisfied(codes)[..., 0], self.own_reply(codes)[..., 0],
        )  # fmt: skip

    def _text(self, ids: Tensor, fixed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Word codes [n, N, hidden] and the text's code [n, hidden]; zero for an empty text."""
        known = ids[..., 0] > 0
        lengths = known.sum(1)
        if self.training and self.config.unseen:
            # A word that was never seen keeps its shape, its ends and its trigrams.
            hide = torch.rand(ids.shape[:2]) < self.config.unseen
            ids = ids.clone()
            ids[..., 0] = ids[..., 0].masked_fill(hide, 0)
        vectors = self.table(ids).sum(2)
        if fixed is not None:
            vectors = torch.cat([vectors, self.project(fixed)], -1)
        codes = self.dropout(self.read(self.dropout(vectors), lengths.clamp(min=1)))
        codes = codes * known[..., None]
        scores = self.attend(codes)[..., 0].masked_fill(~known, -torch.inf)
        share = torch.nan_to_num(scores.softmax(-1))
        return codes, (share[:, None] @ codes)[:, 0]


def as_batch(config: LabellerConfig, dialogues: Sequence[Dialogue], model: Labeller) -> Batch:
    """Dialogues as tensors, padded to the longest."""
    turns = max(len(d.turns) for d in dialogues)
    mask = torch.zeros(len(dialogues), turns, dtype=torch.bool)
    signal = torch.full((len(dialogues), turns), len(config.signals))
    numbers = torch.zeros(len(dialogues), turns, 2 * config.numbers)
    place = {name: n for n, name in enumerate(config.signals)}
    requests, replies = [""] * mask.numel(), [""] * mask.numel()
    for row, dialogue in enumerate(dialogues):
        for column, turn in enumerate(dialogue.turns):
            mask[row, column] = True
            signal[row, column] = place.get(turn.signal, len(place))
            for n, value in enumerate(turn.numbers[: config.numbers]):
                if np.isfinite(value):
                    numbers[row, column, n] = float(np.clip(value, -10, 10))
                    numbers[row, column, config.numbers + n] = 1.0
            requests[row * turns + column] = turn.request
            replies[row * turns + column] = turn.reply
    request, request_fixed = _words(requests, model)
    reply, reply_fixed = _words(replies, model)
    return Batch(request, reply, request_fixed, reply_fixed, signal, numbers, mask)


def _words(texts: Sequence[str], model: Labeller) -> tuple[Tensor, Tensor | None]:
    words = [[t[a:b] for a, b in spans_of(t)[:WORDS]] for t in texts]
    longest = max(1, *(len(found) for found in words))
    ids = np.zeros((len(texts), longest, GRAMS), np.int64)
    for row, found in enumerate(words):
        if found:
            ids[row, : len(found)] = np.stack([hashes(word) for word in found])
    fixed = None
    if model.fixed is not None:
        fixed = np.zeros((len(texts), longest, model.fixed.width), np.float32)
        for row, vectors in enumerate(model.fixed.vectors(words)):
            fixed[row, : len(vectors)] = vectors
    return torch.from_numpy(ids), None if fixed is None else torch.from_numpy(fixed)


class Targets(NamedTuple):
    """Labels as tensors, UNKNOWN where one is not known."""

    goal: Tensor
    achieved: Tensor
    intent: Tensor
    slots: Tensor
    satisfied: Tensor


def as_targets(config: LabellerConfig, dialogues: Sequence[Dialogue], batch: Batch) -> Targets:
    """Raises ValueError for an intent or a slot that the configuration does not name."""
    shape = batch.mask.shape
    goal, achieved, intent, satisfied = (torch.full(shape, UNKNOWN) for _ in range(4))
    slots = torch.full((*shape, batch.request.shape[1]), UNKNOWN)
    tags = {tag: n for n, tag in enumerate(config.tags)}
    intents = {name: n for n, name in enumerate(config.intents)}
    for row, dialogue in enumerate(dialogues):
        before: int | None = None
        for column, (turn, truth) in enumerate(zip(dialogue.turns, dialogue.truth, strict=False)):
            if truth.goal is not None:
                same = INSIDE if truth.goal == before else BEGIN
                goal[row, column] = OUTSIDE if truth.goal < 0 else same
            before = truth.goal if truth.goal is None or truth.goal >= 0 else before
            if truth.achieved is not None:
                achieved[row, column] = int(truth.achieved)
            if truth.satisfied is not None:
                satisfied[row, column] = int(truth.satisfied)
            if truth.intent is not None:
                if truth.intent not in intents:
                    raise ValueError(f"intent {truth.intent[:80]!r} is not among the settings'")
                intent[row, column] = intents[truth.intent]
            if truth.slots is not None:
                found = tags_of(turn.request, truth.slots)
                for n, tag in enumerate(found[: slots.shape[2]]):
                    if tag not in tags:
                        raise ValueError(f"slot {tag[2:82]!r} is not among the settings'")
                    slots[row, column, n] = tags[tag]
    return Targets(goal, achieved, intent, slots, satisfied)


def tags_of(text: str, slots: Sequence[tuple[int, int, str]]) -> list[str]:
    """The tag of each word of a text; a word belongs to a slot where most of it does."""
    tags = ["O"] * len(spans := spans_of(text))
    for begin, end, name in slots:
        first = True
        for n, (a, b) in enumerate(spans):
            if 2 * (min(b, end) - max(a, begin)) > b - a:
                tags[n] = f"{'B' if first else 'I'}-{name}"
                first = False
    return tags


def slots_of(text: str, tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The inverse of `tags_of`; an I- that nothing of its name stands before begins a slot."""
    found: list[tuple[int, int, str]] = []
    under_way = ""
    for (a, b), tag in zip(spans_of(text), tags, strict=False):
        kind, _, name = tag.partition("-")
        if kind == "I" and name == under_way:
            found[-1] = (found[-1][0], b, name)
        elif kind in ("B", "I"):
            found.append((a, b, name))
        under_way = name if kind in ("B", "I") else ""
    return found


def label_loss(outputs: Outputs, targets: Targets, mask: Tensor) -> Tensor:
    """L = L_goal + L_achieved + L_intent + L_slots + L_feedback, each a mean over what is known.

    Unknown labels (`UNKNOWN`) count nowhere; a part without any known label is 0.
    """
    parts = [
        _cross_entropy(outputs.goal, targets.goal, mask),
        _binary(outputs.achieved, targets.achieved, mask),
        _cross_entropy(outputs.intent, targets.intent, mask),
        _cross_entropy(outputs.slots, targets.slots, mask),
        _binary(outputs.satisfied, targets.satisfied, mask),
    ]
    return torch.stack(parts).sum()


def _cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    known = targets != UNKNOWN
    if targets.dim() == mask.dim():
        known = known & mask
    return F.cross_entropy(logits[known], targets[known]) if known.any() else logits.sum() * 0


def _binary(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    known = (targets != UNKNOWN) & mask
    if not known.any():
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits[known], targets[known].float())
