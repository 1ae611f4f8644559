"""Joint ranking: how likely a candidate is to fix a request, from both texts and what is known.

Words of the candidate are held against those of the request and of what was said before it, exactly
and by their vectors (each word's best match, as in ColBERT, Khattab & Zaharia 2020); beside that
stand how often the candidate was said, how often it went wrong, and how long ago. A small network
over these figures gives P(the candidate fixes the request). The choice of figures is designed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rayforge.feedback.edit_distance import Letters, edit_similarity
from rayforge.feedback.encoder import Query, RequestEncoder, words_read
from rayforge.feedback.entries import Entry, EntryIndex, Vocabulary
from rayforge.feedback.rewriting_config import RankerConfig
from rayforge.feedback.text import normal

FEATURES = (
    "score", "in_request", "in_all", "request_in", "soft_request", "soft_all", "soft_back",
    "letters", "worst_word", "worst_asked", "count", "defects", "age", "personal", "length",
    "swapped", "swapped_letters", "swapped_meaning", "request_good", "request_bad", "asked_words",
)  # fmt: skip
"""The figures of a candidate, in their order."""
DAY_S = 86_400.0


class Request(NamedTuple):
    """A query as ranking takes it."""

    query: Query
    words: list[str]
    past: list[str]
    vectors: np.ndarray
    """Unit vectors of the request's words, then of those said before, [n + m, d]."""
    weights: np.ndarray
    now: float
    good: float
    """How often the request itself was said and went well, as log(1 + n); its failures in `bad`."""
    bad: float


@torch.no_grad()
def prepare_request(
    query: Query, encoder: RequestEncoder, now: float, known: Entry | None
) -> Request:
    """What all candidates of a request share; `known`: the request's own entry, if it has one."""
    words = words_read(query.request)
    past = [word for text in reversed(query.context[-4:]) for word in words_read(text)]
    both = words + past
    vectors = np.zeros((0, encoder.config.width), np.float32)
    weights = np.zeros(0, np.float32)
    if both:
        v, w = encoder.words(both)
        vectors, weights = F.normalize(v, dim=-1).numpy(), w.numpy()
    good, bad = (known.times - known.defects, known.defects) if known else (0, 0)
    return Request(query, words, past, vectors, weights, now, np.log1p(good), np.log1p(bad))


def features_of(
    request: Request, index: EntryIndex, rows: np.ndarray, scores: np.ndarray,
    vocabulary: Vocabulary,
) -> np.ndarray:  # fmt: skip
    """float32 [rows, FEATURES] of candidates; each row is of its candidate alone, whatever the
    others are. The request and each candidate have a word at least.

    All words of all candidates stand one behind the other (`flat`); `begins` says where each
    candidate's own begin.
    """
    found = np.zeros((len(rows), len(FEATURES)), np.float32)
    if not len(rows):
        return found
    asked = len(request.words)
    entries = [index.entries[row] for row in rows.tolist()]
    words = [index.words[row] for row in rows.tolist()]
    lengths = np.array([len(ids) for ids in words])
    begins = np.cumsum(lengths) - lengths
    flat = np.concatenate(words)
    weight, asked_weight = vocabulary.weights[flat], request.weights[:asked]
    ids = np.array([vocabulary.number.get(word, -1) for word in request.words + request.past])
    equal = flat[:, None] == ids[None]
    similar = vocabulary.vectors[flat] @ request.vectors.T
    best_own, best_all = similar[:, :asked].max(1), similar.max(1)
    back = np.maximum.reduceat(similar[:, :asked], begins)  # [rows, asked]
    kept = np.logical_or.reduceat(equal[:, :asked], begins)
    total = np.maximum(np.add.reduceat(weight, begins), 1e-6)
    total_asked = max(float(asked_weight.sum()), 1e-6)

    def share(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weight * values, begins) / total

    plain = Letters(" ".join(request.words))
    said = [words_read(entry.text) for entry in entries]
    swaps = [
        _swap(request.words, said[n], similar[begins[n] : begins[n] + lengths[n], :asked])
        for n in range(len(rows))
    ]
    times = np.array([entry.times for entry in entries], float)
    defects = np.array([entry.defects for entry in entries], float)
    ages = np.maximum(0.0, request.now - np.array([entry.last for entry in entries]))
    columns = (
        scores, share(equal[:, :asked].any(1)), share(equal.any(1)),
        kept @ asked_weight / total_asked, share(best_own), share(best_all),
        back @ asked_weight / total_asked, [plain.similarity(" ".join(text)) for text in said],
        np.maximum.reduceat(weight * (1 - best_all), begins),
        (asked_weight * (1 - back)).max(1),
        np.log1p(times), (defects + 0.5) / (times + 1.0), np.exp(-ages / (30 * DAY_S)),
        [entry.user is not None for entry in entries], np.log((lengths + 1) / (asked + 1)),
        [swap[0] for swap in swaps], [swap[1] for swap in swaps], [swap[2] for swap in swaps],
        request.good, request.bad, np.log1p(asked),
    )  # fmt: skip
    for place, values in enumerate(columns):
        found[:, place] = values
    return found


