"""Settings of `rayforge irl plan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rayforge.settings import Above, AtLeast, Within, check_limits


@dataclass(frozen=True)
class PlanConfig:
    """The reward that plans, its training and how its weight is found."""

    reward: Literal["maxent", "classifier", "own", "kept", "none"] = "maxent"
    """"maxent": maximum entropy over the paths from a start. "classifier": the expert's path
    against the planner's own choices and against other paths' instructions. "own": the reward that
    the run's method taught (AIRL's f of "langgoal"; the classifier of "gail" and "completion"), as
    it is. "kept": the one that the run's planner has already. "none": no reward; policy and goal
    generator are weighed alone. Weights are fitted anew for each."""
    updates: Annotated[int, AtLeast(0)] = 800
    """Updates of the reward."""
    batch: Annotated[int, AtLeast(1)] = 24
    """Instructions an update, each with every path from its start."""
    learning_rate: Annotated[float, Above(0)] = 1e-3
    """Adam's step size at the start; falls to a tenth along a cosine."""
    dropout: Annotated[float, Within(0, 1, "[)")] = 0.2
    """Share of the reward's activations dropped while training."""
    feature_dropout: Annotated[float, Within(0, 1, "[)")] = 0.4
    """Share of what is seen that is hidden while training, the same features in all paths."""
    label_smoothing: Annotated[float, Within(0, 0.5, "[)")] = 0.05
    """How far the classifier's labels stand from 0 and 1."""
    generated: Annotated[int, AtLeast(0)] = 0
    """Pairs that the goal generator makes before training: paths in training buildings that nobody
    described, with an instruction it writes freely (relabelling)."""
    generated_share: Annotated[float, Within(0, 1, "[)")] = 0.25
    """Share of a batch that comes from those, where there are any."""
    checks: Annotated[int, AtLeast(1)] = 6
    """How often the reward is measured on the held-back instructions; the best one is kept."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_limits(self)
