"""Method "acting": what a score from outside says of given labels and of own responses.

In every round two witnesses say of each given pair whether its label is flipped: the outside score
of both sides, and the policy's own log-probabilities. A mixture of both gives the probability. The
same score, calibrated on the given pairs, tells which own responses are good; own pairs are made
only where a good and a bad one are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rayforge.alignment.calibration import Calibration, calibrate, told_apart
from rayforge.alignment.cue import FEATURES, SURE, by_lot, differences, measured
from rayforge.alignment.flips import FlipMixture, fit_flips, flip_posterior
from rayforge.alignment.margin import per_token
from rayforge.alignment.pairs import BuiltPairs, build_pairs
from rayforge.alignment.schedule import generated_count, generated_share
from rayforge.alignment.selection import select
from rayforge.errors import ConfigurationError
from rayforge.evaluation.win_rate import area_under_curve
from trainers.alignment.config import AlignConfig
from trainers.alignment.judging import ScoringJudge
from trainers.alignment.models import Tokeniser
from trainers.alignment.review import texts_of
from trainers.alignment.rewards import Folds, Rewards, lengths
from trainers.alignment.selecting import (
    Chosen,
    accuracy_figures,
    generated_figures,
    given_figures,
    pairs_of,
    sample_responses,
    seed_of,
    warn_without_pairs,
)
from trainers.alignment.task import Task
from trainers.alignment.tokens import TokenPairs


@dataclass(frozen=True)
class Reviewed:
    """What is thought of the given pairs."""

    verdict: np.ndarray
    """Outside score of chosen minus rejected, float64 [n]."""
    own: np.ndarray
    """The policy's log-probability per token of chosen minus rejected, float64 [n]."""
    mixture: FlipMixture
    flipped: np.ndarray
    """P(flipped), float64 [n]."""
    calibration: Calibration
    """P(good | outside score)."""


def review_given(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, folds: Folds | None
) -> Reviewed:
    """Both kinds of evidence of every given pair, the mixture fitted to it, and the calibration.
    With `folds` the policy's evidence is that of models that were not trained on the pair."""
    prompts = [said.prompt for said in task.said]
    sides = [said.chosen for said in task.said] + [said.rejected for said in task.said]
    scores = outside_scores(config, task, rewards, number, prompts * 2, sides)
    n = len(task.said)
    completions = task.pairs.completions()
    if folds is None:
        policy = rewards.log_probabilities(number, completions, rewards.checkpoint(number - 1))
    else:
        policy = rewards.cross_fitted(number, completions, folds)
    own = per_token(policy, lengths(completions))
    evidence = np.stack([scores[:n] - scores[n:], own[:n] - own[n:]], 1)
    mixture = fit_flips(evidence)
    labels = np.arange(2 * n) < n
    calibration = calibrate(scores, labels, min(mixture.rate, 0.49))
    return Reviewed(
        evidence[:, 0], evidence[:, 1], mixture, flip_posterior(evidence, mixture), calibration
    )


def outside_scores(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, prompts: list[object],
    texts: list[str],
) -> np.ndarray:  # fmt: skip
    """The outside score of answers to prompts, or the true judge's where that is asked for."""
    if config.score != "judge":
        assert task.outside is not None
        return rewards.outside(number, task.outside, prompts, texts)
    if not isinstance(task.judge, ScoringJudge):
        raise ConfigurationError(
            "score is judge, but there is no judge that scores single responses: the data routes "
            "have one, or name a reward model's folder as judge"
        )
    return task.judge.score(prompts, texts)


def choose_given(
    config: AlignConfig, task: Task, rewards: Rewards, number: int, reviewed: Reviewed | None
) -> Chosen:
    """The given pairs of a round: turned, dropped or with a smoothing each, and balanced."""
    pairs, n = task.pairs, len(task.pairs)
    said = np.array([(s.chosen, s.rejected) for s in task.said], object).reshape(-1, 2)
    doubt = np.zeros(n) if reviewed is None else reviewed.flipped
    kept = np.arange(n, dtype=np.int64)
    if config.labels == "turn":
        turned = doubt > 0.5
        pairs = _turned(pairs, turned)
        said[turned] = said[turned, ::-1]
    elif config.labels == "drop":
        kept = np.flatnonzero(doubt <= 0.5)
    elif config.labels == "oracle":
        if task.flipped is None:
            raise ConfigurationError("labels is oracle, but the data do not say what is flipped")
        kept = np.flatnonzero(~task.flipped)
    figures: dict[str, float] = {}
    for name in FEATURES:
        cue = measured(differences(name, said[:, 0].tolist(), said[:, 1].tolist()))
        figures[f"cue/{name}"], figures[f"cue/{name}_p"] = cue
    if config.balance != "none":
        # Where a label is thought to be flipped, the other side is what is learnt.
        sign = np.where((doubt > 0.5) & (config.labels == "smooth"), -1, 1)
        difference = differences(config.balance, said[:, 0].tolist(), said[:, 1].tolist()) * sign
        if measured(difference[kept]).p_value < SURE:
            kept = kept[by_lot(difference[kept], seed_of(config, number, 5))]
    figures |= given_figures(task, pairs, kept)
    margins = np.zeros(n)
    if reviewed is not None:
        turned = (config.labels == "turn") & (doubt > 0.5)
        margins = np.where(turned, -1, 1) * reviewed.verdict
        figures |= review_figures(task, reviewed)
    return Chosen(pairs, margins, kept, figures, doubt if config.smooths else None)


