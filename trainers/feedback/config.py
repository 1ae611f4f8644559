"""Settings of `rayforge feedback loop` (kept apart from it: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from envs.sessions.people import PeopleConfig
from rayforge.feedback.rewriting_config import LearningConfig
from rayforge.settings import (
    FOLDER,
    MAY_CHANGE,
    MAY_GROW,
    NOT_LEARNT,
    RESOURCE,
    SHARE,
    AtLeast,
    check_limits,
)

Arm = Literal["nothing", "table", "global", "personal", "teaching"]
ARMS: tuple[Arm, ...] = ("nothing", "table", "global", "personal", "teaching")
"""What the assistant has, each beside all that stand before it."""


@dataclass(frozen=True)
class TableConfig:
    """What a rewrite of the chain's table needs."""

    ratio: Annotated[float, AtLeast(1)] = 1.5
    """How many times likelier the rewrite ends well than the request itself."""
    support: Annotated[int, AtLeast(1)] = 2
    """The lesser of how often the request was given and how often the rewrite ended well."""
    score: Annotated[float, SHARE] = 0.2
    """Least probability that a session ends well with the rewrite."""
    losing: Annotated[float, SHARE] = 0.2
    """A rewrite is retired whose probability of being better than the request falls below this."""
    explore: Annotated[float, SHARE] = 0.05
    """Share of requests with a rewrite that are followed as they are, so that both can be
    compared."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class FeedbackConfig:
    """The loop: simulated users talk to a trained agent, whose service learns from the log."""

    assistant: Annotated[str, FOLDER] = "runs/follower"
    """The run of the agent that follows requests."""
    planner: Literal["none", "map"] = "none"
    """"none": its policy, at first sight; "map": it plans on the building's map, after `rayforge
    irl plan`."""
    data: Annotated[str, FOLDER] = ""
    """Data folder whose routes people want; empty: the run's own."""
    split: str = "held_out"
    """The split whose buildings are the homes and whose instructions are what people say."""
    buildings: tuple[str, ...] = ()
    """The only homes; empty: all of the split."""
    days: Annotated[int, MAY_GROW, AtLeast(1)] = 20
    """Days of use."""
    arms: tuple[Arm, ...] = ARMS
    """Assistants that meet the same people, each with all of the parts up to its name."""
    people: PeopleConfig = field(default_factory=PeopleConfig)
    """Who talks, and how well."""
    table: TableConfig = field(default_factory=TableConfig)
    """Rewriting by chains."""
    online: LearningConfig = field(default_factory=LearningConfig)
    """Rewriting online: learnt from all homes, with an index for each."""
    online_turns: Annotated[int, AtLeast(1)] = 2000
    """The last turns, at most, that it learns from; its indexes hold everything."""
    refresh: Annotated[int, AtLeast(1)] = 10
    """Days between two trainings of the online rewriter; tables are made anew every night."""
    ask_after: Annotated[int, AtLeast(1)] = 2
    """Bad ends of a goal after which the user is asked to teach."""
    workers: Annotated[int, MAY_CHANGE, NOT_LEARNT, RESOURCE, AtLeast(0)] = 0
    """Ray tasks that count transitions; 0 counts in this process."""
    seed: Annotated[int, NOT_LEARNT, AtLeast(0)] = 0
    """Seed of people, their wishes and their noise."""

    def __post_init__(self) -> None:
        check_limits(self)
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms must be different ones of {', '.join(ARMS)}, got {self.arms}")
