"""The implicit reward of a response under each alignment loss, and the margin of a pair.

The rule (recalled, mid; the table is the project's own): the margin of a loss is made of the reward
that this very loss optimises. A margin summed over tokens beside a loss that averages them brings
the length cue back.

d = log pi(y|x) - log pi_ref(y|x), both summed over the response's tokens; |y| is their number.

| loss | reward of a response | loss of a pair with reward margin M = r(y_w) - r(y_l) |
|---|---|---|
| sigmoid (DPO) | beta d | -log sigma(M) |
| robust | beta d | -((1 - e) log sigma(M) - e log sigma(-M)) / (1 - 2 e) |
| hinge (TRL's) | beta d | max(0, 1 - M) |
| ipo, beta is tau | d / abs(y) | (M - 1 / (2 tau))^2 |
| slic (SLiC-HF) | log pi(y|x) | max(0, delta - M) |
| simpo | beta log pi(y|x) / abs(y) | -log sigma(M - target) |
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["sigmoid", "robust", "hinge", "ipo", "slic", "simpo"]
_SCALED = ("sigmoid", "robust", "hinge", "simpo")
_PER_TOKEN = ("ipo", "simpo")
_WITHOUT_REFERENCE = ("slic", "simpo")


def response_reward(
    loss: Loss, policy: np.ndarray, reference: np.ndarray, tokens: np.ndarray, beta: float
) -> np.ndarray:
    """r(x, y) as the module's table says, up to a term in x alone, float64 [n].

    `policy`, `reference` [n]: log-probabilities summed over each response, in nats; "slic" and
    "simpo" do not read the reference. `tokens` [n]: tokens of each response, read by "ipo" and
    "simpo". Higher is better. `beta` scales the reward (tau of "ipo" only enters its loss; "slic"
    has none). Source: recalled, high, for DPO; recalled, mid, for the others.

    Raises ValueError for an unknown loss, beta not above 0, shapes that differ, a log-probability
    that is not finite, or a response without tokens; the message names the response.
    """
    _check_loss(loss, beta)
    log_pi = _finite("the policy's log-probability", policy)
    value = log_pi
    if loss not in _WITHOUT_REFERENCE:
        log_ref = _finite("the reference's log-probability", reference)
        _same_shape("policy", log_pi, "reference", log_ref)
        value = log_pi - log_ref
    if loss in _PER_TOKEN:
        value = per_token(value, tokens)
    return beta * value if loss in _SCALED else value.copy()


def per_token(values: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Sums over responses [n] divided by their tokens [n], float64 [n].

    Of summed log-probabilities: the policy's own log-probability of the response, per token, which
    is what the source article calls the model's probability of generating it.

    Raises ValueError for shapes that differ or a response without tokens.
    """
    values, count = np.asarray(values, np.float64), np.asarray(tokens, np.float64)
    _same_shape("log-probabilities", values, "token counts", count)
    wrong = np.flatnonzero(~(count >= 1))
    if wrong.size:
        raise ValueError(
            f"response {wrong[0]} has {count[wrong[0]]:g} tokens, but a mean over tokens needs "
            "one: drop empty responses first"
        )
    return values / count


def margin(loss: Loss, chosen: np.ndarray, rejected: np.ndarray, beta: float) -> np.ndarray:
    """m = (r(x, y_w) - r(x, y_l)) / beta of rewards [n], float64 [n], in nats (recalled, high).

    Positive: the model sides with the label. The division makes one threshold serve every beta and
    changes no order; rewards that carry no beta ("ipo", "slic") are only subtracted. "ipo" and
    "simpo" margins are nats a token. Swapping the sides negates m exactly.

    Raises ValueError for an unknown loss, beta not above 0, shapes that differ, or a reward that
    is not finite.
    """
    _check_loss(loss, beta)
    best, worst = _finite("reward of chosen", chosen), _finite("reward of rejected", rejected)
    _same_shape("chosen", best, "rejected", worst)
    found: np.ndarray = (best - worst) / beta if loss in _SCALED else best - worst
    return found