def _turned(pairs: TokenPairs, turned: np.ndarray) -> TokenPairs:
    first = pairs.chosen, pairs.rejected
    chosen, rejected = (
        [b if turn else a for a, b, turn in zip(side, other, turned, strict=True)]
        for side, other in (first, first[::-1])
    )
    return TokenPairs(pairs.prompt, chosen, rejected, pairs.generated)


def review_figures(task: Task, reviewed: Reviewed) -> dict[str, float]:
    """What the mixture found, and how well each kind of evidence tells flips, where they are
    known."""
    figures = {
        "select/flip_rate": reviewed.mixture.rate,
        "select/doubted": float((reviewed.flipped > 0.5).mean()),
        "select/evidence_verdict": float(reviewed.mixture.mean[0]),
        "select/evidence_own": float(reviewed.mixture.mean[1]),
    }
    if task.flipped is not None and task.flipped.any() and not task.flipped.all():
        figures |= {
            "select/flip_auc": area_under_curve(reviewed.flipped, task.flipped),
            "select/flip_auc_verdict": area_under_curve(-reviewed.verdict, task.flipped),
            "select/flip_auc_own": area_under_curve(-reviewed.own, task.flipped),
        }
        doubted = reviewed.flipped > 0.5
        if doubted.any():
            figures["select/doubted_flipped"] = float(task.flipped[doubted].mean())
    return figures


def choose_generated(
    config: AlignConfig, task: Task, rewards: Rewards, tokeniser: Tokeniser, number: int,
    folder: Path, given: Chosen, reviewed: Reviewed | None,
) -> Chosen | None:  # fmt: skip
    """The round's own pairs: of each prompt the best responses against the worst, where the
    calibrated score tells them apart; winners are as often longer as shorter."""
    share = generated_share(number, config.shares)
    if not share or reviewed is None:
        return None
    rows, responses = sample_responses(config, task, rewards, number, folder)
    prompt = np.repeat(rows, config.samples)
    asked = [task.prompts.asked[row] for row in prompt]
    texts = [text.strip() for text in texts_of(tokeniser, responses)]
    scores = outside_scores(config, task, rewards, number, asked, texts)
    built = decided_pairs(
        prompt, texts, scores, reviewed.calibration, config.decided, ~responses.finished,
        seed_of(config, number, 2),
    )  # fmt: skip
    figures = generated_figures(built, len(rows)) | accuracy_figures(task, asked, texts, built)
    if not len(built):
        warn_without_pairs(number, len(rows), built)
    wanted = generated_count(len(given.kept), share, len(built))
    kept = np.zeros(0, np.int64)
    if wanted:
        seed = seed_of(config, number, 3)
        if config.balance == "none":
            kept = select("random", built.margin, 0.0, wanted / len(built), seed)
        else:
            sides = [[texts[row] for row in side] for side in (built.chosen, built.rejected)]
            kept = by_lot(differences(config.balance, *sides), seed, wanted)
    pairs = pairs_of(responses, built)
    size = pairs.lengths()[kept]
    figures["select/generated"] = float(len(kept))
    figures["generate/length_gap"] = float((size[:, 0] - size[:, 1]).mean()) if len(kept) else 0.0
    none = np.zeros(len(pairs)) if config.smooths else None
    return Chosen(pairs, built.margin, kept, figures, none)


def decided_pairs(
    prompt: np.ndarray, texts: list[str], scores: np.ndarray, calibration: Calibration,
    level: float, truncated: np.ndarray, seed: int,
) -> BuiltPairs:  # fmt: skip
    """A prompt's best response against its worst, the second best against the second worst and so
    on, as long as the calibrated score tells the two apart with probability `level`.

    Arguments as in `build_pairs`. Left-out prompts are counted as of the first pair, with those
    that it does not tell apart as "undecided".
    """
    empty = np.array([not text for text in texts], bool)
    good, used = calibration(scores), np.zeros(len(texts), bool)
    found: list[BuiltPairs] = []
    while True:
        built = build_pairs(prompt, texts, scores, truncated | used, empty, seed)
        apart = told_apart(good[built.chosen], good[built.rejected]) >= level
        if found and not apart.any():
            break
        lost = {**built.dropped_prompts, "undecided": int((~apart).sum())}
        found.append(
            BuiltPairs(
                built.chosen[apart], built.rejected[apart], built.margin[apart],
                built.dropped_responses, lost,
            )
        )  # fmt: skip
        used[found[-1].chosen] = used[found[-1].rejected] = True
        if not apart.any():
            break
    first = found[0]
    return BuiltPairs(
        np.concatenate([part.chosen for part in found]),
        np.concatenate([part.rejected for part in found]),
        np.concatenate([part.margin for part in found]),
        first.dropped_responses, first.dropped_prompts,
    )  # fmt: skip
