"""Two listeners judge instructions: known answers, and what the choice never does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rayforge.goals.agreement import Scores, accepted, choose, follower_score, path_posterior


def test_the_follower_score_is_the_mean_log_probability_of_the_paths_actions() -> None:
    log_pi = torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]).log()
    action = torch.tensor([[1, 0, 1]])
    for length, expected in ((2, (0.5 * 0.25) ** (1 / 2)), (3, (0.5 * 0.25 * 0.1) ** (1 / 3))):
        score = follower_score(log_pi, action, torch.tensor([length]))
        assert float(score.exp()) == pytest.approx(expected)


def test_bayes_over_the_path_and_other_ways() -> None:
    own = torch.tensor([-1.0, -3.0, -2.0]).exp().log()
    others = torch.tensor([[-2.0, -2.0], [-2.0, -9.0], [-1.0, -1.0]])
    present = torch.tensor([[True, True], [True, True], [False, False]])
    posterior, ahead = path_posterior(own, others, present)
    likelihood = math.exp(-1), 2 * math.exp(-2)
    assert float(posterior[0].exp()) == pytest.approx(likelihood[0] / sum(likelihood))
    assert float(posterior[2]) == pytest.approx(0.0), "alone, a path is certain"
    assert ahead.tolist() == [True, False, True]


def test_an_instruction_has_to_convince_both() -> None:
    scores = Scores(
        torch.tensor([0.9, 0.9, 0.3, 0.3]).log(),
        torch.tensor([0.6, 0.4, 0.6, 0.4]).log(),
        torch.tensor([True, False, True, False]),
    )
    assert accepted(scores, 0.5).tolist() == [True, False, False, False]
    assert accepted(scores, 0.0).all(), "0 rejects none"


def test_the_best_is_the_one_that_both_find_likeliest() -> None:
    scores = Scores(
        torch.tensor([[-0.1, -0.4, -0.05]]),
        torch.tensor([[-0.9, -0.1, -3.0]]),
        torch.tensor([[True, True, False]]),
    )
    # Two actions: -0.2 - 0.9, -0.8 - 0.1; the third has the likeliest actions and is not ahead.
    place, kept = choose(scores, torch.tensor([2]), 0.5)
    assert (place.tolist(), kept.tolist()) == ([1], [True])
    place, kept = choose(scores, torch.tensor([2]), 0.999)
    assert (place.tolist(), kept.tolist()) == ([1], [False]), "none is good: the best of all"


SHARES = st.floats(0.01, 1.0)


@st.composite
def judged(draw: st.DrawFn) -> tuple[Scores, Tensor]:
    paths, kinds = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    size = paths * kinds

    def table(values: st.SearchStrategy) -> Tensor:
        drawn = draw(st.lists(values, min_size=size, max_size=size))
        return torch.tensor(drawn).view(paths, kinds)

    scores = Scores(table(SHARES).log(), table(SHARES).log(), table(st.booleans()))
    length = draw(st.lists(st.integers(1, 9), min_size=paths, max_size=paths))
    return scores, torch.tensor(length)


@given(judged(), SHARES, SHARES)
def test_properties_of_the_filter(pair: tuple[Scores, Tensor], one: float, two: float) -> None:
    scores, length = pair
    low, high = sorted((one, two))
    good = accepted(scores, low)
    assert (accepted(scores, high) <= good).all(), "a higher bar keeps a subset"
    place, kept = choose(scores, length, low)
    chosen = good.gather(1, place[:, None])[:, 0]
    assert torch.equal(chosen, kept), "kept if and only if what was chosen is accepted"
    assert torch.equal(kept, good.any(1))
    # Another candidate of a path never makes the chosen one worse, nor loses a kept path.
    fewer = Scores(*(part[:, :1] for part in scores))
    first, was_kept = choose(fewer, length, low)
    assert (kept >= was_kept).all()
    total = scores.follower * length[:, None] + scores.speaker
    better = total.gather(1, place[:, None])[:, 0] >= total.gather(1, first[:, None])[:, 0]
    assert (better | (kept & ~was_kept)).all()
