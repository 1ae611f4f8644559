"""What span prediction is measured against: four simpler ways to find a session's rephrase.

Each gives the turn that says the first request again, or None. All but the last turn look at pairs
of texts: what feedback or time say, they do not see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from rayforge.feedback.edit_distance import edit_similarity
from rayforge.feedback.rephrases import Session
from rayforge.feedback.text import FixedVectors, normal

Score = Callable[[str, str], float]
"""How like a rephrase of the first text the second is."""


def candidates(session: Session, window_s: float) -> list[int]:
    """Turns that are not too late."""
    found, late = [], 0.0
    for number, turn in enumerate(session.turns[1:], 1):
        late += max(0.0, turn.gap_s)
        if late <= window_s:
            found.append(number)
    return found


def last_turn(session: Session, window_s: float) -> int | None:
    """The last request, where there is more than one."""
    return max(candidates(session, window_s), default=None)


def best_turn(session: Session, window_s: float, score: Score, threshold: float) -> int | None:
    """The later request with the highest score, if it reaches the threshold."""
    first = session.turns[0].request
    scored = [(score(first, session.turns[n].request), -n) for n in candidates(session, window_s)]
    best = max(scored, default=(-np.inf, 0))
    return -best[1] if best[0] >= threshold and scored else None


def letters_score(a: str, b: str) -> float:
    """1 − edit distance / length of the longer."""
    return edit_similarity(normal(a), normal(b))


def vector_score(vectors: FixedVectors) -> Score:
    """Cosine of the mean word vectors."""

    def score(a: str, b: str) -> float:
        means = []
        for text in (a, b):
            words = normal(text).split()
            mean = vectors.alone(words).mean(0) if words else np.zeros(vectors.width)
            means.append(mean / max(float(np.linalg.norm(mean)), 1e-9))
        return float(means[0] @ means[1])

    return score


def pair_figures(a: str, b: str, near: Score) -> np.ndarray:
    """What the pairwise classifier sees of two texts: likeness in letters, words and vectors, both
    lengths, and a one."""
    x, y = set(normal(a).split()), set(normal(b).split())
    shared = len(x & y)
    return np.array(
        [
            letters_score(a, b), near(a, b), shared / max(1, len(x)), shared / max(1, len(y)),
            shared / max(1, len(x | y)), np.log((len(y) + 1) / (len(x) + 1)), len(x) / 20, 1.0,
        ]
    )  # fmt: skip


def pairwise_classifier(sessions: Sequence[Session], window_s: float, near: Score) -> Score:
    """Logistic regression over pairs of the first request and each later one."""
    figures, right = [], []
    for session in sessions:
        for n in candidates(session, window_s):
            first, later = session.turns[0].request, session.turns[n].request
            figures.append(pair_figures(first, later, near))
            right.append(session.rephrase is not None and session.rephrase[0] == n)
    x, y = np.stack(figures), np.array(right, float)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = x @ weights
        value = np.logaddexp(0, logits).mean() - (y * logits).mean() + 1e-4 * weights @ weights
        slope = x.T @ (1 / (1 + np.exp(-logits)) - y) / len(y) + 2e-4 * weights
        return float(value), slope

    weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    return lambda a, b: float(pair_figures(a, b, near) @ weights)


def fitted_threshold(sessions: Sequence[Session], window_s: float, score: Score) -> float:
    """The threshold with the best F1 on sessions with known rephrases."""
    best = []
    for session in sessions:
        found = best_turn(session, window_s, score, -np.inf)
        if found is not None:
            likeness = score(session.turns[0].request, session.turns[found].request)
            true = session.rephrase is not None and session.rephrase[0] == found
            best.append((likeness, true))
    best.sort(key=lambda item: -item[0])
    there = sum(session.rephrase is not None for session in sessions)
    hits = np.cumsum([true for _, true in best])
    f1 = 2 * hits / (np.arange(1, len(best) + 1) + max(1, there))
    return best[int(f1.argmax())][0] if len(best) else np.inf


def turn_f1(found: Sequence[int | None], sessions: Sequence[Session]) -> float:
    """F1 of the turns found: right where the turn is the true rephrase's."""
    true = [session.rephrase[0] if session.rephrase else None for session in sessions]
    right = sum(f is not None and f == t for f, t in zip(found, true, strict=True))
    guessed = sum(f is not None for f in found)
    there = sum(t is not None for t in true)
    return 2 * right / max(1, guessed + there)
