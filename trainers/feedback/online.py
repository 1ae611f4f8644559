"""Rewriting online in the loop: what is learnt from all homes, over an index for each.

A request means something in its building, so that each has an index of its own; what users say is
never taken from another user's entries (`rayforge.feedback.rewriting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from envs.sessions.log import Source, Turn, sessions_of
from envs.sessions.simulation import Asked
from rayforge.errors import DataError
from rayforge.feedback.encoder import Query
from rayforge.feedback.entries import gather
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import LearningConfig
from trainers.feedback.from_logs import outcomes_of
from trainers.feedback.rewrites import rewriter_from
from trainers.feedback.tables import requests_of

LEAST_USERS = 2
"""Users who must have said a request before it is offered to others."""


@dataclass(frozen=True)
class HomeRewriters:
    """A rewriter a building."""

    of: dict[str, Rewriter]

    def rewrite(self, asked: Asked) -> tuple[str, Source] | None:
        rewriter = self.of.get(asked.building)
        if rewriter is None:
            return None
        found = rewriter.answer(asked.user, Query(asked.heard), budget_ms=1e6)
        if found.rewrite is None or found.layer not in ("personal", "global"):
            return None
        return found.rewrite, "personal" if found.layer == "personal" else "global"


def learn_online(
    turns: Sequence[Turn], config: LearningConfig, personal: bool, seed: int
) -> Rewriter | None:
    """A rewriter from the logs of all homes together; None where they give nothing to learn from.

    Without `personal` nobody's own entries are looked at.
    """
    if not personal:
        config = replace(config, rewriting=replace(config.rewriting, personal_k=0))
    own = requests_of(turns)
    try:
        return rewriter_from(config, sessions_of(own), own, None, LEAST_USERS, seed=seed)
    except DataError:
        return None


def refreshed(learnt: Rewriter, turns: Sequence[Turn], personal: bool) -> HomeRewriters:
    """What was learnt, over what was said in each home until tonight: an index for each."""
    found = {}
    for building, own in _by_home(turns).items():
        entries = gather(outcomes_of(own), LEAST_USERS)
        kept = [entry for entry in entries if personal or entry.user is None]
        found[building] = Rewriter(learnt.config, learnt.encoder, learnt.ranker, kept)
    return HomeRewriters(found)


def _by_home(turns: Sequence[Turn]) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = {}
    for turn in requests_of(turns):
        found.setdefault(turn.building, []).append(turn)
    return found
