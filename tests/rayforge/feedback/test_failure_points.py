"""Failure points: the known answers of their sheet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rayforge.feedback.failure_points import (
    ASSISTANT,
    CORRECT,
    STAGES,
    failure_point,
    human_ratio,
    macro_f1,
    point_shares,
    replay_points,
)
from rayforge.feedback.mixing import (
    Fields,
    MixingConfig,
    MixingEncoder,
    Record,
    encode,
    probabilities,
    train_mixing,
)

FLAGS = list(itertools.product([False, True], repeat=5))


def test_every_pattern_against_a_hand_table() -> None:
    for errors, recovered in itertools.product(FLAGS, FLAGS):
        lost = [n for n in range(5) if errors[n] and not recovered[n]]
        expected = ASSISTANT[lost[0]] if lost else CORRECT
        assert failure_point(errors, recovered, right=False) == expected
        assert failure_point(errors, recovered, right=True) == CORRECT
        assert failure_point(errors, recovered, right=False, in_scope=False) == CORRECT


def test_the_articles_examples() -> None:
    none = [False] * 5
    assert failure_point([False, True, False, True, False], none, right=False) == "ASR"
    assert failure_point([False, True, False, False, False], none, right=True) == CORRECT
    assert failure_point(none, none, right=False, in_scope=False) == CORRECT  # a sandwich


def test_downstream_errors_never_change_the_point_and_upstream_ones_move_it() -> None:
    none = [False] * 5
    for errors in FLAGS[1:]:
        point = ASSISTANT.index(failure_point(errors, none, right=False))
        for stage in range(5):
            more = [*errors[:stage], True, *errors[stage + 1 :]]
            moved = ASSISTANT.index(failure_point(more, none, right=False))
            assert moved == min(point, stage)


def test_shares_of_a_synthetic_chain() -> None:
    shares = point_shares([0.1] * 5, [0.5] * 5)
    expected = [0.05, 0.0475, 0.045125, 0.042869, 0.040725, 0.773781]
    np.testing.assert_allclose(shares, expected, atol=5e-7)
    rng = np.random.default_rng(0)
    errors, recovered = rng.random((20_000, 5)) < 0.1, rng.random((20_000, 5)) < 0.5
    points = [failure_point(e, r, right=False) for e, r in zip(errors, recovered, strict=True)]
    found = [points.count(name) / 20_000 for name in (*ASSISTANT, CORRECT)]
    np.testing.assert_allclose(found, shares, atol=0.006)


def test_lists_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="5 stages need as many"):
        failure_point([True], [False] * 5, right=False)


def test_replay_takes_the_first_oracle_that_mends() -> None:
    needed = np.array([0, 1, 2, 3, 4, 5, 6, 6])  # oracles that each episode needs
    asked: list[int] = []

    def succeeds(oracles: int, rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return np.asarray(needed[rows] <= oracles)

    points = replay_points(succeeds, len(needed))
    assert points.tolist() == [-1, 0, 1, 2, 3, 4, 5, 5]
    assert asked == [8, 7, 6, 5, 4, 3]  # what succeeds is not replayed again; all oracles never
    assert len(STAGES) == 6


def test_the_human_ratio_and_macro_f1() -> None:
    assert round(human_ratio(0.83, 0.90), 1) == 92.2
    truth, said = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    assert macro_f1(truth, said, 3) == pytest.approx((0.8 + 2 / 3) / 2)


FIELDS = Fields(("text",), ("a", "b"), (("kind", 3),))
QUICK = MixingConfig(
    width=16, heads=2, epochs=14, batch=32, learning_rate=5e-3, field_dropout=0.0, dropout=0.0
)


def traces(count: int, seed: int) -> tuple[list[Record], np.ndarray]:
    """A deterministic feature for each class: a word, a number above a half, a category."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=count)
    records = [
        Record(
            ("lost words" if one == 1 else "plain words",),
            (float(0.8 + 0.2 * rng.random() if one == 2 else 0.4 * rng.random()), None),
            (2 if one == 3 else int(rng.integers(2)),),
        )
        for one in classes
    ]
    return records, classes


def test_the_encoder_learns_what_is_there_and_loses_only_what_is_dropped() -> None:
    records, classes = traces(240, 0)
    model = train_mixing(QUICK, FIELDS, records, classes, 4)
    test, truth = traces(200, 1)
    assert (probabilities(model, test).argmax(1) == truth).all()
    bare = [Record(r.texts, (0.2, None), r.categories) for r in test]
    said = probabilities(model, bare).argmax(1)
    assert (said[truth != 2] == truth[truth != 2]).all() and (said[truth == 2] != 2).all()


def test_missing_fields_and_padding_change_nothing() -> None:
    model = MixingEncoder(QUICK, FIELDS, 4).eval()
    one, other = Record(("go left",), (None, 1.0), (0,)), Record(("go left",), (None, 1.0), (0,))
    given = encode([one, other], QUICK.buckets)
    given.numbers[1, 0] = 7.0  # whatever stands in a missing field
    given.words[1, 0, 40] = 0
    assert (model(given)[0] == model(given)[1]).all()
    alone = model(encode([one], QUICK.buckets))
    longer = encode([one, Record(("a " * 40,), (0.0, 0.0), (1,))], QUICK.buckets)
    np.testing.assert_allclose(alone[0].detach(), model(longer)[0].detach(), atol=1e-5)
