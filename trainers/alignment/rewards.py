"""Implicit rewards of the run's own checkpoints, from cached scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rayforge.alignment.ensemble import ensemble, general_ensemble
from rayforge.alignment.margin import response_reward
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import Checkpoint
from trainers.alignment.outside import Outside
from trainers.alignment.records import Progress
from trainers.alignment.scoring import Scores
from trainers.alignment.tokens import Completion, TokenPairs
from trainers.runs.pool import Pool


class Folds(NamedTuple):
    """Halves of the given pairs, and a model that was not trained on each."""

    of: np.ndarray
    """The half of each pair, 0 or 1, int64 [n]."""
    models: tuple[Checkpoint, Checkpoint]
    """Model k was trained on the other half than k."""


@dataclass(frozen=True)
class Rewards:
    """Scores and rewards of completions under the models of a run."""

    config: AlignConfig
    scores: Scores
    pool: Pool
    progress: Progress
    checkpoint: Callable[[int], Checkpoint]
    """The model after a round."""
    reference: Callable[[int], Checkpoint]
    """The reference model of a round."""

    def log_probabilities(
        self, number: int, completions: Sequence[Completion], under: Checkpoint
    ) -> np.ndarray:
        """Summed log-probabilities, float64 [n]; `number` is the round that asks."""
        return self.scores.of(under, completions, self.pool, self.progress.of(number, "score"))

    def outside(
        self, number: int, by: Outside, prompts: Sequence[Any], texts: Sequence[str]
    ) -> np.ndarray:
        """What an outside score gives for answers to prompts, float64 [n], cached as all scores
        are; of several followers the mean."""
        return by.of(self.scores, prompts, texts, self.pool, self.progress.of(number, "review"))

    def cross_fitted(
        self, number: int, completions: Sequence[Completion], folds: Folds
    ) -> np.ndarray:
        """Log-probability of each side of the given pairs under the model that was not trained on
        the pair, float64 [2 n]; `completions` are chosen sides, then rejected ones."""
        found, of = np.zeros(len(completions)), np.tile(folds.of, 2)
        for fold, model in enumerate(folds.models):
            rows = np.flatnonzero(of == fold)
            some = [completions[row] for row in rows.tolist()]
            found[rows] = self.log_probabilities(number, some, model)
        return found

    def cross_fitted_reward(
        self, number: int, completions: Sequence[Completion], folds: Folds
    ) -> np.ndarray:
        """The reward that the loss gave those models, float64 [2 n]."""
        policy = self.cross_fitted(number, completions, folds)
        return self._reward(number, completions, policy, 1)

    def of(self, number: int, completions: Sequence[Completion]) -> np.ndarray:
        """The reward that the loss of round `number` gave its model, float64 [n].

        Under reference "previous" it is taken against that round's own reference.
        """
        policy = self.log_probabilities(number, completions, self.checkpoint(number))
        return self._reward(number, completions, policy, max(number, 1))

    def _reward(
        self, number: int, completions: Sequence[Completion], policy: np.ndarray, trained: int
    ) -> np.ndarray:
        """Of log-probabilities `policy` [n] of a model trained in round `trained`."""
        reference = np.zeros_like(policy)
        if self.config.uses_reference:
            reference = self.log_probabilities(number, completions, self.reference(trained))
        return response_reward(
            self.config.loss, policy, reference, lengths(completions), self.config.beta
        )

    def ensembled(self, number: int, completions: Sequence[Completion]) -> np.ndarray:
        """Reward by which round `number` selects, float64 [n]: earlier checkpoints' mixed.

        The first selective round has only the one checkpoint that was trained.
        """
        gamma, two = self.config.ensemble, self.config.ensemble_rounds == "two"
        oldest = number - 1 if not gamma else max(1, number - 2) if two else 1
        rewards = [self.of(which, completions) for which in range(number - 1, oldest - 1, -1)]
        return ensemble(rewards, gamma) if two else general_ensemble(rewards, gamma)

    def reference_columns(self, number: int, pairs: TokenPairs) -> tuple[np.ndarray, np.ndarray]:
        """What the trainer reads as the reference's log-probabilities, float64 [n] each.

        SLiC-HF has no reference: zeros. SimPO neither; TRL's per-token sigmoid loss on
        lp_w / |w| - lp_l / |l| - (ref_w / |w| - ref_l / |l|) becomes SimPO's with ref_w =
        |w| gamma / beta and ref_l = 0, where gamma is the target margin.
        """
        if self.config.uses_reference:
            found = self.log_probabilities(number, pairs.completions(), self.reference(number))
            return found[: len(pairs)], found[len(pairs) :]
        zeros = np.zeros(len(pairs))
        if self.config.loss == "slic":
            return zeros, zeros
        tokens = pairs.lengths()[:, 0].astype(np.float64)
        return tokens * self.config.simpo_margin / self.config.beta, zeros


def lengths(completions: Sequence[Completion]) -> np.ndarray:
    """Tokens of each response, float64 [n]."""
    return np.array([len(completion.response) for completion in completions], np.float64)
