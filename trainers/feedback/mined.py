"""What a log gives to the rest of RayForge: demonstrations, unlabelled instructions, preferences.

No truth is read. A correction is a request that ended well after others for the same goal that did
not: its walk is what all of them meant. The files have the formats that `rayforge irl adapt`,
`rayforge irl train` and `rayforge align train` read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from envs.episodes.r2r import write_r2r
from envs.sessions.log import sessions_of
from envs.sessions.turns import Turn
from rayforge.feedback.text import normal
from rayforge.files import write_text
from trainers.feedback.tables import requests_of

FIRST_PATH_ID = 2_000_000_000
"""Path ids of what is mined; those of data sets, and of `rayforge irl adapt`, are smaller."""


class Correction(NamedTuple):
    """Requests that failed, and the one after them that did not, from one start."""

    failed: tuple[Turn, ...]
    worked: Turn


def corrections(turns: Iterable[Turn]) -> list[Correction]:
    """Of each session, the runs of requests from one start that ended well in the end."""
    found = []
    for session in sessions_of(turns):
        run: list[Turn] = []
        for turn in requests_of(session.turns):
            if run and (not turn.path or run[-1].path[:1] != turn.path[:1]):
                run = []
            if not turn.path:
                continue
            if turn.ended_well:
                if run:
                    found.append(Correction(tuple(run), turn))
                run = []
            else:
                run.append(turn)
    return found


def demonstrations(turns: Sequence[Turn], most_steps: int) -> list[dict[str, Any]]:
    """R2R records: the walks that ended well, with every request that meant them.

    Corrections bring the failed requests too. A walk of one place, or of more than `most_steps`
    actions, is left out; equal walks are one record.
    """
    texts: dict[tuple[str, tuple[str, ...], float], dict[str, str]] = {}
    for found in corrections(turns):
        way = found.worked
        if 1 < len(way.path) < most_steps:
            own = texts.setdefault((way.building, way.path, way.heading), {})
            for turn in (way, *found.failed):
                own.setdefault(normal(turn.heard), turn.heard)
    return [
        {
            "scan": building, "path_id": FIRST_PATH_ID + number, "path": list(path),
            "heading": heading, "instructions": list(own.values()),
        }
        for number, ((building, path, heading), own) in enumerate(texts.items())
    ]  # fmt: skip


def unlabelled(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """R2R records whose path is the start alone, as of a blind split: requests that nobody's walk
    has answered well."""
    answered = {
        (turn.building, turn.path[0], normal(turn.heard))
        for found in corrections(turns) for turn in (*found.failed, found.worked)
    } | {
        (turn.building, turn.path[0], normal(turn.heard))
        for turn in requests_of(turns) if turn.ended_well and turn.path
    }  # fmt: skip
    left: dict[tuple[str, str, float], dict[str, str]] = {}
    for turn in requests_of(turns):
        if turn.path:
            key = (turn.building, turn.path[0], normal(turn.heard))
            if key not in answered:
                own = left.setdefault((turn.building, turn.path[0], turn.heading), {})
                own.setdefault(key[2], turn.heard)
    return [
        {
            "scan": building, "path_id": FIRST_PATH_ID + number, "path": [start],
            "heading": heading, "instructions": list(own.values()),
        }
        for number, ((building, start, heading), own) in enumerate(left.items())
    ]  # fmt: skip


def preferences(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Pairs in TRL's format: for the request that failed, what the agent took it for is rejected,
    and what it took the request for that worked is chosen."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for correction in corrections(turns):
        chosen = correction.worked.followed
        for turn in correction.failed:
            rejected = turn.reply or turn.followed
            better = correction.worked.reply or chosen
            if normal(rejected) != normal(better):
                pair = {"prompt": turn.heard, "chosen": better, "rejected": rejected}
                found.setdefault(tuple(pair.values()), pair)  # type: ignore[arg-type]
    return list(found.values())


def write_mined(folder: Path, turns: Sequence[Turn], most_steps: int) -> Mapping[str, int]:
    """Write `demonstrations.json`, `unlabelled.json` and `preferences.jsonl`; says how many records
    each has."""
    folder.mkdir(parents=True, exist_ok=True)
    shown, left, pairs = demonstrations(turns, most_steps), unlabelled(turns), preferences(turns)
    write_r2r(folder / "demonstrations.json", shown)
    write_r2r(folder / "unlabelled.json", left)
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    write_text(folder / "preferences.jsonl", "".join(lines))
    return {"demonstrations": len(shown), "unlabelled": len(left), "preferences": len(pairs)}
