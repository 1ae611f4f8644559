"""Settings of `rayforge irl adapt` (kept apart from it: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AdaptConfig:
    """How an agent makes its own training data in new buildings, and how it learns from it."""

    walks: Literal["policy", "random", "none"] = "policy"
    """"policy": paths of the goal-agnostic policy that are like those people describe. Controls:
    "random", random walks of like lengths; "none", no walks and no new pairs, the same further
    training from the original demonstrations alone."""
    paths: int = 500
    """Paths a building that are described; those whose sentences are rejected are left out."""
    candidates: int = 4
    """Sentences written for a path, of which the best is taken."""
    agreement: float = 0.4
    """Least probability an action that the agent gives a path under its sentence; 0 rejects
    none."""
    agnostic_updates: int = 600
    """Updates of cloning without text that make the goal-agnostic policy."""
    clone_updates: int = 800
    """Updates of cloning from old and new demonstrations together."""
    updates: int = 100
    """Adversarial updates after that."""
    rate: float = 1.0
    """Share of the run's step sizes that these take. Chosen on buildings for tuning: fewer and
    shorter steps (200 paths, 400 updates, 0.5) gained less than a third as much."""
    runners: int = 0
    """Buildings at a time as Ray tasks, and roll-out actors of the training after that; 0 is this
    process. On a cluster (RAY_ADDRESS) every building is a task of its own anyway."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        for name in ("paths", "candidates", "agnostic_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("clone_updates", "updates", "runners", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.agreement <= 1.0:
            raise ValueError(f"agreement must be in [0, 1], got {self.agreement}")
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate must be above 0 and at most 1, got {self.rate}")
        if not self.clone_updates + self.updates:
            raise ValueError("clone_updates and updates are both 0: there is nothing to learn by")
