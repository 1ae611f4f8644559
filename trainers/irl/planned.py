"""`rayforge irl evaluate RUN --planner map|samples|search`: a split scored when its agent plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from envs.graph.world import GraphWorld
from rayforge.errors import ConfigurationError
from rayforge.evaluation.intervals import summarise
from rayforge.files import write_json
from rayforge.irl.acting import Plan
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.language.vocabulary import Vocabulary
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GEOMETRY, SECTORS, GraphObserver
from rayforge.paths.tree import PathTree
from trainers.irl.algorithm import sizes_of
from trainers.irl.choices import roll_outs
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import for_split, print_table
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.plan import PlannedAgent, check_own, open_agent, read_planner
from trainers.irl.planner import (
    BATCH,
    MEMBER,
    LengthScore,
    Planner,
    Score,
    Ways,
    keys_of,
    scores_of,
)
from trainers.irl.run_folder import data_folder, load_run, resolve_split
from trainers.irl.search_walk import search
from trainers.irl.task import Task, shuffled
from trainers.irl.walked_plan import walk_plans
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


def load_planner(run: Path, agent: PlannedAgent, others: Sequence[Path] = ()) -> Plans:
    """What `rayforge irl plan` wrote into a run's folder, for the agent in its buildings.

    With `others` an ensemble plans: what each run makes of a candidate, its scores by its own
    weights, is averaged. Candidates are the first run's. Raises RunError where a run has no
    planner, and ConfigurationError for runs that do not read the same words and features.
    """
    document, reward = read_planner(run, agent)
    check_own(run, document, agent)
    scores: dict[str, Score] = scores_of(agent.module, LengthScore(document["length"]), reward)
    weights = {kind: dict(fitted["weights"]) for kind, fitted in document["fitted"].items()}
    for number, other in enumerate(others, 2):
        member = _member(other, run, agent)
        told, reward = read_planner(other, member)
        check_own(other, told, member)
        for name, score in scores_of(member.module, LengthScore(told["length"]), reward).items():
            scores[f"{name}{MEMBER}{number}"] = score
        for kind, own in weights.items():
            for name, weight in told["fitted"][kind]["weights"].items():
                own[f"{name}{MEMBER}{number}"] = weight
    buildings = agent.task.world.buildings
    low, high = document["edges"]
    share = 1 + len(others)
    return Plans(
        Planner(buildings, scores, {}), Ways(buildings, (low, high), agent.config.max_steps),
        {kind: {name: weight / share for name, weight in own.items()}
         for kind, own in weights.items()},
    )  # fmt: skip


def _member(other: Path, run: Path, agent: PlannedAgent) -> PlannedAgent:
    """The agent of a further run of an ensemble, in the buildings of the first one's."""
    config, vocabulary, objects = load_run(other)
    for name, own, first in (
        ("vocabulary", vocabulary.words, agent.task.vocabulary.words),
        ("objects", tuple(objects), tuple(agent.task.objects)),
        ("features", config.features, agent.config.features),
        ("neighbour_rooms", config.neighbour_rooms, agent.config.neighbour_rooms),
        ("max_steps", config.max_steps, agent.config.max_steps),
    ):
        if own != first:
            raise ConfigurationError(
                f"{other} cannot plan together with {run}: its {name} differs. An ensemble is of "
                "runs that differ in seed, sizes or training alone"
            )
    module = agent_with(load_weights(other, config), sizes_of(config, agent.task))
    module.attach(agent.task.world.observer())
    return agent._replace(config=config, module=module)


def planner_on(
    run: Path, config: IRLConfig, vocabulary: Vocabulary, module: Agent, world: GraphWorld
) -> Callable[[int, int, np.ndarray], Plan]:
    """What plans for an agent in the buildings of `world`, from a viewpoint, a heading bin and the
    tokens of an instruction.

    Raises RunError where the run has no planner, and ConfigurationError where the buildings were
    read with other features than the agent's.
    """
    seen = (module.policy.trunk.look.weight.shape[1] - GEOMETRY) // SECTORS
    if seen != world.dimension:
        raise ConfigurationError(
            f"the buildings were read with {world.dimension} features a view, and {run} has learnt "
            f"from {seen}: read it with the run's features and objects (objects.json)"
        )
    module.attach(world.observer())
    task = Task(run, vocabulary, {}, world)
    plans = load_planner(run, PlannedAgent(config, task, module))
    planner = plans.planner.with_weights(plans.weights["map"])
    names = world.buildings.viewpoint_ids

    def plan(viewpoint: int, heading: int, tokens: np.ndarray) -> Plan:
        key = (viewpoint, heading)
        paths, mass = planner.choose([plans.ways.tree(key)], tokens[None], [key])
        count = int(paths.length[0])
        return Plan(
            tuple(paths.action[0, :count].tolist()),
            tuple(names[place] for place in paths.viewpoint[0, :count]),
            float(mass[0]),
        )

    return plan


def planned_paths(
    plans: Plans,
    agent: PlannedAgent,
    kind: Kind,
    split: Demonstrations,
    tokens: np.ndarray,
    count: int,
    shortlist: int = 0,
) -> Paths:
    """What the agent does for the starts of a split under instructions int16 [n, N]. Of the split
    nothing but its starts is read. `count`: roll-outs that it imagines, or places that it looks
    for; a search has the weights of imagined candidates, for it chooses among the policy's ways.
    `shortlist` as in `Planner`."""
    weights = plans.weights["map" if kind == "map" else "samples"]
    planner = plans.planner.with_weights(weights, shortlist)
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
    run: Path, split: str, data: Path | None, kind: Kind, count: int, command: str,
    shortlist: int = 0, walked: bool = False, ensemble: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Score a split when the agent plans, beside another's instruction; writes
    `planned_SPLIT_KIND.json`. With `walked` the plans are walked in the 3-D scenes as well, by
    low-level actions. The runs of `ensemble` plan together with it."""
    config, _, _ = load_run(run)
    folder = data or data_folder(config)
    name = resolve_split(split, folder, config)
    agent = open_agent(run, (name,), data, for_split(config, name))
    plans = load_planner(run, agent, ensemble)
    asked, world = agent.task.splits[name], agent.task.world
    tokens = asked.paths.tokens
    others = tokens[shuffled(asked.building, asked.route, config.seed)]
    agents, own = {}, None
    for who, words in (("agent", tokens), ("another's instruction", others)):
        paths = planned_paths(plans, agent, kind, asked, words, count, shortlist)
        own = paths if own is None else own
        # A planner stops by itself: no path is cut off.
        limit = max(config.max_steps, int(paths.length.max())) + 1
        agents[who] = summarise(replace(world, step_limit=limit).score(asked, paths))
    if walked and own is not None:
        agents["walked in 3-D"] = summarise(walk_plans(agent, asked, own))
    document = {
        "split": name, "planner": kind, "setting": SETTINGS[kind], "data": str(folder),
        "method": f"planner, {kind}" + (f", ensemble of {1 + len(ensemble)}" if ensemble else ""),
        "ensemble": [str(other) for other in ensemble], "seed": config.seed,
        "features": config.features,
        "candidates": list(plans.ways.edges) if kind == "map" else count,
        "shortlist": shortlist,
        "weights": plans.weights["map" if kind == "map" else "samples"],
        "hardware": hardware(), "command": command, "agents": agents,
    }  # fmt: skip
    write_json(run / f"planned_{name}_{kind}.json", document)
    print(SETTINGS[kind])
    print_table(document)
    return document
