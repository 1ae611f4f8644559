"""Settings of `rayforge irl adapt` (kept apart from it: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rayforge.settings import (
    FILE,
    MAY_CHANGE,
    NOT_LEARNT,
    RESOURCE,
    SHARE,
    AtLeast,
    Within,
    check_limits,
)


@dataclass(frozen=True)
class AdaptConfig:
    """How an agent makes its own training data in new buildings, and how it learns from it."""

    walks: Literal["policy", "random", "none"] = "policy"
    """"policy": paths of the goal-agnostic policy that are like those people describe. Controls:
    "random", random walks of like lengths; "none", no walks and no new pairs, the same further
    training from the original demonstrations alone."""
    pairs: Annotated[str, FILE] = ""
    """An R2R-format file of instructions and paths in the new buildings, which takes the place of
    walks: `rayforge feedback mine` writes one of what people said and corrected."""
    paths: Annotated[int, AtLeast(1)] = 500
    """Paths a building that are described; those whose instructions are rejected are left out."""
    candidates: Annotated[int, AtLeast(1)] = 4
    """Instructions written for a path, of which the best is taken."""
    agreement: Annotated[float, SHARE] = 0.4
    """Least probability an action that the agent gives a path under its instruction; 0 rejects
    none."""
    agnostic_updates: Annotated[int, AtLeast(1)] = 600
    """Updates of cloning without text that make the goal-agnostic policy."""
    clone_updates: Annotated[int, AtLeast(0)] = 800
    """Updates of cloning from old and new demonstrations together."""
    updates: Annotated[int, AtLeast(0)] = 100
    """Adversarial updates after that."""
    rate: Annotated[float, Within(0, 1, "(]")] = 1.0
    """Share of the run's step sizes that these take. Chosen on buildings for tuning: fewer and
    shorter steps (200 paths, 400 updates, 0.5) gained less than a third as much."""
    instructions: Annotated[str, FILE] = ""
    """A file in R2R's format of what people said in the new buildings: starts and instructions, of
    paths nothing but their first viewpoint is read. The run's planner plans for them, and plans
    that it is sure of are further demonstrations."""
    margin: Annotated[float, SHARE] = 0.7
    """Least probability of success that the planner gives to such a plan."""
    runners: Annotated[int, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0)] = 0
    """Buildings at a time, each in a Ray actor, and roll-out actors of the training after that; 0
    is this process, and on a cluster (RAY_ADDRESS) as many as have a place there."""
    seed: Annotated[int, NOT_LEARNT, AtLeast(0)] = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.clone_updates + self.updates:
            raise ValueError("clone_updates and updates are both 0: there is nothing to learn by")
        if self.instructions and (self.pairs or self.walks == "none"):
            raise ValueError("instructions are for an adaptation with walks: drop pairs or walks")
