"""The requests that a rewrite may be taken from: each with who said it and how often it went well.

An entry of a user is that user's alone. A request becomes an entry for everyone only when enough
different users said it (`least_users`): what one person says in private never gets there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from rayforge.feedback.encoder import RequestEncoder, words_read
from rayforge.feedback.index import DenseIndex, IndexKind
from rayforge.feedback.text import normal


class Entry(NamedTuple):
    """One request that was said `times` times and went wrong `defects` times of them."""

    text: str
    user: str | None
    """Whose it is; None: everyone's."""
    times: int = 1
    defects: int = 0
    last: float = 0.0
    """Seconds since 1970 when it was last said."""


class Outcome(NamedTuple):
    """One request of a log, and whether it ended well."""

    user: str
    request: str
    well: bool
    time: float = 0.0


def gather(outcomes: Iterable[Outcome], least_users: int = 3) -> list[Entry]:
    """Personal entries of each user, and entries of everyone for what `least_users` of them said.

    Requests are counted by their normal form; the wording shown is the one said last. In the order
    of first occurrence, everyone's entries behind the personal ones.
    """
    personal: dict[tuple[str, str], Entry] = {}
    shared: dict[str, Entry] = {}
    sayers: dict[str, set[str]] = {}
    for outcome in outcomes:
        key = normal(outcome.request)
        if not key:
            continue
        own = personal.get((outcome.user, key))
        personal[outcome.user, key] = _added(own, outcome, outcome.user)
        shared[key] = _added(shared.get(key), outcome, None)
        sayers.setdefault(key, set()).add(outcome.user)
    everyone = [entry for key, entry in shared.items() if len(sayers[key]) >= least_users]
    return [*personal.values(), *everyone]


def _added(entry: Entry | None, outcome: Outcome, user: str | None) -> Entry:
    count, defects = (entry.times, entry.defects) if entry else (0, 0)
    return Entry(outcome.request, user, count + 1, defects + (not outcome.well), outcome.time)


@dataclass
class EntryIndex:
    """Entries of one kind (a user's, or everyone's) with their vectors and words."""

    entries: Sequence[Entry]
    """Those that went well at least once: what a rewrite may be taken from."""
    index: DenseIndex
    words: list[np.ndarray]
    """Rows of each entry's words in the `Vocabulary` that all indexes share."""
    known: dict[str, Entry]
    """All entries by their normal form, those that never went well too."""


@dataclass
class Vocabulary:
    """The words of all entries: unit vectors [n, d] and weights [n]."""

    number: dict[str, int]
    vectors: np.ndarray
    weights: np.ndarray


def build_indexes(
    entries: Sequence[Entry], encoder: RequestEncoder, kind: IndexKind = "flat"
) -> tuple[Vocabulary, EntryIndex, dict[str, EntryIndex]]:
    """The vocabulary, everyone's index, and one index a user (always flat: a user has few).

    Entries without a word are left out.
    """
    entries = [entry for entry in entries if words_read(entry.text)]
    read = [words_read(entry.text) for entry in entries]
    known = sorted({word for words in read for word in words})
    number = {word: n for n, word in enumerate(known)}
    with torch.no_grad():
        parts = [encoder.words(known[n : n + 4096]) for n in range(0, len(known), 4096)]
    width = encoder.config.width
    vectors = np.concatenate([v.numpy() for v, _ in parts]) if parts else np.zeros((0, width))
    weights = np.concatenate([w.numpy() for _, w in parts]) if parts else np.zeros(0)
    vectors = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )
    vocabulary = Vocabulary(number, vectors, weights.astype(np.float32))
    codes = encoder.encode([entry.text for entry in entries])
    well = [entry.times > entry.defects for entry in entries]
    words = [np.array([number[word] for word in found], np.int64) for found in read]
    rows_of: dict[str | None, list[int]] = {None: []}
    for row, entry in enumerate(entries):
        rows_of.setdefault(entry.user, []).append(row)

    def part(user: str | None) -> EntryIndex:
        every = rows_of[user]
        rows = [row for row in every if well[row]]
        index = DenseIndex(codes[rows], kind if user is None else "flat")
        known = {normal(entries[row].text): entries[row] for row in every}
        return EntryIndex([entries[r] for r in rows], index, [words[r] for r in rows], known)

    users = {user: part(user) for user in rows_of if user is not None}
    return vocabulary, part(None), users
