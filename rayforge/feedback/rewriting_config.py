"""Settings of rewriting online (kept apart from it: reading them needs no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from rayforge.feedback.index import IndexKind
from rayforge.feedback.text import SMALL
from rayforge.settings import SHARE, Above, AtLeast, check_limits


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder of requests and its training."""

    text: str = SMALL
    """Fixed vectors beside the learnt ones: small (none), wordllama, or a transformers folder."""
    width: Annotated[int, AtLeast(8)] = 128
    """Size of a vector."""
    temperature: Annotated[float, Above(0)] = 0.05
    """Temperature of the softmax over a batch's candidates."""
    epochs: Annotated[int, AtLeast(0)] = 12
    """Passes over the training pairs."""
    batch: Annotated[int, AtLeast(2)] = 128
    """Pairs of an update, each the other's negative."""
    learning_rate: Annotated[float, Above(0)] = 2e-3
    """Adam's step size."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class RankerConfig:
    """The ranker and its training."""

    hidden: Annotated[int, AtLeast(1)] = 24
    """Units of its one hidden layer."""
    epochs: Annotated[int, AtLeast(1)] = 60
    """Passes over the candidates that were retrieved."""
    learning_rate: Annotated[float, Above(0)] = 5e-3
    """Adam's step size."""
    decay: Annotated[float, AtLeast(0)] = 1e-3
    """Weight decay."""
    batch: Annotated[int, AtLeast(1)] = 512
    """Candidates of an update."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class RewritingConfig:
    """Retrieval, thresholds and the budget of a request."""

    personal_k: Annotated[int, AtLeast(0)] = 10
    """Candidates of the user's index that are ranked."""
    global_k: Annotated[int, AtLeast(0)] = 50
    """Candidates of everyone's index."""
    personal_threshold: Annotated[float, SHARE] = 0.5
    """Least score of a rewrite from the user's index; learning replaces it."""
    global_threshold: Annotated[float, SHARE] = 0.5
    """Least score of a rewrite from everyone's index; learning replaces it."""
    good_count: Annotated[int, AtLeast(1)] = 3
    """A request is left alone if the user, or everyone, said it at least so often, and it seldom
    failed (`good_rate`)."""
    good_rate: Annotated[float, SHARE] = 0.2
    """Greatest share of failures of a request that is left alone."""
    budget_ms: Annotated[float, Above(0)] = 50.0
    """Time of a request; when it is up, what was found until then is answered."""
    index: IndexKind = "flat"
    """Index of everyone's entries: flat (exact) or lists (faiss)."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class LearningConfig:
    """What a rewriter is learnt with."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)
    rewriting: RewritingConfig = field(default_factory=RewritingConfig)
    folds: Annotated[int, AtLeast(2)] = 3
    """Parts of the log; the ranker learns from each what was retrieved without it."""
    harm: Annotated[float, AtLeast(0)] = 2.0
    """A wrong rewrite costs this many times what a right one gains; it sets the thresholds."""
    false_alarms: Annotated[float, SHARE] = 0.02
    """Share of good requests that a layer may rewrite at most."""

    def __post_init__(self) -> None:
        check_limits(self)
