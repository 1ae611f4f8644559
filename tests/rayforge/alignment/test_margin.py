"""Rewards and losses of each alignment loss, and what they refuse."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from rayforge.alignment.margin import (
    Loss,
    margin,
    pair_loss,
    per_token,
    response_reward,
    robust_smoothing,
    smoothed_loss,
    without_length,
)
from rayforge.evaluation.win_rate import area_under_curve

POLICY, REFERENCE, TOKENS = np.array([-6.0, -9.0]), np.array([-8.0, -8.0]), np.array([2, 4])
LOSSES: tuple[Loss, ...] = typing.get_args(Loss)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sigmoid", [0.4, -0.2]),
        ("robust", [0.4, -0.2]),
        ("hinge", [0.4, -0.2]),
        ("ipo", [1.0, -0.25]),
        ("slic", [-6.0, -9.0]),
        ("simpo", [0.2 * -3, 0.2 * -2.25]),
    ],
)
def test_the_reward_is_the_one_that_the_loss_optimises(loss: Loss, expected: list[float]) -> None:
    found = response_reward(loss, POLICY, REFERENCE, TOKENS, 0.2)
    assert found.dtype == np.float64
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_margins_are_in_nats_whatever_beta(loss: Loss) -> None:
    margins = [
        margin(loss, r[:1], r[1:], beta)
        for beta in (0.1, 3.0)
        for r in [response_reward(loss, POLICY, REFERENCE, TOKENS, beta)]
    ]
    assert margins[0] == pytest.approx(margins[1])
    assert margin(loss, np.array([1.0]), np.array([2.0]), 0.5) < 0


@pytest.mark.parametrize("loss", ["slic", "simpo"])
def test_losses_without_a_reference_do_not_read_it(loss: Loss) -> None:
    nothing = np.full(2, np.nan)
    assert np.isfinite(response_reward(loss, POLICY, nothing, TOKENS, 0.2)).all()


def test_per_token_rewards_carry_no_length_cue() -> None:
    """Twice the same text: summed rewards double, per-token rewards stay."""
    once, twice = (POLICY, REFERENCE, TOKENS), (2 * POLICY, 2 * REFERENCE, 2 * TOKENS)
    for loss in ("ipo", "simpo"):
        assert response_reward(loss, *once, 0.1) == pytest.approx(
            response_reward(loss, *twice, 0.1)
        )
    assert 2 * response_reward("sigmoid", *once, 0.1) == pytest.approx(
        response_reward("sigmoid", *twice, 0.1)
    )
    assert per_token(POLICY, TOKENS) == pytest.approx([-3.0, -2.25])


def test_losses_of_a_margin() -> None:
    m = torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64)
    expected = -torch.log(torch.sigmoid(m))
    torch.testing.assert_close(pair_loss("sigmoid", m, 0.1), expected)
    torch.testing.assert_close(pair_loss("robust", m, 0.1), expected)
    torch.testing.assert_close(
        pair_loss("robust", m, 0.1, label_smoothing=0.2),
        (0.8 * expected + 0.2 * torch.log(torch.sigmoid(-m))) / 0.6,
    )
    assert pair_loss("hinge", m, 0.1).tolist() == [1.0, 0.0, 2.0]
    assert pair_loss("slic", m, 0.1, target=1.5).tolist() == [1.5, 0.0, 2.5]
    torch.testing.assert_close(
        pair_loss("simpo", m, 2.0, target=0.5), -torch.log(torch.sigmoid(m - 0.5))
    )


def test_robust_is_unbiased_under_flips() -> None:
    """Its expectation over labels flipped with rate e is the clean loss: what makes it robust."""
    m, e = torch.tensor([0.7], dtype=torch.float64), 0.3
    mean = (1 - e) * pair_loss("robust", m, 0.1, e) + e * pair_loss("robust", -m, 0.1, e)
    torch.testing.assert_close(mean, pair_loss("sigmoid", m, 0.1))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_beta_is_refused(loss: Loss, beta: float) -> None:
    with pytest.raises(ValueError, match=f"beta of loss {loss} must be above 0"):
        response_reward(loss, POLICY, REFERENCE, TOKENS, beta)


def test_bad_input_is_named() -> None:
    unknown = typing.cast(Loss, "orpo")
    with pytest.raises(ValueError, match=r"'orpo'; there are sigmoid, .* simpo"):
        response_reward(unknown, POLICY, REFERENCE, TOKENS, 0.1)
    with pytest.raises(ValueError, match=r"policy's log-probability of response 1 is -inf"):
        response_reward("sigmoid", np.array([-1, -np.inf]), REFERENCE, TOKENS, 0.1)
    with pytest.raises(ValueError, match=r"policy has shape \(2,\), reference \(1,\)"):
        response_reward("sigmoid", POLICY, REFERENCE[:1], TOKENS, 0.1)
    with pytest.raises(ValueError, match="response 0 has 0 tokens"):
        response_reward("ipo", POLICY, REFERENCE, np.array([0, 4]), 0.1)
    with pytest.raises(ValueError, match="reward of rejected of response 0 is nan"):
        margin("sigmoid", np.zeros(1), np.full(1, np.nan), 0.1)
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 0.5\)"):
        pair_loss("robust", torch.zeros(1), 0.1, label_smoothing=0.5)
    with pytest.raises(ValueError, match="target margin of slic must be above 0"):
        pair_loss("slic", torch.zeros(1), 0.1)


def test_the_effect_of_length_is_taken_off() -> None:
    lengths = np.array([[10, 5], [4, 8], [7, 7], [12, 2]])
    quality = np.array([1.0, 1.0, -1.0, 0.5])
    quality -= np.polyval(np.polyfit([5, -4, 0, 10], quality, 1), [5, -4, 0, 10])
    found = without_length(3.0 * np.array([5, -4, 0, 10]) + quality, lengths)
    assert found == pytest.approx(quality)
    equal = np.full((4, 2), 6)
    assert without_length(quality, equal) == pytest.approx(quality)
    assert without_length(np.zeros(0), np.zeros((0, 2))).shape == (0,)
    with pytest.raises(ValueError, match="need lengths of both sides"):
        without_length(quality, lengths[:3])


def test_flips_are_found_behind_a_cue_of_length() -> None:
    """Chosen sides are longer, flipped or not, and the margin has learnt length above all."""
    generator = np.random.default_rng(0)
    flipped = generator.random(20_000) < 0.2
    gap = generator.normal(8, 10, len(flipped)).round()
    m = np.where(flipped, -1.0, 1.0) + generator.normal(0, 1, len(flipped)) + 0.5 * gap
    lengths = np.stack([np.full(len(gap), 50.0) + gap, np.full(len(gap), 50.0)], axis=1)
    aucs = [area_under_curve(-values, flipped) for values in (m, without_length(m, lengths))]
    assert aucs[0] < 0.65
    assert aucs[1] == pytest.approx(0.9214, abs=0.01)  # as without any cue


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "slic", "simpo"])
def test_smoothing_of_a_pairs_own(loss: Loss) -> None:
    """At 0 the loss, at 1 that of the pair turned round, between them a straight line."""
    m = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0])
    plain = pair_loss(loss, m, 0.1, target=1.0)
    turned = pair_loss(loss, -m, 0.1, target=1.0)
    for r, wanted in ((0.0, plain), (1.0, turned), (0.25, 0.75 * plain + 0.25 * turned)):
        found = smoothed_loss(loss, m, torch.full_like(m, r), 0.1, target=1.0)
        torch.testing.assert_close(found, wanted)


def test_smoothed_dpo_is_least_where_the_belief_says() -> None:
    """The optimum has sigma(M) = 1 - r: at r = 0.2, M = logit 0.8 = 1.3863."""
    m = torch.tensor([1.3863], requires_grad=True)
    smoothed_loss("sigmoid", m, torch.tensor([0.2]), 0.1).backward()
    assert m.grad is not None and abs(float(m.grad)) < 1e-4
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        smoothed_loss("sigmoid", m, torch.tensor([1.2]), 0.1)


def test_the_robust_loss_at_another_smoothing_is_the_smoothed_one() -> None:
    m = torch.linspace(-4, 4, 9)
    for r in (0.0, 0.1, 0.49, 0.5, 0.51, 0.9, 1.0):
        e = robust_smoothing(torch.full_like(m, r))
        robust = (-(1 - e) * logsigmoid(m) + e * logsigmoid(-m)) / (1 - 2 * e)
        wanted = smoothed_loss("sigmoid", m, torch.full_like(m, r), 0.1)
        torch.testing.assert_close(robust, wanted, atol=1e-3, rtol=1e-3)
    assert torch.equal(robust_smoothing(torch.zeros(3)), torch.zeros(3))
