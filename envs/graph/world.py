"""Navigation graphs as a `rayforge.irl.world.World`: R2R's rules and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from envs.graph.agents import GraphAgents
from envs.graph.buildings import Buildings
from envs.graph.observation import ObservationTables
from envs.graph.shortest_paths import other_ways
from envs.graph.simulator import GraphSimulator
from envs.graph.walking import walk
from rayforge.evaluation.metrics import SUCCESS_METRES, navigation_metrics
from rayforge.irl.batches import batch_rows
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.rollout import Rollout
from rayforge.paths.arrays import Paths
from rayforge.paths.frame_store import FrameStore
from rayforge.paths.observation import GraphObserver

Choose = Callable[[GraphSimulator], np.ndarray]

STRAIGHT = 5
"""Moves of the agent that only goes straight on."""


@dataclass(frozen=True)
class GraphWorld:
    """About a hundred megabytes for R2R's buildings. `World` says what the methods do."""

    buildings: Buildings
    tables: ObservationTables
    step_limit: int
    """Actions of an episode at most, the last of which can only be STOP."""
    objects: tuple[str, ...] = ()
    kind: ClassVar[type[Paths]] = Paths
    together: ClassVar[int] = 128

    @property
    def dimension(self) -> int:
        """Features of a view."""
        return self.tables.dimension

    @property
    def identity(self) -> tuple[str, ...]:
        return tuple(self.buildings.viewpoint_ids)

    def observer(self, frames: FrameStore | None = None) -> GraphObserver:
        return GraphObserver.from_tables(self.tables, self.step_limit)

    def agents(self, observer: GraphObserver, keep: bool = True) -> GraphAgents:
        return GraphAgents(observer, GraphSimulator(self.buildings, self.step_limit))

    def other_ways(
        self, paths: Paths, count: int, rng: np.random.Generator
    ) -> tuple[Paths, np.ndarray]:
        return other_ways(self.buildings, paths, count, self.step_limit, rng)

    def batch(self, split: Demonstrations, size: int, seed: int, number: int) -> np.ndarray:
        """Pairs whose instructions are of like length."""
        return batch_rows(split.words, size, seed, number)

    def draw(
        self, split: Demonstrations, rng: np.random.Generator, count: int, chunk: int
    ) -> np.ndarray:
        return rng.integers(len(split), size=count)

    def order(self, split: Demonstrations) -> np.ndarray:
        return np.arange(len(split))

    def reached(self, split: Demonstrations, rows: np.ndarray, paths: Paths) -> np.ndarray:
        """By R2R's rules: the end is strictly nearer than 3 m to the goal."""
        ends = paths.viewpoint[np.arange(len(paths)), paths.length - 1]
        metres: np.ndarray = self.buildings.distance(ends, split.goal[rows])
        return metres < SUCCESS_METRES

    def score(self, split: Demonstrations, paths: Paths) -> dict[str, np.ndarray]:
        buildings, reference = self.buildings, split.paths
        counts = paths.length.astype(np.int64)  # viewpoints visited: one a step, STOP goes nowhere
        walked = paths.viewpoint[:, : counts.max()].astype(np.int64)
        wanted = reference.viewpoint.astype(np.int64)
        # Padding repeats the last viewpoint, so that distances stay inside one building.
        beyond = np.arange(walked.shape[1]) >= counts[:, None]
        walked = np.where(beyond, _last(walked, counts), walked)
        lengths = reference.length.astype(np.int64)
        beyond = np.arange(wanted.shape[1]) >= lengths[:, None]
        wanted = np.where(beyond, _last(wanted, lengths), wanted)
        return navigation_metrics(
            buildings.distance(walked[:, :, None], wanted[:, None, :]),
            buildings.distance(walked[:, :-1], walked[:, 1:]),
            counts,
            lengths,
            buildings.distance(wanted[:, 0], split.goal),
            counts == self.step_limit,
        )

    def controls(self, split: Demonstrations, seed: int) -> dict[str, Paths]:
        return {
            "straight": self.walk(split, straight(STRAIGHT)),
            "random": self.walk(split, random_walk(seed)),
            "expert": split.paths,
            "shortest path": self.walk(split, lambda simulator: simulator.expert(split.goal)),
        }

    def walk(self, split: Demonstrations, choose: Choose) -> Paths:
        """Paths of an agent that reads nothing: `choose` gives every row's action from the
        state."""
        viewpoint, heading = split.paths.viewpoint[:, 0], split.paths.heading[:, 0]
        paths = walk(
            self.buildings, viewpoint, heading.astype(np.int32), self.step_limit, choose
        )  # fmt: skip
        return paths.with_tokens(split.paths.tokens)

    def advice(self, split: Demonstrations, rows: np.ndarray, paths: Paths) -> np.ndarray:
        """STOP at the goal, as the last action of a whole episode, and in the padding."""
        steps = np.arange(paths.action.shape[1])
        goes_on = (steps < paths.length[:, None]) & (steps < self.step_limit - 1)
        goal = split.goal[rows][:, None]
        slot = self.buildings.next_slot(np.where(goes_on, paths.viewpoint, goal), goal)
        return (slot + 1).astype(np.int8)

    def record(
        self, split: Demonstrations, values: dict[str, np.ndarray], rollout: Rollout[Paths]
    ) -> list[dict[str, Any]]:
        names, lines = self.buildings.viewpoint_ids, []
        for row, episode in enumerate(split.episodes):
            count = int(rollout.paths.length[row])
            headings = rollout.paths.heading[row, :count] * (np.pi / 6)
            lines.append(
                {
                    "episode_id": episode.episode_id, "scan": episode.scan,
                    "instruction": episode.instruction,
                    "path": [names[v] for v in rollout.paths.viewpoint[row, :count]],
                    "headings": headings.round(4).tolist(),
                    "probability": [round(float(p), 4) for p in rollout.probability[row, :count]],
                    "reference": list(episode.path),
                    "success": bool(values["success"][row]),
                    "distance": round(float(values["navigation_error"][row]), 3),
                    "spl": round(float(values["spl"][row]), 4),
                    "forced_stop": count == self.step_limit,
                }
            )  # fmt: skip
        return lines

    def way(self, episode: Any) -> list[Any]:
        return list(episode.path)

    def new_frame_store(self, capacity: int) -> None:
        """Graphs have features in tables and no images."""

    def film(self, paths: Paths) -> list[np.ndarray]:
        """None: see `new_frame_store`."""
        return []


def _last(viewpoints: np.ndarray, counts: np.ndarray) -> np.ndarray:
    found: np.ndarray = viewpoints[np.arange(len(counts)), counts - 1][:, None]
    return found


def straight(steps: int) -> Choose:
    """Go where one faces, by the neighbour that turns least, `steps` times; then STOP."""

    def choose(simulator: GraphSimulator) -> np.ndarray:
        buildings, at = simulator.buildings, simulator.viewpoint
        turn = buildings.heading[at] - simulator.heading_bin[:, None] * (np.pi / 6)
        turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
        turn = np.where(buildings.neighbours[at] >= 0, turn, np.inf)
        return np.where(simulator.steps < steps, 1 + turn.argmin(1), 0)

    return choose


def random_walk(seed: int) -> Choose:
    """Any legal action, STOP included, with equal chances."""
    rng = np.random.default_rng(seed)

    def choose(simulator: GraphSimulator) -> np.ndarray:
        legal = simulator.legal()
        found: np.ndarray = np.argmax(legal * rng.random(legal.shape), axis=1)
        return found

    return choose
