"""Settings of `rayforge irl plan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PlanConfig:
    """The reward that plans, its training and how its weight is found."""

    reward: Literal["maxent", "classifier", "own", "kept", "none"] = "maxent"
    """"maxent": maximum entropy over the paths from a start. "classifier": the expert's path
    against the planner's own choices and against other paths' instructions. "own": the reward that
    the run's method taught (AIRL's f of "langgoal"; the classifier of "gail" and "completion"), as
    it is. "kept": the one that the run's planner has already. "none": no reward; policy and goal
    generator are weighed alone. Weights are fitted anew for each."""
    updates: int = 800
    """Updates of the reward."""
    batch: int = 24
    """Instructions an update, each with every path from its start."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; falls to a tenth along a cosine."""
    dropout: float = 0.2
    """Share of the reward's activations dropped while training."""
    feature_dropout: float = 0.4
    """Share of what is seen that is hidden while training, the same features in all paths."""
    label_smoothing: float = 0.05
    """How far the classifier's labels stand from 0 and 1."""
    generated: int = 0
    """Pairs that the goal generator makes before training: paths in training buildings that nobody
    described, with an instruction it writes freely (relabelling)."""
    generated_share: float = 0.25
    """Share of a batch that comes from those, where there are any."""
    checks: int = 6
    """How often the reward is measured on the held-back instructions; the best one is kept."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        for name in ("batch", "checks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("updates", "generated", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in ("dropout", "feature_dropout", "generated_share"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0.0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
