"""Planning: known answers of weights and choices, and trees that equal their paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayforge.irl.planning import (
    fit_weights,
    log_choice,
    log_mass,
    maximum_entropy_loss,
    minimum_risk,
    representatives,
)


def test_a_score_at_weight_one_over_t_is_a_softmax_at_temperature_t() -> None:
    scores = torch.tensor([[[2.0, 0.0, 9.0]]])
    log_p = log_choice(scores, torch.tensor([0.5]), torch.tensor([[True, True, False]]))
    odds = math.e / (1 + math.e)
    torch.testing.assert_close(log_p.exp(), torch.tensor([[odds, 1 - odds, 0.0]]))


def test_the_planted_best_path_is_chosen() -> None:
    scores = torch.zeros(1, 4, 5)
    best = torch.tensor([3, 0, 4, 1])
    scores[0, torch.arange(4), best] = 5.0
    present = torch.ones(4, 5, dtype=torch.bool)
    apart = torch.eye(5, dtype=torch.bool).expand(4, 5, 5)
    log_p = log_choice(scores, torch.ones(1), present)
    assert minimum_risk(log_p, apart).tolist() == best.tolist()


def test_mass_nearby_beats_the_likeliest_candidate() -> None:
    log_p = torch.tensor([[0.4, 0.3, 0.3]]).log()
    near = torch.eye(3, dtype=torch.bool)
    near[1, 2] = near[2, 1] = True
    assert minimum_risk(log_p, near[None]).item() == 1


@given(st.integers(0, 10_000))
def test_minimum_risk_is_the_best_of_all_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    places = rng.normal(size=(count, 2))
    near = np.linalg.norm(places[:, None] - places[None], axis=-1) < 1.0
    p = rng.dirichlet(np.ones(count))
    chosen = minimum_risk(torch.from_numpy(p).log()[None], torch.from_numpy(near)[None]).item()
    gains = [sum(p[j] for j in range(count) if near[i, j]) for i in range(count)]
    assert gains[int(chosen)] == pytest.approx(max(gains))


def test_weights_are_recovered_from_synthetic_choices() -> None:
    random = torch.Generator().manual_seed(0)
    scores = (
        torch.randn(3, 4000, 8, generator=random) * torch.tensor([1.0, 30.0, 0.2])[:, None, None]
    )
    present = torch.rand(4000, 8, generator=random) < 0.8
    present[:, 0] = True
    planted = torch.tensor([0.7, 0.05, 0.0])
    log_p = log_choice(scores, planted, present)
    chosen = torch.multinomial(log_p.exp(), 1, generator=random)
    good = torch.zeros_like(present).scatter(1, chosen, True)
    found = fit_weights(scores, good, present, ridge=0.0)
    torch.testing.assert_close(found, planted, atol=0.2, rtol=0.0)
    torch.testing.assert_close(found[:2], planted[:2], atol=0.05, rtol=0.0)


def test_weights_need_a_right_answer() -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="no instruction has a good candidate"):
        fit_weights(torch.zeros(1, 2, 3), none, ~none)


def test_maximum_entropy_learns_planted_choices() -> None:
    """Gradient steps on the loss lead to the shares in which candidates were meant."""
    reward = torch.zeros(3, requires_grad=True)
    good = torch.eye(3, dtype=torch.bool)[torch.tensor([0] * 6 + [1] * 3 + [2])]
    present = torch.ones(10, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam([reward], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        maximum_entropy_loss(reward.expand(10, 3), good, present).backward()
        optimizer.step()
    torch.testing.assert_close(
        reward.detach().softmax(0), torch.tensor([0.6, 0.3, 0.1]), atol=1e-3, rtol=0.0
    )


def test_maximum_entropy_leaves_out_what_has_no_right_answer() -> None:
    reward = torch.tensor([[1.0, 2.0], [5.0, 7.0]], requires_grad=True)
    good = torch.tensor([[True, False], [False, False]])
    present = torch.ones(2, 2, dtype=torch.bool)
    loss = maximum_entropy_loss(reward, good, present)
    assert loss.item() == pytest.approx(math.log(1 + math.e))
    loss.backward()
    assert reward.grad is not None and reward.grad[1].abs().sum() == 0
    assert maximum_entropy_loss(reward, good & False, present).item() == 0
    assert log_mass(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)).item() == -math.inf


def places(seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Probabilities of candidates that end at random places, which succeed for which, and the
    number of those that are absent, the last ones."""
    rng = np.random.default_rng(seed)
    count, absent = int(rng.integers(1, 8)), int(rng.integers(0, 3))
    ends = rng.normal(size=(count, 2))
    near = np.zeros((count + absent, count + absent), bool)
    near[:count, :count] = np.linalg.norm(ends[:, None] - ends[None], axis=-1) < 1.0
    p = np.concatenate([rng.dirichlet(np.ones(count)), np.zeros(absent)])
    return torch.from_numpy(p)[None], torch.from_numpy(near)[None], absent


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_representatives_cover_what_they_say(seed: int, count: int) -> None:
    p, near, absent = places(seed)
    chosen, stands = representatives(p, near, count)
    present = p.shape[1] - absent
    assert chosen.sum().item() == min(count, present)
    assert not chosen[0, present:].any() and (stands[0, present:] == -1).all()
    for c in range(present):
        stand = int(stands[0, c])
        if chosen[0, c]:
            assert stand == c
        elif stand < 0:
            assert not (near[0, c] & chosen[0]).any()
        else:
            others = [k for k in range(present) if near[0, c, k] and chosen[0, k]]
            assert stand in others and p[0, stand] == max(p[0, k] for k in others)


def test_the_first_representative_has_the_most_mass_and_the_second_is_elsewhere() -> None:
    p = torch.tensor([[0.3, 0.28, 0.22, 0.2]])
    near = torch.eye(4, dtype=torch.bool)
    near[0, 1] = near[1, 0] = True
    chosen, stands = representatives(p, near[None], 2)
    assert chosen.tolist() == [[True, False, True, False]]
    assert stands.tolist() == [[0, 0, 2, -1]]
