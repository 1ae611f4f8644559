"""The settings of an agent and a language model that share a budget."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trainers.alignment.config import AlignConfig
from trainers.irl.config import IRLConfig


@dataclass(frozen=True)
class BothConfig:
    """An agent and a language model trained in one trial, in turns, out of one budget."""

    irl: IRLConfig = field(default_factory=IRLConfig)
    """The agent's settings."""
    align: AlignConfig = field(default_factory=AlignConfig)
    """The language model's."""
    budget: int = 0
    """Updates of a trial: the agent's adversarial ones and the language model's optimiser steps
    together; 0 leaves both as their own settings have them."""
    agent_share: float = 0.5
    """The agent's share of the budget."""

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"budget must not be negative, got {self.budget}")
        if not 0.0 < self.agent_share < 1.0:
            raise ValueError(f"agent_share must be in (0, 1), got {self.agent_share}")
        least = self.align.rounds + 1
        if 0 < self.budget < least:
            raise ValueError(
                f"budget {self.budget} is less than an update for the agent and a step for each of "
                f"{self.align.rounds} rounds: give at least {least}"
            )

    def parts(self) -> tuple[IRLConfig, AlignConfig]:
        """Both configurations with their shares of the budget.

        A round takes whole steps, so the agent's share is what the rounds leave.
        """
        if not self.budget:
            return self.irl, self.align
        rounds = self.align.rounds
        wanted = round(self.budget * (1 - self.agent_share) / rounds)
        steps = min(max(1, wanted), (self.budget - 1) // rounds)
        return (
            replace(self.irl, updates=self.budget - steps * rounds),
            replace(self.align, steps=steps),
        )