def without_length(margins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """m - b (|y_w| - |y_l|): the margins that sides of equal length would have, float64 [n].

    `margins` [n]; `lengths` [n, 2], tokens of chosen and rejected. b is the slope of the least
    squares line through margins over differences of length, so what is left does not correlate
    with them: where a cue of length was learnt, the margin ranks by it first. Source: designed
    here, after length-controlled win rates.

    Raises ValueError for shapes that differ.
    """
    values, tokens = np.asarray(margins, np.float64), np.asarray(lengths, np.float64)
    if tokens.shape != (*values.shape, 2):
        raise ValueError(f"{values.shape} margins need lengths of both sides, got {tokens.shape}")
    difference = tokens[:, 0] - tokens[:, 1]
    spread = difference - difference.mean() if len(difference) else difference
    power = float(spread @ spread)
    return values - difference * (float(spread @ values) / power) if power else values.copy()


def without_length_head(
    margins: np.ndarray, features: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """m + b g: margins corrected by an explicit second head g for the length, float64 [n].

    g = features w tells the difference in length from differences of the reward's own features
    [n, K] (log-probabilities of policy and reference), by least squares. b is such that what is
    left does not correlate with the difference in length. Where the features do not tell it at
    all, the margins stay as they are. A constant c would move no rank.

    `margins` [n]; `lengths` [n, 2], tokens of chosen and rejected. Source: the merged form of
    Lohaus et al. (NeurIPS 2022), for ranks; the choice of features is designed here.

    Raises ValueError for shapes that differ.
    """
    values, known = np.asarray(margins, np.float64), np.asarray(features, np.float64)
    tokens = np.asarray(lengths, np.float64)
    if tokens.shape != (*values.shape, 2) or known.ndim != 2 or len(known) != len(values):
        raise ValueError(
            f"{values.shape} margins need features and lengths of both sides, got {known.shape} "
            f"and {tokens.shape}"
        )
    if not len(values):
        return values.copy()
    difference = tokens[:, 0] - tokens[:, 1]
    spread = difference - difference.mean()
    centred = known - known.mean(0)
    g = centred @ np.linalg.lstsq(centred, spread, rcond=None)[0]
    power = float(g @ spread)  # that of g itself: least squares leaves a residual apart from it
    return values - g * (float(values @ spread) / power) if power > 1e-12 else values.copy()


def pair_loss(
    loss: Loss,
    reward_margin: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
    target: float = 0.0,
) -> Tensor:
    """The loss of each pair as a function of M = r(y_w) - r(y_l), same shape, differentiable.

    As in the module's table: `beta` is tau of "ipo" and otherwise already inside M;
    `label_smoothing` is e of "robust" (0: DPO); `target` is delta of "slic" (above 0 there) and the
    target margin of "simpo". What other terms a trainer adds (an NLL anchor, SLiC-HF's supervised
    term) is not in it. Source: code of a public trainer, for all but "slic" (recalled, high).

    Raises ValueError for an unknown loss or a number out of its range.
    """
    _check_loss(loss, beta)
    if loss == "ipo":
        return (reward_margin - 1 / (2 * beta)) ** 2
    if loss == "hinge":
        return torch.relu(1 - reward_margin)
    if loss == "slic":
        if not target > 0:
            raise ValueError(f"the target margin of slic must be above 0 nats, got {target}")
        return torch.relu(target - reward_margin)
    if loss == "robust":
        if not 0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {label_smoothing}")
        right, wrong = F.logsigmoid(reward_margin), F.logsigmoid(-reward_margin)
        smoothed = (1 - label_smoothing) * right - label_smoothing * wrong
        return -smoothed / (1 - 2 * label_smoothing)
    return -F.logsigmoid(reward_margin - (target if loss == "simpo" else 0.0))


def smoothed_loss(
    loss: Loss, reward_margin: Tensor, flipped: Tensor, beta: float, target: float = 0.0
) -> Tensor:
    """(1 - r) L(M) + r L(-M): the expected loss of pairs whose labels are flipped with
    probabilities r = `flipped`, in [0, 1], same shape as M.

    At r = 0 it is the loss, at r = 1 that of the pair turned round; the pair's own label smoothing
    (conservative DPO: Mitchell 2023, there one number for all). Arguments as in `pair_loss`.

    Raises ValueError also for a probability out of range.
    """
    if not bool(((flipped >= 0) & (flipped <= 1)).all()):
        raise ValueError("probabilities that labels are flipped must be in [0, 1]")
    right = pair_loss(loss, reward_margin, beta, target=target)
    return (1 - flipped) * right + flipped * pair_loss(loss, -reward_margin, beta, target=target)


def robust_smoothing(flipped: Tensor) -> Tensor:
    """The e for which the robust loss is DPO's with smoothing r = `flipped`, same shape.

    ((1 - e) l(M) - e l(-M)) / (1 - 2 e) = (1 - r) l(M) + r l(-M) at e = -r / (1 - 2 r). At a half
    that has no value; such r are moved by 1e-4.
    """
    r = torch.where((flipped - 0.5).abs() < 1e-4, 0.5 - 1e-4, flipped)
    return -r / (1 - 2 * r)


def _check_loss(loss: str, beta: float) -> None:
    if loss not in get_args(Loss):
        raise ValueError(f"unknown loss {loss!r}; there are {', '.join(get_args(Loss))}")
    if not (np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta of loss {loss} must be above 0, got {beta}")


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    found = np.asarray(values, np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        raise ValueError(
            f"{name} of response {wrong[0]} is {found.ravel()[wrong[0]]}: the model that scored it "
            "has diverged or the response cannot occur under it; lower the learning rate or drop it"
        )
    return found


def _same_shape(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{first} has shape {a.shape}, {second} {b.shape}: one value a response")
