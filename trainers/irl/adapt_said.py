"""What people said in new buildings as demonstrations: the planner finds the paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.episodes.r2r import read_r2r
from envs.graph.buildings import heading_bin
from rayforge.errors import ConfigurationError, DataError
from trainers.irl.adapt_building import BuildingJob, read_building
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.plan import FILES
from trainers.irl.planned import planner_on
from trainers.irl.run_folder import load_run


def check_said(run: Path, file: Path, scans: Sequence[str]) -> None:
    """Raises ConfigurationError where a run cannot plan for a file's instructions, and DataError
    where the file is malformed or has none in the buildings `scans`."""
    if not (run / FILES[1]).is_file():
        raise ConfigurationError(
            f"{run} has no planner, which instructions need: make it with `rayforge irl plan {run}`"
        )
    if not any(episode.scan in scans for episode in read_r2r(file)):
        raise DataError(f"{file} has no instruction in any of the buildings {', '.join(scans)}")


def said_pairs(run: Path, jobs: Sequence[BuildingJob], file: Path, margin: float) -> dict[str, Any]:
    """A record for each instruction of the buildings whose plan succeeds with a probability of
    `margin` at least, by the planner of `run`; and how many instructions there were.

    Of the file's paths nothing but the first viewpoint is read.

    Raises DataError where the file is malformed or names a viewpoint that there is not.
    """
    episodes, weights = read_r2r(file), load_weights(run, load_run(run)[0])
    records, asked = [], 0
    for job in jobs:
        own = [episode for episode in episodes if episode.scan == job.scan]
        if not own:
            continue
        asked += len(own)
        world, _ = read_building(job)
        sizes = {
            "config": job.config, "vocabulary": len(job.vocabulary), "dimension": job.dimension
        }  # fmt: skip
        plan = planner_on(run, job.config, job.vocabulary, agent_with(weights, sizes), world)
        known = set(world.buildings.viewpoint_ids)
        for episode in own:
            if episode.path[0] not in known:
                raise DataError(
                    f"{file}, building {job.scan}, episode {episode.episode_id}: its start "
                    f"{episode.path[0]!r} is no viewpoint of the building"
                )
            tokens, _ = job.vocabulary.encode([episode.instruction], job.config.max_words)
            start = world.buildings.index(job.scan, episode.path[0])
            found = plan(start, int(heading_bin(episode.heading)), tokens[0])
            if found.probability >= margin and len(found.places) > 1:
                records.append(
                    {
                        "scan": job.scan, "path": list(found.places),
                        "heading": round(episode.heading, 4), "sentence": episode.instruction,
                        "probability": round(found.probability, 4),
                    }
                )  # fmt: skip
    return {"asked": asked, "kept": len(records), "records": records}
