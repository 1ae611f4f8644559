"""One building of an adaptation: walk in it, describe the walks, keep what is agreed on.

Nothing in here reads an episode: what is seen in the building comes from its graph, its boxes and
its room labels, and what people's paths are like from the statistics of other buildings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.graph.agents import roll_out, starts
from envs.graph.boxes import read_room_labels
from envs.graph.buildings import Buildings
from envs.graph.navigation_data import SCENES, read_surroundings
from envs.graph.navigation_graph import SUFFIX, read_connectivity
from envs.graph.rendered_features import Rendering
from envs.graph.simulator import STOP, GraphSimulator
from envs.graph.walking import walk
from envs.graph.world import GraphWorld
from rayforge.errors import DataError, UserError
from rayforge.irl.labelling import label_paths
from rayforge.language.vocabulary import END, Vocabulary
from rayforge.paths.arrays import Paths, join_paths
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_with, load_weights
from trainers.irl.run_folder import load_run

ROUND = 256
"""Walks at a time."""
ROUNDS = 40
"""Rounds after which a building gives what it has given."""
CHOICE = 3
"""Walks fit to be described that are wanted for each one that is."""
CHUNK = 64
"""Paths labelled at a time."""


@dataclass(frozen=True)
class Described:
    """What the paths are like that people describe, as shares; from the training split alone."""

    edges: Mapping[int, float]
    """By number of edges."""
    detour: float
    """Walked metres over the shortest way's: nineteen in twenty paths have less or the same."""
    rooms: Mapping[str, float]
    """By the room label of the viewpoint where they end; {} where there are no labels."""

    @classmethod
    def of(cls, paths: Paths, buildings: Buildings, room: Sequence[str]) -> Described:
        """From demonstrations; `room` is the label of every viewpoint, or empty."""
        ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
        ratio = detours(paths, buildings)
        return cls(
            _shares((paths.length - 1).tolist()),
            float(np.quantile(ratio, 0.95)),
            _shares([room[end] for end in ends]) if room else {},
        )


@dataclass(frozen=True)
class BuildingJob:
    """Everything that a building's job needs, wherever it runs."""

    folder: Path
    scan: str
    config: IRLConfig
    settings: AdaptConfig
    vocabulary: Vocabulary
    objects: tuple[str, ...]
    dimension: int
    """Features of a view."""
    described: Described


@dataclass(frozen=True)
class Describer:
    """What works on buildings, in this process or in an actor of a pool: the weights of the run
    that is adapted, and of its goal-agnostic policy."""

    run: Path
    agnostic: Path

    def load(self) -> Callable[[BuildingJob], dict[str, Any]]:
        """Raises RunError where a run has no weights."""
        agent, agnostic = (load_weights(r, load_run(r)[0]) for r in (self.run, self.agnostic))

        def work(job: BuildingJob) -> dict[str, Any]:
            try:
                return adapt_building(job, agent, agnostic)
            except UserError:
                raise
            except Exception as error:
                raise RuntimeError(f"the job of building {job.scan} failed: {error}") from error

        return work


