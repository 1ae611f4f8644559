"""Implicit rewards of the run's own checkpoints, from cached scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rayforge.alignment.ensemble import ensemble, general_ensemble
from rayforge.alignment.margin import response_reward
from trainers.alignment.config import AlignConfig
from trainers.alignment.models import Checkpoint
from trainers.alignment.records import Progress
from trainers.alignment.scoring import Scores
from trainers.alignment.tokens import Completion, TokenPairs
from trainers.runs.pool import Pool


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

    def of(self, number: int, completions: Sequence[Completion]) -> np.ndarray:
        """The reward that the loss of round `number` gave its model, float64 [n].

        Under reference "previous" it is taken against that round's own reference.
        """
        policy = self.log_probabilities(number, completions, self.checkpoint(number))
        reference = np.zeros_like(policy)
        if self.config.uses_reference:
            reference = self.log_probabilities(number, completions, self.reference(max(number, 1)))
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
