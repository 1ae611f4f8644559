"""Any trained agent in navigation graphs as one that follows requests in words, many at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from envs.graph.boxes import read_room_labels
from envs.graph.buildings import Buildings, heading_bin
from envs.graph.shortest_paths import shortest_paths
from envs.houses.lexicon import ROOM_WORDS
from envs.sessions.people import Route, routes_of
from rayforge.errors import DataError
from rayforge.irl.rollout import follow_goals
from rayforge.language.vocabulary import PAD
from rayforge.paths.arrays import Paths
from trainers.irl.evaluate import for_split
from trainers.irl.plan import PlannedAgent, open_agent
from trainers.irl.planned import Plans, load_planner
from trainers.irl.planner import BATCH, Planner, keys_of
from trainers.irl.run_folder import data_folder, load_run, resolve_split

PROMPTED = 128
"""Requests followed at a time."""


class Request(NamedTuple):
    """Words at a place."""

    building: str
    start: str
    heading: float
    text: str


class Walk(NamedTuple):
    """Where the agent went, and its own probability of that."""

    path: tuple[str, ...]
    confidence: float


class Follows(Protocol):
    """Whoever follows requests; `Follower` is one, and tests have others."""

    def walks(self, requests: Sequence[Request]) -> list[Walk]: ...

    def metres(self, building: str, here: str, there: str) -> float: ...

    def shortest(self, building: str, start: str, goal: str) -> tuple[str, ...]: ...


@dataclass
class Follower:
    """A run's agent in the buildings of a split. What it does for a request at a place is
    remembered: the same words there are followed the same way."""

    agent: PlannedAgent
    plans: Plans | None
    routes: Mapping[str, tuple[Route, ...]]
    rooms: Mapping[tuple[str, str], str]
    """The kind of room, in words, by building and viewpoint."""
    _known: dict[tuple[int, int, bytes], Walk] = field(default_factory=dict)
    _file: Path | None = None

    @classmethod
    def open(cls, run: Path, planner: str, data: str, split: str) -> Follower:
        """Raises RunError, ConfigurationError and DataError as the readers do."""
        config, _, _ = load_run(run)
        folder = Path(data) if data else data_folder(config)
        name = resolve_split(split, folder, config)
        agent = open_agent(run, (name,), folder, for_split(config, name))
        episodes = agent.task.data.splits[name]
        scans = sorted({episode.scan for episode in episodes})
        labels_file = folder / "vp2room_label.json"
        rooms = {}
        if labels_file.is_file():
            labels = read_room_labels(labels_file, scans)
            rooms = {place: ROOM_WORDS[label][0]
                     for place, label in labels.items() if label in ROOM_WORDS}  # fmt: skip
        routes = routes_of(episodes, rooms)
        if not routes:
            raise DataError(f"{folder}: split {name} has no episode whose goal is told")
        return cls(agent, load_planner(run, agent) if planner == "map" else None, routes, rooms)

    def remember(self, file: Path) -> None:
        """Keep walks in a file too, and take those that it holds: they are of this agent and this
        split, or nonsense. A line that a kill cut short is left out."""
        if file.is_file():
            for line in file.read_text().splitlines():
                try:
                    start, heading, tokens, path, confidence = json.loads(line)
                except ValueError:
                    continue
                key = (start, heading, bytes.fromhex(tokens))
                self._known[key] = Walk(tuple(path), confidence)
        self._file = file

    @property
    def buildings(self) -> Buildings:
        found: Buildings = self.agent.task.data.buildings
        return found

    def metres(self, building: str, here: str, there: str) -> float:
        places = self.buildings
        return float(places.distance(places.index(building, here), places.index(building, there)))

    def shortest(self, building: str, start: str, goal: str) -> tuple[str, ...]:
        """Viewpoints of the shortest way; the start alone where it takes too many steps."""
        places = self.buildings
        ends = np.array([places.index(building, start)]), np.array([places.index(building, goal)])
        limit = 4 * self.agent.config.max_steps
        paths, arrives = shortest_paths(places, ends[0], np.zeros(1, np.int32), ends[1], limit)
        names = places.viewpoint_ids
        count = int(paths.length[0]) if arrives[0] else 1
        return tuple(names[v] for v in paths.viewpoint[0, :count])

    def walks(self, requests: Sequence[Request]) -> list[Walk]:
        """What the agent does for requests."""
        if not requests:
            return []
        config, vocabulary = self.agent.config, self.agent.task.vocabulary
        tokens, _ = vocabulary.encode([request.text for request in requests], config.max_words)
        places = self.buildings
        start = np.array([places.index(r.building, r.start) for r in requests], np.int32)
        heading = np.array([int(heading_bin(r.heading)) for r in requests], np.int8)
        keys = [(int(s), int(h), t.tobytes())
                for s, h, t in zip(start, heading, tokens, strict=True)]  # fmt: skip
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        rows = np.array(list(new.values()), np.int64)
        for first in range(0, len(rows), PROMPTED):
            part = rows[first : first + PROMPTED]
            goals = Paths.zeros(len(part), 1, tokens.shape[1])
            goals.viewpoint[:, 0], goals.heading[:, 0] = start[part], heading[part]
            goals.length[:] = 1
            goals.tokens[:] = tokens[part]
            fresh = {keys[row]: walk
                     for row, walk in zip(part, self._follow(goals), strict=True)}  # fmt: skip
            self._known |= fresh
            if self._file is not None:
                lines = [json.dumps([*key[:2], key[2].hex(), walk.path, walk.confidence]) + "\n"
                         for key, walk in fresh.items()]  # fmt: skip
                with self._file.open("a") as kept:
                    kept.write("".join(lines))
        return [self._known[key] for key in keys]

    def _follow(self, goals: Paths) -> list[Walk]:
        if self.plans is None:
            world, policy = self.agent.task.world, self.agent.module.policy
            agents = world.agents(world.observer(), keep=False)
            done = follow_goals(policy, agents, _trimmed(goals), None)
            # The probability of the whole walk is small; an action's mean one can be compared.
            chance = done.probability.sum(1) / np.maximum(done.paths.length, 1)
            return self._named(done.paths, chance)
        plans = self.plans
        planner: Planner = self._planner(plans)
        found: list[Walk] = []
        for first in range(0, len(goals), BATCH):
            part = goals[first : first + BATCH]
            paths, mass = planner.choose(plans.ways.trees(part), part.tokens, keys_of(part))
            found += self._named(paths, mass)
        return found

    def _planner(self, plans: Plans) -> Planner:
        if not plans.planner.weights:
            plans.planner.weights = plans.weights["map"]
        return plans.planner

    def _named(self, paths: Any, chance: np.ndarray) -> list[Walk]:
        names = self.buildings.viewpoint_ids
        return [
            Walk(tuple(names[v] for v in paths.viewpoint[row, : int(paths.length[row])]),
                 float(np.clip(chance[row], 0.0, 1.0)))
            for row in range(len(paths))
        ]  # fmt: skip


def _trimmed(goals: Paths) -> Paths:
    words = max(1, int((goals.tokens != PAD).sum(1).max()))
    return goals.with_tokens(goals.tokens[:, :words])