def adapt_building(
    job: BuildingJob, agent: dict[str, np.ndarray], agnostic: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The instructions of a building that both listeners agree on, with their paths.

    Args:
        job: where and how.
        agent: weights of the run that is adapted: its policy and its goal generator.
        agnostic: weights of the goal-agnostic policy.

    Returns:
        Counts of what was sampled, and a record for each path described.

    Raises:
        DataError: the building's data cannot be used, or no walk in it is fit to be described.
    """
    settings, own = job.settings, job.config
    generator = replace(own.generator, candidates=settings.candidates, agreement=settings.agreement)
    config = replace(own, generator=generator, warm_start=True)
    world, room = read_building(job)
    rng = np.random.default_rng([settings.seed, *job.scan.encode()])
    sizes = {"config": config, "vocabulary": len(job.vocabulary), "dimension": job.dimension}
    describer = agent_with(agent, sizes)
    describer.attach(world.observer())
    walker = agent_with(agnostic, {**sizes, "config": goal_agnostic(config, settings)})
    walker.attach(world.observer())
    walks, sampled, fit = _walks(job, world, walker, room, rng)
    records = []
    for start in range(0, len(walks), CHUNK):
        part = walks[start : start + CHUNK]
        labels = label_paths(describer, world, part, settings.seed + start, rephrase=False)
        for row in range(len(part)):
            places = part.viewpoint[row, : part.length[row]]
            records.append(
                {
                    "scan": job.scan,
                    "path": [world.buildings.viewpoint_ids[v] for v in places],
                    "heading": round(float(part.heading[row, 0]) * np.pi / 6, 4),
                    "sentence": job.vocabulary.decode(labels.tokens[row]),
                    "follower": round(float(np.exp(labels.follower[row])), 4),
                    "generator": round(float(np.exp(labels.speaker[row])), 4),
                    "kept": bool(labels.kept[row]),
                }
            )
    for record in records:  # an instruction that ended at once says nothing
        record["kept"] = record["kept"] and bool(record["sentence"])
    return {"scan": job.scan, "walked": sampled, "fit": fit, "described": records}


def goal_agnostic(config: IRLConfig, settings: AdaptConfig) -> IRLConfig:
    """The configuration of pi_0: the run's networks cloned from its demonstrations without text."""
    return replace(
        config, method="gcbc", text=False, clone_updates=settings.agnostic_updates, updates=0,
        evaluate=(), runners=0, fewest_runners=0, learners=0, staleness=0, runner_resource="",
        start_from="", seed=settings.seed,
    )  # fmt: skip


def read_building(job: BuildingJob) -> tuple[GraphWorld, tuple[str, ...]]:
    """A building as the agent sees it, and the room label of every viewpoint (empty: no labels).

    Raises DataError where its data are missing or malformed.
    """
    folder, config = job.folder, job.config
    graphs = {job.scan: read_connectivity(folder / "connectivity" / f"{job.scan}{SUFFIX}")}
    found = read_surroundings(
        folder,
        graphs,
        features=config.features,
        neighbour_rooms=config.neighbour_rooms,
        objects=job.objects if config.features in ("semantic", "rendered") else None,
        rendering=Rendering(
            Path(config.scenes) if config.scenes else folder / SCENES,
            config.simulator,
            config.simulation,
        ),
    )
    return GraphWorld(found.buildings, found.tables, config.max_steps), room_labels(
        folder, found.buildings
    )


def room_labels(folder: Path, buildings: Buildings) -> tuple[str, ...]:
    """The room label of every viewpoint; () where the folder has no labels."""
    file = folder / "vp2room_label.json"
    if not file.is_file():
        return ()
    labels = read_room_labels(file, buildings.scans)
    return tuple(labels[place] for place in buildings.places())


def silent(count: int) -> np.ndarray:
    """The instruction that the goal-agnostic policy is told, whatever the goal: int16 [count,
    1]."""
    return np.full((count, 1), END, np.int16)


def detours(paths: Paths, buildings: Buildings) -> np.ndarray:
    """Metres walked over metres of the shortest way between the ends, float64 [n]; 1 is straight,
    inf for a way that ends where it began."""
    steps = np.arange(paths.viewpoint.shape[1])[None, :]
    last = (paths.length - 1).astype(np.int64)
    ends = paths.viewpoint[np.arange(len(paths)), last]
    at = np.where(steps <= last[:, None], paths.viewpoint, ends[:, None])
    walked = buildings.distance(at[:, :-1], at[:, 1:]).astype(np.float64).sum(1)
    straight = buildings.distance(at[:, 0], ends).astype(np.float64)
    found: np.ndarray = np.divide(
        walked, straight, out=np.full(len(paths), np.inf), where=straight > 0
    )
    return found


def resemblance(paths: Paths, room: Sequence[str], described: Described) -> np.ndarray:
    """How much likelier each path is among described ones than among these, float64 [n]: the ratio
    of the shares of its number of edges, times that of the room where it ends."""
    ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
    edges = (paths.length - 1).tolist()
    weight = _ratio(edges, described.edges)
    if described.rooms and room:
        weight *= _ratio([room[end] for end in ends], described.rooms)
    return weight


def _walks(
    job: BuildingJob, world: GraphWorld, walker: Any, room: Sequence[str], rng: np.random.Generator
) -> tuple[Paths, int, int]:
    """Paths to describe, how many were walked for them, and how many of those were fit."""
    settings, described = job.settings, job.described
    simulator = GraphSimulator(world.buildings, job.config.max_steps)
    fit: list[Paths] = []
    known: set[tuple[int, ...]] = set()
    walked = 0
    for _ in range(ROUNDS):
        start = rng.integers(len(world.buildings.viewpoint_ids), size=ROUND).astype(np.int32)
        goals = starts(start, rng.integers(12, size=ROUND).astype(np.int32), silent(ROUND))
        draws = rng.random((ROUND, job.config.max_steps), np.float32)
        if settings.walks == "random":
            paths = _random_walks(world, goals, described, job.config.max_steps, rng)
            good = paths.length > 1
        else:
            paths = roll_out(walker.policy, walker.observer, simulator, goals, draws).paths
            good = np.isin(paths.length - 1, list(described.edges))
            good &= detours(paths, world.buildings) <= described.detour + 1e-6
        walked += ROUND
        for row in np.flatnonzero(good).tolist():
            places = tuple(paths.viewpoint[row, : paths.length[row]].tolist())
            if places not in known:
                known.add(places)
                fit.append(paths[row : row + 1])
        if len(fit) >= CHOICE * settings.paths:
            break
    if not fit:
        raise DataError(
            f"building {job.scan}: none of {walked} walks is like those that people describe "
            f"({min(described.edges)} to {max(described.edges)} edges, at most "
            f"{described.detour:.2f} times the shortest way): clone the goal-agnostic policy for "
            "longer (--agnostic-updates)"
        )
    pool = join_paths(fit)
    count = min(settings.paths, len(pool))
    if settings.walks == "random":
        chosen = rng.choice(len(pool), count, replace=False)
    else:
        weight = np.maximum(resemblance(pool, room, described), 1e-9)
        chosen = rng.choice(len(pool), count, replace=False, p=weight / weight.sum())
    return pool[np.sort(chosen)], walked, len(pool)


def _random_walks(
    world: GraphWorld, goals: Paths, described: Described, max_steps: int, rng: np.random.Generator
) -> Paths:
    """Random steps, as many as people's paths have; a control."""
    steps = rng.choice(
        list(described.edges), size=len(goals), p=list(described.edges.values())
    )  # fmt: skip

    def choose(simulator: GraphSimulator) -> np.ndarray:
        legal = simulator.legal()[:, 1:]
        move = 1 + (legal * rng.random(legal.shape)).argmax(1)
        return np.where(simulator.steps < steps, move, STOP)

    return walk(world.buildings, goals.viewpoint[:, 0], goals.heading[:, 0], max_steps, choose)


def _shares(values: Sequence[Any]) -> dict[Any, float]:
    counts = Counter(values)
    return {key: counts[key] / len(values) for key in sorted(counts)}


def _ratio(values: Sequence[Any], wanted: Mapping[Any, float]) -> np.ndarray:
    have = _shares(values)
    return np.array([wanted.get(value, 0.0) / have[value] for value in values])
