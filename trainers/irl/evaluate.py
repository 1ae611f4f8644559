"""Greedy roll-outs on a split, scored by R2R's rules, beside the controls that explain them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from envs.graph import walking
from envs.graph.buildings import Buildings
from envs.graph.simulator import GraphSimulator
from rayforge.evaluation.intervals import summarise
from rayforge.evaluation.metrics import navigation_metrics
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.networks import Policy
from rayforge.language.vocabulary import END
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GraphObserver
from trainers.irl.rollout import Goals, Rollout, roll_out

BATCH = 128
"""Episodes rolled out at once."""


def score(buildings: Buildings, split: Demonstrations, paths: Paths, max_steps: int) -> dict:
    """Each metric of each episode, float64 [n]; `paths` answer the split's rows in order."""
    counts = paths.length.astype(np.int64)  # viewpoints visited: one a step, STOP moves nowhere
    reference = split.paths
    walked = paths.viewpoint[:, : counts.max()].astype(np.int64)
    wanted = reference.viewpoint.astype(np.int64)
    # Padding repeats the last viewpoint, so that distances stay inside one building.
    walked = np.where(np.arange(walked.shape[1]) < counts[:, None], walked, _last(walked, counts))
    lengths = reference.length.astype(np.int64)
    wanted = np.where(np.arange(wanted.shape[1]) < lengths[:, None], wanted, _last(wanted, lengths))
    return navigation_metrics(
        buildings.distance(walked[:, :, None], wanted[:, None, :]),
        buildings.distance(walked[:, :-1], walked[:, 1:]),
        counts,
        lengths,
        buildings.distance(wanted[:, 0], split.goal),
        counts == max_steps,
    )


def _last(viewpoints: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return viewpoints[np.arange(len(counts)), counts - 1][:, None]


def follow(
    policy: Policy, observer: GraphObserver, buildings: Buildings, split: Demonstrations,
    tokens: np.ndarray, progress: Callable[[int, int], None] | None = None,
) -> Iterator[Rollout]:  # fmt: skip
    """The policy's greedy roll-outs of a split under sentences `tokens` [n, N], in batches."""
    simulator = GraphSimulator(buildings, observer.max_steps)
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        goals = Goals.of(split.paths[rows].with_tokens(tokens[rows]))
        yield roll_out(policy, observer, simulator, goals, None)
        if progress is not None:
            progress(min(start + BATCH, len(split)), len(split))


def walk(
    buildings: Buildings, split: Demonstrations, max_steps: int,
    choose: Callable[[GraphSimulator], np.ndarray],
) -> Paths:  # fmt: skip
    """Paths of an agent that reads nothing: `choose` gives every row's action from the state."""
    start = Goals.of(split.paths)
    paths = walking.walk(buildings, start.viewpoint, start.heading, max_steps, choose)
    return paths.with_tokens(split.paths.tokens)


def straight(steps: int) -> Callable[[GraphSimulator], np.ndarray]:
    """Go where one faces, by the neighbour that turns least, `steps` times; then STOP."""

    def choose(simulator: GraphSimulator) -> np.ndarray:
        buildings, at = simulator.buildings, simulator.viewpoint
        turn = buildings.heading[at] - simulator.heading_bin[:, None] * (np.pi / 6)
        turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
        turn = np.where(buildings.neighbours[at] >= 0, turn, np.inf)
        return np.where(simulator.steps < steps, 1 + turn.argmin(1), 0)

    return choose


def random_walk(seed: int) -> Callable[[GraphSimulator], np.ndarray]:
    """Any legal action, STOP included, with equal chances."""
    rng = np.random.default_rng(seed)

    def choose(simulator: GraphSimulator) -> np.ndarray:
        legal = simulator.legal()
        return np.argmax(legal * rng.random(legal.shape), axis=1)

    return choose


def shuffled_sentences(split: Demonstrations, buildings: Buildings, seed: int) -> np.ndarray:
    """Row numbers [n] of sentences given to other episodes, of the same building where possible."""
    scan = buildings.building[split.paths.viewpoint[:, 0]]
    return shuffled(scan, np.array([e.path_id for e in split.episodes]), seed)


def shuffled(scan: np.ndarray, path_of: np.ndarray, seed: int) -> np.ndarray:
    """For each row of buildings and paths, int [n], a row of another path, near if possible."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(scan))
    other = rows.copy()
    for row in rows:
        near = rows[(scan == scan[row]) & (path_of != path_of[row])]
        choice = near if len(near) else rows[path_of != path_of[row]]
        other[row] = rng.choice(choice) if len(choice) else row
    return other


def evaluate(
    policy: Policy, observer: GraphObserver, buildings: Buildings, split: Demonstrations, seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray], Rollout]:  # fmt: skip
    """The agent and its controls on a split.

    Returns the summaries by agent ("agent", "no text", "shuffled text", "straight", "random",
    "expert", "shortest path"), the agent's metrics of each episode, and its roll-outs in the
    split's order. "no text" and "shuffled text" are the same agent given an empty or another path's
    sentence. "expert" is the reference path, "shortest path" the way that the graph knows. A blind
    split has the agent alone.
    """
    limit, tokens = observer.max_steps, split.paths.tokens
    silent = np.zeros_like(tokens)
    silent[:, 0] = END
    others = tokens[shuffled_sentences(split, buildings, seed)]

    def followed(name: str, words: np.ndarray) -> Rollout:
        parts = list(
            follow(
                policy, observer, buildings, split, words,
                progress and (lambda done, total: progress(name, done, total)),
            )
        )  # fmt: skip
        return Rollout(
            join_paths([part.paths for part in parts]),
            np.concatenate([part.probability for part in parts]),
            np.concatenate([part.entropy for part in parts]),
        )

    own = followed("agent", tokens)
    if split.blind:
        return {}, score(buildings, split, own.paths, limit), own
    walks = {
        "agent": own.paths,
        "no text": followed("no text", silent).paths,
        "shuffled text": followed("shuffled text", others).paths,
        "straight": walk(buildings, split, limit, straight(5)),
        "random": walk(buildings, split, limit, random_walk(seed)),
        "expert": split.paths,
        "shortest path": walk(
            buildings, split, limit, lambda simulator: simulator.expert(split.goal)
        ),
    }
    values = {name: score(buildings, split, paths, limit) for name, paths in walks.items()}
    return {name: summarise(v) for name, v in values.items()}, values["agent"], own
