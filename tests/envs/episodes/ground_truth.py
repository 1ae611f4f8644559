"""The ground truth of R2R-CE episodes as its file has it, for tests of its reader."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from envs.episodes.continuous_episode import ContinuousEpisode


def write_ground_truth(file: Path, episodes: Iterable[ContinuousEpisode]) -> None:
    """Write the ground truth of the episodes that have one, as ``{split}_gt.json.gz`` holds it."""
    content = {
        episode.episode_id: {
            "actions": list(episode.actions),
            "locations": [list(point) for point in episode.locations],
            "forward_steps": episode.actions.count(1),
        }
        for episode in episodes
        if episode.actions is not None and episode.locations is not None
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
