"""Figures of a round, and alarms that its training data no longer mean what they should.

The article warns that a large contrast need not be the intended one; which figures to watch and
when to raise an alarm is designed here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rayforge.evaluation.intervals import Interval, seed_interval

QUANTILES = (0.1, 0.5, 0.9)


def pair_accuracy(margins: np.ndarray) -> float:
    """Share of pairs [n] with a margin above 0, a tie counted as half right; NaN without pairs."""
    values = np.asarray(margins, np.float64)
    if not values.size:
        return float("nan")
    return float(np.where(values == 0, 0.5, values > 0).mean())


def margin_figures(margins: np.ndarray) -> dict[str, float]:
    """Mean and the 10 %, 50 % and 90 % quantiles of margins [n]: "margin", "margin_q10", ..."""
    values = np.asarray(margins, np.float64)
    figures = {"margin": float(values.mean()) if values.size else float("nan")}
    for share in QUANTILES:
        found = float(np.quantile(values, share)) if values.size else float("nan")
        figures[f"margin_q{round(100 * share)}"] = found
    return figures


def overlap(kept: np.ndarray, kept_before: np.ndarray) -> float:
    """Jaccard index of two sets of rows: |A ∩ B| / |A ∪ B|; 1 for two empty sets."""
    a, b = set(np.asarray(kept).tolist()), set(np.asarray(kept_before).tolist())
    return len(a & b) / len(a | b) if a | b else 1.0


def length_gap(chosen: np.ndarray, rejected: np.ndarray) -> float:
    """Mean tokens of y_w minus y_l, from token counts [n] each; NaN without pairs."""
    difference = np.asarray(chosen, np.float64) - np.asarray(rejected, np.float64)
    return float(difference.mean()) if difference.size else float("nan")


def divergence_per_token(policy: np.ndarray, reference: np.ndarray, tokens: np.ndarray) -> float:
    """KL(pi || pi_ref) a token, in nats, from responses sampled from pi at temperature 1.

    sum_i (log pi(y_i) - log pi_ref(y_i)) / sum_i |y_i| over log-probabilities [n] summed over
    responses. Unbiased for the summed divergence; a small sample may give a value below 0. NaN
    without tokens.
    """
    total = float(np.asarray(tokens, np.float64).sum())
    difference = np.asarray(policy, np.float64) - np.asarray(reference, np.float64)
    return float(difference.sum()) / total if total else float("nan")


def distinct_bigrams(responses: Sequence[Sequence[Hashable]]) -> float:
    """distinct-2: different pairs of neighbouring tokens over all such pairs; NaN without any.

    Falls as answers grow alike; depends on how many responses there are, so compare equal numbers.
    """
    seen: set[tuple[Hashable, Hashable]] = set()
    total = 0
    for response in responses:
        found = list(pairwise(response))
        total += len(found)
        seen.update(found)
    return len(seen) / total if total else float("nan")


def unmoved(losses: Sequence[float], start: float) -> Interval | None:
    """The mean loss of a round's later half with its 95 % interval over steps, where `start`, the
    loss of a policy that is its reference, lies within it and the mean is no more than 1 % from it,
    or where the mean is 0.2 % from it. None where the loss has moved, or there are too few steps
    to say. Source: designed here.
    """
    later = np.asarray(losses[len(losses) // 2 :], np.float64)
    if len(later) < 2:
        return None
    found = seed_interval(later)
    same = found.low <= start <= found.high or abs(found.mean - start) <= 0.002 * abs(start)
    return found if same and abs(found.mean - start) <= 0.01 * abs(start) else None


@dataclass(frozen=True)
class RoundFigures:
    """What the alarms read of one round."""

    margin: float
    """Mean margin on the held-out pairs."""
    accuracy: float
    """Accuracy on the held-out pairs."""
    length_gap: float
    """Mean tokens of chosen minus rejected in the pairs that were kept."""


def alarms(rounds: Sequence[RoundFigures]) -> list[str]:
    """What the last of these rounds gives cause to say, in sentences; nothing is the good case.

    (a) The held-out margin rises while the held-out accuracy falls: the model grows surer of what
    is wrong. (b) The length gap of the kept pairs rises for two rounds: length is being learnt.
    """
    found = []
    if len(rounds) >= 2:
        before, now = rounds[-2:]
        if now.margin > before.margin and now.accuracy < before.accuracy:
            found.append(
                f"the held-out margin rose from {before.margin:.3g} to {now.margin:.3g} while the "
                f"accuracy fell from {before.accuracy:.3f} to {now.accuracy:.3f}: the large "
                "margins may not be the intended contrast"
            )
    if len(rounds) >= 3:
        gaps = [figures.length_gap for figures in rounds[-3:]]
        if gaps[0] < gaps[1] < gaps[2]:
            found.append(
                f"the kept pairs' chosen side grew longer for two rounds ({gaps[0]:.3g}, "
                f"{gaps[1]:.3g}, {gaps[2]:.3g} tokens more than the rejected one): look at the "
                "length-controlled win rate"
            )
    return found
