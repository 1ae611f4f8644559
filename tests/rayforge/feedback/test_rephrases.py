"""Known answers of rephrase detection: decoder, null, window, edits, context, loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rayforge.feedback.rephrase_baselines import (
    best_turn,
    fitted_threshold,
    last_turn,
    letters_score,
    pairwise_classifier,
    turn_f1,
)
from rayforge.feedback.rephrases import (
    TOKENS,
    Found,
    RephraseConfig,
    Said,
    Session,
    best_span,
    find_rephrases,
    mine,
    span_loss,
    tokens_of,
    train_reader,
)

PLACES = ("kitchen", "bedroom", "garage", "balcony", "office", "hallway", "pantry", "attic")
CONFIG = RephraseConfig(
    ("none", "rephrase", "stop"), width=32, heads=2, layers=1, dropout=0.0, epochs=14, batch=16,
    learning_rate=4e-3,
)  # fmt: skip


def test_the_best_span_stays_in_one_turn() -> None:
    start, end = np.array([0, 5, 0, 0, 1.0]), np.array([0, 0, 4, 0, 6.0])
    assert best_span(start, end, [(1, 2), (3, 4)], 0.0) == (1, 2, 9.0)
    # Without the constraint it would be (1, 4) with 11.
    assert best_span(start, end, [(1, 4)], 0.0) == (1, 4, 11.0)


def test_nothing_beats_the_null_by_a_margin_where_all_is_equal() -> None:
    zero = np.zeros(5)
    assert best_span(zero, zero, [(1, 2), (3, 4)], 0.1) is None
    assert best_span(zero, zero, [], 0.0) is None


def test_the_loss_of_equal_logits_is_log_n() -> None:
    mask = torch.tensor([[True] * 7 + [False] * 2])
    logits = torch.zeros(1, 9)
    assert float(span_loss(logits, logits, torch.tensor([[2, 4]]), mask)) == pytest.approx(
        math.log(7)
    )


def edits(count: int, seed: int) -> list[Session]:
    """A request that fails, something else, and the request again (a copy, a word less), or not."""
    generator = np.random.default_rng(seed)
    sessions = []
    for n in range(count):
        one, other, third = generator.choice(PLACES, 3, replace=False)
        first = f"please go to the {one} now"
        again = (first, f"go to the {one} now", f"please go to the {one}")[n % 3]
        unrelated = f"what time is it in the {other}"
        turns = [Said(first, "", "rephrase", 0.0, False)]
        if n % 4:
            turns += [Said(again, "", "none", 3.0), Said(unrelated, "", "none", 9.0)]
            rephrase = (1, 0, len(again))
        else:
            turns += [Said(unrelated, "", "none", 3.0), Said(f"open the {third}", "", "none", 9.0)]
            rephrase = None
        sessions.append(Session(tuple(turns), rephrase))
    return sessions


def test_copies_and_dropped_words_are_found_and_an_unrelated_end_is_not() -> None:
    reader = train_reader(CONFIG, edits(240, 0))
    test = edits(48, 1)
    found = find_rephrases(reader, test)
    assert turn_f1([f.turn if f else None for f in found], test) == 1.0
    texts = [f.text for f in found if f]
    assert texts == [s.turns[1].request for s in test if s.rephrase]


def contradictory(count: int, seed: int) -> list[Session]:
    """The same texts twice, with opposite feedback: only the marks tell which is the rephrase."""
    generator = np.random.default_rng(seed)
    sessions = []
    for _ in range(count):
        one, other = generator.choice(PLACES, 2, replace=False)
        first, a, b = f"go to the {one}", f"to the {one} please", f"the {one} past the {other}"
        for good in (1, 2):
            signals = ["rephrase" if n != good else "none" for n in (1, 2)]
            turns = (
                Said(first, "", "rephrase", 0.0, False),
                Said(a, "", signals[0], 3.0, good == 1), Said(b, "", signals[1], 3.0, good == 2),
            )  # fmt: skip
            sessions.append(Session(turns, (good, 0, len((a, b)[good - 1]))))
    return sessions


def test_feedback_decides_where_the_texts_are_equal_and_no_pairwise_model_passes_half() -> None:
    train, test = contradictory(100, 0), contradictory(20, 1)
    reader = train_reader(CONFIG, train)
    found = find_rephrases(reader, test)
    assert turn_f1([f.turn if f else None for f in found], test) > 0.95
    pairwise = pairwise_classifier(train, CONFIG.window_s, letters_score)
    for score in (pairwise, letters_score):
        threshold = fitted_threshold(train, CONFIG.window_s, score)
        guesses = [best_turn(session, CONFIG.window_s, score, threshold) for session in test]
        assert turn_f1(guesses, test) <= 0.5
    assert turn_f1([last_turn(session, CONFIG.window_s) for session in test], test) == 0.5


def test_a_request_after_the_window_is_no_candidate() -> None:
    turns = (Said("go up"), Said("go up now", gap_s=100.0), Said("go up", gap_s=30.0))
    assert [turn for turn, *_ in tokens_of(Session(turns), 120.0).spans] == [1]
    assert last_turn(Session(turns), 120.0) == 1
    torch.manual_seed(0)
    late = Session((Said("go up"), Said("go up", gap_s=1e6)))
    assert find_rephrases(train_reader(CONFIG, [late]), [late, Session((Said("x"),))]) == [
        None, None,
    ]  # fmt: skip


def test_a_long_session_is_cut_and_what_is_cut_is_no_candidate() -> None:
    long = Session(tuple(Said("word " * 100, "reply " * 100) for _ in range(8)))
    tokens = tokens_of(long, 1e9)
    assert len(tokens.words) == len(tokens.roles) == len(tokens.places) == TOKENS
    assert all(last < TOKENS for _, _, last in tokens.spans)


def test_pairs_are_kept_by_count_and_rate() -> None:
    good = Session((Said("go x", well=False), Said("go y")))
    bad = Session((Said("go x", well=False), Said("go y", well=False)))
    alone = Session((Said("Go x!"),))
    found = [Found(1, "go y", 1.0)] * 3 + [None]
    (pair,) = mine([good, good, bad, alone], found, least=2, rate=0.5)
    assert (pair.request, pair.rephrase, pair.times, pair.rate) == ("Go x!", "go y", 2, 0.5)
    assert mine([good, good, bad, alone], found, least=3) == []
    assert mine([good, good, bad, alone], found, rate=0.6) == []
