"""Pairs from sampled responses: best against worst, and everything that is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayforge.alignment.pairs import BuiltPairs, build_pairs


def build(
    responses: list[str], scores: list[float], per_prompt: int, second: list[float] | None = None,
    truncated: tuple[int, ...] = (), seed: int = 0,
) -> BuiltPairs:  # fmt: skip
    cut = np.zeros(len(responses), bool)
    cut[list(truncated)] = True
    return build_pairs(
        np.arange(len(responses)) // per_prompt, responses, np.array(scores), cut,
        np.array([not response for response in responses], bool), seed,
        None if second is None else np.array(second),
    )  # fmt: skip


def test_best_against_worst() -> None:
    found = build(["a", "b", "c", "d", "e", "f"], [1, 3, 2, 5, 0, 4], 3)
    assert found.chosen.tolist() == [1, 3]
    assert found.rejected.tolist() == [0, 4]
    assert found.margin.tolist() == [2.0, 5.0]
    assert not any(found.dropped_responses.values())
    assert not any(found.dropped_prompts.values())


def test_everything_dropped_is_counted() -> None:
    found = build(
        ["a", "a", "b", "", "c", "d", "e", "f", "g", "g", "g", "", "h", "i", "j", "k"],
        [1, 1, 2, 9, 9, 0, 1, 2, 1, 1, 1, 9, 3, 3, 3, 3],
        4,
        truncated=(4, 11),
    )
    assert found.chosen.tolist() == [2, 7]
    assert found.rejected.tolist() == [0, 5]
    assert found.dropped_responses == {"truncated": 1, "empty": 2, "duplicate": 3}
    assert found.dropped_prompts == {"fewer than two responses": 1, "tie": 1, "disagreement": 0}


def test_a_second_score_has_to_agree() -> None:
    found = build(["a", "b", "c", "d", "e", "f"], [0, 1, 0, 1, 0, 1], 2, [0, 1, 1, 0, 1, 1])
    assert found.chosen.tolist() == [1]
    assert found.dropped_prompts["disagreement"] == 2


def test_a_given_winner_against_the_worst_own_response() -> None:
    """Four prompts: a clear case, a given side that was sampled too, none given, none sampled."""
    prompt = np.array([0, 0, 1, 1, 2, 2, 0, 1, 3])
    responses = ["a", "b", "c", "d", "e", "f", "given", "c", "alone"]
    given = np.arange(9) >= 6
    no = np.zeros(9, bool)
    score = np.array([5.0, 4, 3, 2, 1, 0, -9, -9, -9])  # the given side may score least
    reward = np.arange(9, dtype=float)
    found = build_pairs(prompt, responses, score, no, no, 0, reward, given)
    assert (found.chosen.tolist(), found.rejected.tolist()) == ([6], [1])
    assert found.margin.tolist() == [5.0]  # the reward's, not the score's
    assert found.dropped_responses["duplicate"] == 1
    assert found.dropped_prompts == {
        "fewer than two responses": 1, "tie": 0, "disagreement": 0, "no given winner": 2,
    }  # fmt: skip
    found = build_pairs(prompt, responses, score, no, no, 0, -reward, given)
    assert found.dropped_prompts["disagreement"] == 1  # the reward does not side with the label


def test_one_response_a_prompt_makes_no_pairs() -> None:
    found = build(["a", "b"], [1, 2], 1)
    assert len(found) == 0
    assert found.chosen.dtype == np.int64
    assert found.margin.shape == (0,)
    assert found.dropped_prompts["fewer than two responses"] == 2


def test_the_seed_decides_among_equals() -> None:
    best = {int(build(["a", "b", "c"], [1, 1, 0], 3, seed=s).chosen[0]) for s in range(20)}
    assert best == {0, 1}


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["", "a", "b", "c"]), st.integers(-2, 2),
                  st.booleans()), max_size=40)
)  # fmt: skip
def test_pairs_hold_what_they_promise(rows: list[tuple[int, str, int, bool]]) -> None:
    prompt = np.array([row[0] for row in rows], np.int64)
    text = [row[1] for row in rows]
    score = np.array([row[2] for row in rows], np.float64)
    cut = np.array([row[3] for row in rows], bool)
    empty = np.array([not t for t in text], bool)
    found = build_pairs(prompt, text, score, cut, empty, 0)
    assert len(found) + sum(found.dropped_prompts.values()) == len(set(prompt.tolist()))
    assert (np.diff(prompt[found.chosen]) > 0).all()
    assert np.array_equal(prompt[found.chosen], prompt[found.rejected])
    assert (found.margin > 0).all()
    for best, worst in zip(found.chosen, found.rejected, strict=True):
        assert text[best] != text[worst] and text[best] and text[worst]
        assert not cut[best] and not cut[worst]


def test_bad_input_is_named() -> None:
    none = np.zeros(2, bool)
    with pytest.raises(ValueError, match="scores has 1 values for 2 responses"):
        build_pairs(np.zeros(2), ["a", "b"], np.zeros(1), none, none, 0)
    with pytest.raises(ValueError, match=r"response 1 \(prompt 0\) has score nan"):
        build(["a", "b"], [0, float("nan")], 2)
    assert len(build(["a", "", "b"], [0, float("nan"), 1], 3)) == 1, "unused scores may be anything"