def _swap(asked: list[str], said: list[str], similar: np.ndarray) -> tuple[bool, float, float]:
    """Whether the texts differ in one word alone, and how like its two words are in letters and
    in meaning: a title with another name in it, or a word that was misheard."""
    if len(asked) != len(said):
        return False, 0.0, 0.0
    differ = [n for n, (a, b) in enumerate(zip(asked, said, strict=True)) if a != b]
    if len(differ) != 1:
        return False, 0.0, 0.0
    place = differ[0]
    return True, edit_similarity(asked[place], said[place]), float(similar[place, place])


class Ranker:
    """Features [n, FEATURES] -> P(the candidate fixes the request) [n]."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        a = self.arrays
        scaled = (features - a["mean"]) / a["scale"]
        hidden = np.tanh(scaled @ a["inner"].T + a["inner_bias"])
        logits = np.clip(hidden @ a["outer"] + a["outer_bias"], -30, 30)
        found: np.ndarray = 1 / (1 + np.exp(-logits))
        return found


def train_ranker(
    config: RankerConfig, features: np.ndarray, fixes: np.ndarray, seed: int = 0
) -> Ranker:
    """A ranker trained by binary cross-entropy: features [n, FEATURES], fixes bool [n].

    The first features of a request may be repeated for its candidates: each row counts once.
    Raises ValueError where no candidate fixes, or all do.
    """
    if not 0 < fixes.sum() < len(fixes):
        raise ValueError(f"a ranker needs candidates of both kinds, got {fixes.sum()} that fix")
    mean, scale = features.mean(0), features.std(0)
    # What never changed in training says nothing about what happens when it does.
    scale = np.where(scale > 1e-6, scale, np.inf)
    inputs = torch.tensor((features - mean) / scale, dtype=torch.float32)
    targets = torch.tensor(fixes, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner, outer = nn.Linear(len(FEATURES), config.hidden), nn.Linear(config.hidden, 1)
        model = nn.Sequential(inner, nn.Tanh(), outer)
        optimiser = torch.optim.AdamW(
            model.parameters(), config.learning_rate, weight_decay=config.decay
        )
        for _ in range(config.epochs):
            for rows in torch.randperm(len(inputs)).split(config.batch):
                loss = F.binary_cross_entropy_with_logits(model(inputs[rows])[:, 0], targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return Ranker(
        {
            "mean": mean.astype(np.float32), "scale": scale.astype(np.float32),
            "inner": inner.weight.detach().numpy(),
            "inner_bias": inner.bias.detach().numpy(),
            "outer": outer.weight.detach().numpy()[0],
            "outer_bias": outer.bias.detach().numpy(),
        }
    )  # fmt: skip


def same_request(a: str, b: str) -> bool:
    """Whether two requests are one: equal in their normal form."""
    return normal(a) == normal(b)


def known_entry(request: str, indexes: Sequence[EntryIndex]) -> Entry | None:
    """The entry of the request itself, in the first index that has one."""
    key = normal(request)
    return next((index.known[key] for index in indexes if key in index.known), None)
