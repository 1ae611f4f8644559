"""`rayforge irl evaluate RUN --planner map|samples|search`: a split scored when its agent plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from rayforge.errors import RunError
from rayforge.evaluation.intervals import summarise
from rayforge.files import write_json
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.path_reward import PathReward
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GraphObserver
from rayforge.paths.tree import PathTree
from trainers.irl.algorithm import sizes_of
from trainers.irl.choices import roll_outs
from trainers.irl.evaluate import for_split, print_table
from trainers.irl.plan import FILES, PlannedAgent, open_agent
from trainers.irl.planner import BATCH, LengthScore, Planner, Score, Ways, keys_of, scores_of
from trainers.irl.run_folder import data_folder, load_run, resolve_split
from trainers.irl.search_walk import search
from trainers.irl.task import shuffled
from trainers.runs.folder import hardware

Kind = Literal["map", "samples", "search"]
SETTINGS = {
    "search": "first sight: nothing; it walks, turns back and stops, and every metre counts",
    "map": "mapped: walked before, so that its graph is known; none of its instructions and paths",
    "samples": "imagined: roll-outs in a model of the building; none of its instructions and paths",
}
"""What an agent knows of a building before it goes there."""


class Plans(NamedTuple):
    """An agent's planner in the buildings of a split, with the weights of both kinds."""

    planner: Planner
    ways: Ways
    weights: dict[str, dict[str, float]]


def load_planner(run: Path, agent: PlannedAgent) -> Plans:
    """What `rayforge irl plan` wrote into a run's folder, for the agent in its buildings.

    Raises RunError where it did not.
    """
    try:
        document = json.loads((run / FILES[1]).read_text())
        state = load_file(run / FILES[0])
    except (OSError, ValueError) as error:
        raise RunError(
            f"{run} has no planner ({error}): make it with `rayforge irl plan {run}`"
        ) from error
    reward = None
    if document["form"] is not None:
        sizes = sizes_of(agent.config, agent.task)
        reward = PathReward(
            sizes["vocabulary"], sizes["dimension"], agent.config.network, document["form"]
        )
        reward.load_state_dict(state)
    scores: dict[str, Score] = scores_of(agent.module, LengthScore(document["length"]), reward)
    buildings = agent.task.data.buildings
    low, high = document["edges"]
    return Plans(
        Planner(buildings, scores, {}), Ways(buildings, (low, high), agent.config.max_steps),
        {kind: fitted["weights"] for kind, fitted in document["fitted"].items()},
    )  # fmt: skip


def planned_paths(
    plans: Plans,
    agent: PlannedAgent,
    kind: Kind,
    split: Demonstrations,
    tokens: np.ndarray,
    count: int,
) -> Paths:
    """What the agent does for the starts of a split under instructions int16 [n, N]. Of the split
    nothing but its starts is read. `count`: roll-outs that it imagines, or places that it looks
    for; a search has the weights of imagined candidates, for it chooses among the policy's ways."""
    weights = plans.weights["map" if kind == "map" else "samples"]
    planner = Planner(plans.planner.buildings, plans.planner.scores, weights)
    observer = agent.module.observer
    assert isinstance(observer, GraphObserver)
    parts = []
    for start in range(0, len(split), BATCH):
        paths = split.paths[start : start + BATCH].with_tokens(tokens[start : start + BATCH])
        if kind == "map":
            own: list[PathTree] = plans.ways.trees(paths)
            parts.append(planner.choose(own, paths.tokens, keys_of(paths))[0])
        elif kind == "search":
            parts.append(search(planner, agent.module.policy, observer, paths, count))
        else:
            found = roll_outs(agent.module, planner.buildings, paths, count, start)
            parts.append(planner.choose([tree for tree, _ in found], paths.tokens)[0])
    return join_paths(parts)


@torch.no_grad()
def evaluate_planned(
    run: Path, split: str, data: Path | None, kind: Kind, count: int, command: str
) -> dict[str, Any]:
    """Score a split when the agent plans, beside another's instruction and the policy alone;
    writes `planned_SPLIT_KIND.json`."""
    config, _, _ = load_run(run)
    folder = data or data_folder(config)
    name = resolve_split(split, folder, config)
    agent = open_agent(run, (name,), data, for_split(config, name))
    plans = load_planner(run, agent)
    asked, world = agent.task.splits[name], agent.task.world
    tokens = asked.paths.tokens
    others = tokens[shuffled(asked.building, asked.route, config.seed)]
    agents = {}
    for who, words in (("agent", tokens), ("another's sentence", others)):
        paths = planned_paths(plans, agent, kind, asked, words, count)
        # A planner stops by itself: no path is cut off.
        limit = max(config.max_steps, int(paths.length.max())) + 1
        agents[who] = summarise(replace(world, step_limit=limit).score(asked, paths))
    document = {
        "split": name, "planner": kind, "setting": SETTINGS[kind], "data": str(folder),
        "method": f"planner, {kind}", "seed": config.seed, "features": config.features,
        "candidates": list(plans.ways.edges) if kind == "map" else count,
        "weights": plans.weights["map" if kind == "map" else "samples"],
        "hardware": hardware(), "command": command, "agents": agents,
    }  # fmt: skip
    write_json(run / f"planned_{name}_{kind}.json", document)
    print(SETTINGS[kind])
    print_table(document)
    return document
