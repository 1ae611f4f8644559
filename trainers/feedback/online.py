"""Rewriting online in the loop: what is learnt from all homes, over an index for each.

A request means something in its building, so that each has an index of its own; what users say is
never taken from another user's entries (`rayforge.feedback.rewriting`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from envs.sessions.log import sessions_of
from envs.sessions.simulation import Asked
from envs.sessions.turns import Source, Turn
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
        here = sign_of(asked.building, asked.start)
        found = rewriter.answer(asked.user, Query(f"{here} {asked.heard}"), budget_ms=1e6)
        if found.rewrite is None or not found.rewrite.startswith(f"{here} "):
            return None  # what is said at another start leads elsewhere
        words = found.rewrite.removeprefix(f"{here} ")
        return words, "personal" if found.layer == "personal" else "global"


def sign_of(building: str, start: str) -> str:
    """A word that stands for a start: what is said there is alike, and the retriever sees it."""
    return "at" + hashlib.blake2s(f"{building} {start}".encode(), digest_size=4).hexdigest()


def placed(turn: Turn) -> Turn:
    """A turn whose requests begin with the sign of where they were given."""
    here = sign_of(turn.building, turn.path[0] if turn.path else "")
    rewrite = None if turn.rewrite is None else f"{here} {turn.rewrite}"
    return replace(turn, heard=f"{here} {turn.heard}", rewrite=rewrite)


def learn_online(
    turns: Sequence[Turn], config: LearningConfig, personal: bool, seed: int
) -> Rewriter | None:
    """A rewriter from the logs of all homes together; None where they give nothing to learn from.

    Without `personal` nobody's own entries are looked at.
    """
    if not personal:
        config = replace(config, rewriting=replace(config.rewriting, personal_k=0))
    own = [placed(turn) for turn in requests_of(turns)]
    try:
        return rewriter_from(config, sessions_of(own), own, None, LEAST_USERS, seed=seed)
    except DataError:
        return None


def refreshed(learnt: Rewriter, turns: Sequence[Turn], personal: bool) -> HomeRewriters:
    """What was learnt, over what was said in each home until tonight: an index for each."""
    found = {}
    for building, own in _by_home(turns).items():
        entries = gather(outcomes_of(map(placed, own)), LEAST_USERS)
        kept = [entry for entry in entries if personal or entry.user is None]
        found[building] = Rewriter(learnt.config, learnt.encoder, learnt.ranker, kept)
    return HomeRewriters(found)


def _by_home(turns: Sequence[Turn]) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = {}
    for turn in requests_of(turns):
        found.setdefault(turn.building, []).append(turn)
    return found
