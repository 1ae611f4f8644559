"""An agent's run for `--debug`: in one process, where a breakpoint works, and over in a minute."""

from __future__ import annotations

from dataclasses import replace

from rayforge.settings import at_most
from trainers.irl.config import IRLConfig

AGENT = {
    "clone_updates": 8, "updates": 8, "warm_up": 2, "updates_per_iteration": 2, "batch": 16,
    "episodes_per_iteration": 16, "positives": 8, "negatives": 8, "replay": 512,
    "replay_window": 128, "open_scenes": 4,
}  # fmt: skip
WALK = 160
"""Actions of an episode in 3-D scenes, where the configuration leaves its usual number: the expert
needs up to about a hundred in generated houses. Data with longer walks need --max-walk."""
HOUSES = {"train_houses": 2, "unseen_houses": 1, "paths_per_house": 6}
GENERATOR = {"updates": 8, "batch": 16}


def small_agent(config: IRLConfig) -> IRLConfig:
    """One process, one thread: the same seed gives the same run, number by number."""
    usual = config.max_walk == IRLConfig.max_walk
    return replace(
        at_most(config, AGENT),
        max_walk=WALK if usual else config.max_walk,
        houses=at_most(config.houses, HOUSES),
        generator=at_most(config.generator, GENERATOR),
        runners=0, fewest_runners=0, learners=0, staleness=0, threads=1,
        runner_resource="", simulator_processes=False,
    )  # fmt: skip
