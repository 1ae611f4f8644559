"""Learning to rewrite from samples: retriever, ranker, and the thresholds that decide.

The ranker must see scores as they are on requests that the retriever was not trained on. So the
samples are cut in folds, each is retrieved by an encoder trained on the others, and the ranker and
the thresholds are learnt from that (cross-fitting). The encoder that is used is trained on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rayforge.feedback.encoder import Pair, Query, train_encoder
from rayforge.feedback.entries import Entry
from rayforge.feedback.ranking import FEATURES, Ranker, train_ranker
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import (
    LearningConfig,
    RankerConfig,
)
from rayforge.feedback.text import normal


@dataclass(frozen=True)
class Sample:
    """A request of a user, and the requests that would have fixed it."""

    user: str | None
    query: Query
    fixes: tuple[str, ...]
    """Any of them is right; () where the request was good as it is."""
    time: float = 0.0
    group: str | None = None
    """Samples of one group stay in one fold: those of a dialogue, say."""


def learn_rewriter(
    config: LearningConfig, samples: Sequence[Sample], entries: Sequence[Entry],
    table: Mapping[str, tuple[str, float]] | None = None, seed: int = 0,
) -> Rewriter:  # fmt: skip
    """A rewriter over `entries`, learnt from samples.

    Raises ValueError where no sample's fix is among the candidates: then there is nothing to learn.
    """
    folds = _folds(samples, config.folds, seed)
    features, fixes, of_sample, personal = [], [], [], []
    for fold in range(config.folds):
        others = [s for s, f in zip(samples, folds, strict=True) if f != fold]
        encoder = train_encoder(config.encoder, pairs_of(others), seed)
        rewriter = Rewriter(config.rewriting, encoder, _no_ranker(), entries)
        for number, (sample, own) in enumerate(zip(samples, folds, strict=True)):
            if own != fold:
                continue
            right = {normal(text) for text in sample.fixes}
            for entry, _, feature in rewriter.candidates(sample.user, sample.query, sample.time):
                features.append(feature)
                fixes.append(normal(entry.text) in right)
                of_sample.append(number)
                personal.append(entry.user is not None)
    if not any(fixes) or all(fixes):
        raise ValueError(
            f"of {len(fixes)} candidates of {len(samples)} samples {sum(fixes)} fix a request: a "
            "rewriter is learnt from requests whose better form is among the entries"
        )
    x, y, rows = np.stack(features), np.array(fixes), np.array(of_sample)
    chances = np.zeros(len(x))
    for fold in range(config.folds):
        inside = np.array(folds)[rows] == fold
        chances[inside] = _ranker(config.ranker, x[~inside], y[~inside], seed).probabilities(
            x[inside]
        )
    good = np.array([not sample.fixes for sample in samples])
    thresholds: dict[str, Any] = {}
    for layer, mine in (("personal", np.array(personal)), ("global", ~np.array(personal))):
        thresholds[f"{layer}_threshold"] = pick_threshold(
            *_winners(chances[mine], y[mine], rows[mine]), good, config.harm, config.false_alarms
        )
    encoder = train_encoder(config.encoder, pairs_of(samples), seed)
    return Rewriter(
        replace(config.rewriting, **thresholds), encoder,
        train_ranker(config.ranker, x, y, seed), entries, table,
    )  # fmt: skip


def pairs_of(samples: Sequence[Sample]) -> list[Pair]:
    """A training pair a fix."""
    return [Pair(sample.query, fix) for sample in samples for fix in sample.fixes]


def pick_threshold(
    winners: np.ndarray, right: np.ndarray, rows: np.ndarray, good: np.ndarray, harm: float,
    false_alarms: float,
) -> float:  # fmt: skip
    """The threshold with the largest gain on samples, 1 a right rewrite and −`harm` a wrong one.

    `winners` [n]: the best candidate's chance of sample `rows` [n]; `right` [n]: whether it fixes;
    `good` [samples]: requests that need no rewrite. A threshold at which more than `false_alarms`
    of the good requests are rewritten is not taken. 1 where nothing gains.
    """
    order = np.argsort(-winners, kind="stable")
    gain = np.cumsum(np.where(right[order], 1.0, -harm))
    alarms = np.cumsum(good[rows[order]]) / max(1, good.sum())
    gain = np.where(alarms <= false_alarms, gain, -np.inf)
    # A threshold lies between two different chances.
    next_down = np.append(winners[order][1:], 0.0)
    gain = np.where(next_down < winners[order], gain, -np.inf)
    if not len(gain) or gain.max() <= 0:
        return 1.0
    best = int(gain.argmax())
    return float((winners[order][best] + next_down[best]) / 2)


def _winners(
    chances: np.ndarray, right: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best candidate of each sample that has one."""
    order = np.lexsort((-chances, rows))
    first = np.ones(len(order), bool)
    first[1:] = rows[order][1:] != rows[order][:-1]
    taken = order[first]
    return chances[taken], right[taken], rows[taken]


def _folds(samples: Sequence[Sample], folds: int, seed: int) -> list[int]:
    groups = [sample.group or f"sample {n}" for n, sample in enumerate(samples)]
    names = sorted(set(groups))
    generator = np.random.default_rng(seed)
    place = dict(zip(names, generator.permutation(len(names)) % folds, strict=True))
    return [int(place[group]) for group in groups]


def _ranker(config: RankerConfig, x: np.ndarray, y: np.ndarray, seed: int) -> Ranker:
    return train_ranker(config, x, y, seed) if 0 < y.sum() < len(y) else _no_ranker()


def _no_ranker() -> Ranker:
    """A ranker by the score of retrieval alone."""
    outer = np.zeros(1, np.float32)
    inner = np.zeros((1, len(FEATURES)), np.float32)
    inner[0, 0], outer[0] = 1.0, 1.0
    return Ranker(
        {
            "mean": np.zeros(len(FEATURES), np.float32),
            "scale": np.ones(len(FEATURES), np.float32), "inner": inner,
            "inner_bias": np.zeros(1, np.float32), "outer": outer,
            "outer_bias": np.zeros(1, np.float32),
        }
    )  # fmt: skip
