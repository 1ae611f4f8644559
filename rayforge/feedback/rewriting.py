"""Rewriting online: the better request for one that will likely fail, or none, with the reason.

Two layers look at a request: the user's own entries, then everyone's. Each retrieves candidates by
their vectors and ranks them. The user's winner is taken above `personal_threshold`, else the
request's row of the table (mined offline, `Table`), else everyone's winner above
`global_threshold`. A user's index is never looked at for another user.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from rayforge.feedback.encoder import Query, RequestEncoder
from rayforge.feedback.entries import Entry, EntryIndex, build_indexes
from rayforge.feedback.ranking import (
    Ranker,
    Request,
    features_of,
    known_entry,
    prepare_request,
    same_request,
)
from rayforge.feedback.rewriting_config import RewritingConfig
from rayforge.feedback.text import normal

Reason = Literal[
    "rewritten", "no words", "request is good", "no candidate", "below threshold", "budget"
]
Layer = Literal["none", "personal", "table", "global"]


class Answer(NamedTuple):
    """A rewrite, or None, and why."""

    rewrite: str | None
    reason: Reason
    layer: Layer = "none"
    score: float = 0.0
    """Of the best candidate, taken or not."""


class Rewriter:
    """Answers requests from entries and a table; it does not change once it is made."""

    def __init__(
        self, config: RewritingConfig, encoder: RequestEncoder, ranker: Ranker,
        entries: Sequence[Entry], table: Mapping[str, tuple[str, float]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """`table`: request -> (rewrite, score); its requests are taken by their normal form."""
        self.config, self.encoder, self.ranker = config, encoder, ranker
        self.entries = list(entries)
        self.vocabulary, self.everyone, self.users = build_indexes(entries, encoder, config.index)
        self.table = {normal(request): row for request, row in (table or {}).items()}
        self._clock = clock

    def answer(
        self, user: str | None, query: Query, now: float = 0.0, budget_ms: float | None = None
    ) -> Answer:
        """The rewrite of a request, or none; `now`: seconds since 1970, for the age of entries."""
        end = self._clock() + (budget_ms or self.config.budget_ms) / 1000
        if not normal(query.request):
            return Answer(None, "no words")
        own = self.users.get(user) if user is not None else None
        known = known_entry(query.request, [own] if own else [])
        known = known or known_entry(query.request, [self.everyone])
        if known is not None and self._good(known):
            return Answer(None, "request is good")
        request = prepare_request(query, self.encoder, now, known)
        code = self.encoder.encode_query(query)
        best = Answer(None, "no candidate")
        if own is not None:
            found = self._best(own, request, code, self.config.personal_k)
            if found and found[1] >= self.config.personal_threshold:
                return Answer(found[0].text, "rewritten", "personal", found[1])
            best = Answer(None, "below threshold", score=found[1]) if found else best
        row = self.table.get(normal(query.request))
        if row is not None:
            return Answer(row[0], "rewritten", "table", row[1])
        if self._clock() >= end:
            return best._replace(reason="budget")
        found = self._best(self.everyone, request, code, self.config.global_k)
        if found and found[1] >= self.config.global_threshold:
            return Answer(found[0].text, "rewritten", "global", found[1])
        score = max(best.score, found[1] if found else 0.0)
        return best._replace(reason="below threshold", score=score) if found else best

    def candidates(
        self, user: str | None, query: Query, now: float = 0.0
    ) -> list[tuple[Entry, float, np.ndarray]]:
        """All candidates of both layers, (entry, probability, features), best first: for training
        and for looking at."""
        if not normal(query.request):
            return []
        own = self.users.get(user) if user is not None else None
        known = known_entry(query.request, [*([own] if own else []), self.everyone])
        request = prepare_request(query, self.encoder, now, known)
        code = self.encoder.encode_query(query)
        found = []
        for index, k in ((own, self.config.personal_k), (self.everyone, self.config.global_k)):
            if index is None or not k:
                continue
            rows, scores = self._others(index, query.request, code, k)
            features = features_of(request, index, rows, scores, self.vocabulary)
            chances = self.ranker.probabilities(features)
            found += [
                (index.entries[row], float(chance), feature)
                for row, chance, feature in zip(rows, chances, features, strict=True)
            ]
        return sorted(found, key=lambda item: (-item[1], item[0].text))

    def _good(self, entry: Entry) -> bool:
        c = self.config
        return entry.times >= c.good_count and entry.defects <= c.good_rate * entry.times

    def _others(
        self, index: EntryIndex, request: str, code: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest entries that are not the request itself."""
        rows, scores = index.index.search(code, k + 1)
        other = np.array([not same_request(index.entries[row].text, request) for row in rows], bool)
        return rows[other][:k], scores[other][:k]

    def _best(
        self, index: EntryIndex, request: Request, code: np.ndarray, k: int
    ) -> tuple[Entry, float] | None:
        """The best candidate of an index; of equals the one whose text comes first, so that the
        order of entries decides nothing."""
        if not k or not len(index.index):
            return None
        rows, scores = self._others(index, request.query.request, code, k)
        if not len(rows):
            return None
        chances = self.ranker.probabilities(
            features_of(request, index, rows, scores, self.vocabulary)
        )
        texts = [index.entries[row].text for row in rows.tolist()]
        place = min(range(len(rows)), key=lambda n: (-chances[n], texts[n]))
        return index.entries[int(rows[place])], float(chances[place])
