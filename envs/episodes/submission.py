"""What a leaderboard takes for a blind test split: where an agent went, and no score.

Both writers take the records of `episodes_{split}.jsonl`, one an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envs.episodes.episode import Episode

STOP = 0


def r2r_submission(
    episodes: Sequence[Episode], records: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """In the format of the R2R server: ``instr_id`` and ``trajectory``, which has
    [viewpoint, heading, elevation] for the start and for every step (radians; an agent looks
    straight ahead). The first heading is the episode's own.

    Args:
        episodes: the split.
        records: ``path`` (viewpoint ids) and ``headings`` of each, in the same order.
    """
    return [
        {
            "instr_id": episode.episode_id,
            "trajectory": [
                [viewpoint, float(heading), 0.0]
                for viewpoint, heading in zip(
                    record["path"], [episode.heading, *record["headings"][1:]], strict=True
                )
            ],
        }
        for episode, record in zip(episodes, records, strict=True)
    ]


def r2r_ce_submission(records: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """In the format of the R2R-CE server: episode id -> ``position`` (habitat's axes), ``heading``
    (radians, to the left of -z) and ``stop`` at the start and after every action.

    Args:
        records: ``episode_id``, ``positions``, ``yaws`` (where each action was taken) and
            ``actions`` of each.
    """
    submission = {}
    for record in records:
        places = list(zip(record["positions"], record["yaws"], strict=True))
        stops = record["actions"][-1:] == [STOP]
        steps = [{"position": p, "heading": yaw, "stop": False} for p, yaw in places]
        if stops:
            steps.append({**steps[-1], "stop": True})
        submission[str(record["episode_id"])] = steps
    return submission
