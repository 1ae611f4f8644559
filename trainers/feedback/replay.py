"""Counterfactual replay in navigation graphs: one stage after the other replaced by its oracle.

Designed here. An agent that was trained end to end has no stages to look into, so that an oracle is
information: what the agent would have done had it known this.

    heard       the words as they were said, instead of as they were heard
    understood  a person's full instruction for the way, instead of what was said
    grounded    the rooms that are meant: it does not enter a kind of room that is not on the way
    progress    whether it has strayed: it takes back a step that leads 3 m off the way, once at
                each place, and makes its next choice
    action      the next step towards the goal; when to stop stays its own decision
    STOP        where the goal is: with all oracles every episode succeeds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from envs.graph.agents import GraphAgents
from envs.graph.buildings import Buildings, heading_bin
from envs.graph.simulator import GraphSimulator
from envs.progress import Progress
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.feedback.failure_points import STAGES, replay_points
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver
from trainers.irl.plan import PlannedAgent

HEARD, UNDERSTOOD, GROUNDED, PROGRESS, ACTION, STOP = range(1, len(STAGES) + 1)
"""How many oracles there are when the stage's own is the last one."""
STRAYED = 3.0
TOGETHER = 128


class Episode(NamedTuple):
    """One request for a way, with what only a simulation knows."""

    building: str
    way: tuple[str, ...]
    heading: float
    heard: str
    said: str
    meant: str
    """A person's full instruction for the way."""


@dataclass(frozen=True)
class Fault:
    """A stage that is broken on purpose at one step, for one episode; its oracle mends it."""

    stage: int
    """GROUNDED, PROGRESS, ACTION or STOP; what is heard and said is broken in the words."""
    step: int
    draw: float
    """In [0, 1): which of the wrong choices."""


class Replay:
    """Episodes of an agent, replayed with any number of oracles."""

    def __init__(
        self, agent: PlannedAgent, rooms: dict[tuple[str, str], str], episodes: Sequence[Episode],
        faults: Sequence[Fault | None] | None = None,
    ) -> None:  # fmt: skip
        """`rooms`: the kind of room of each viewpoint; a place without one is in no wrong room."""
        self.agent, self.episodes = agent, episodes
        self.faults = list(faults) if faults is not None else [None] * len(episodes)
        places: Buildings = agent.task.data.buildings
        self.buildings = places
        label = np.full(len(places.viewpoint_ids), -1)
        kinds = {kind: number for number, kind in enumerate(sorted(set(rooms.values())))}
        for name in sorted({episode.building for episode in episodes}):
            for place in self._places_of(name):
                kind = rooms.get((name, places.viewpoint_ids[place]))
                label[place] = -1 if kind is None else kinds[kind]
        self._ways = [
            np.array([places.index(e.building, name) for name in e.way]) for e in episodes
        ]
        self._goal = np.array([way[-1] for way in self._ways])
        self._first = np.zeros(len(episodes), np.int64)
        """Of each episode the first viewpoint of its building, at which the next two begin."""
        self._wrong: list[np.ndarray] = []
        """Which viewpoints are in a kind of room that no place of the way is in."""
        self._off: list[np.ndarray] = []
        """Which viewpoints are `STRAYED` from every place of the way."""
        for row, (episode, way) in enumerate(zip(episodes, self._ways, strict=True)):
            own = np.array(self._places_of(episode.building))
            self._first[row] = own[0]
            self._wrong.append(~np.isin(label[own], np.append(label[way], -1)))
            far = (places.distance(own[:, None], way[None, :]) >= STRAYED).all(1)
            self._off.append(far & ~np.isin(own, way))

    def _places_of(self, building: str) -> range:
        places = self.buildings
        number = places.scans.index(building)
        return range(int(places.first[number]), int(places.first[number + 1]))

    def succeeds(self, oracles: int, rows: np.ndarray) -> np.ndarray:
        """Whether episodes succeed with the first `oracles` stages' oracles, bool [rows]."""
        ends = self.ends(oracles, rows)
        found: np.ndarray = self.buildings.distance(ends, self._goal[rows]) < SUCCESS_METRES
        return found

    def ends(self, oracles: int, rows: np.ndarray) -> np.ndarray:
        """Where the agent stops, viewpoints int [rows]."""
        if oracles >= STOP:
            goals: np.ndarray = self._goal[rows]
            return goals
        parts = []
        with Progress(f"replaying with {oracles} oracles", len(rows)) as progress:
            for k in range(0, len(rows), TOGETHER):
                parts.append(self._walk(oracles, rows[k : k + TOGETHER])[:, -1])
                progress.add(len(parts[-1]))
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def walks(self, rows: np.ndarray) -> list[list[str]]:
        """Viewpoint ids of the way that the agent goes without any oracle, of each row."""
        names = self.buildings.viewpoint_ids
        found = []
        for trail in self._walk(0, rows):
            moved = np.flatnonzero(np.diff(trail)) + 1
            found.append([names[place] for place in trail[[0, *moved]]])
        return found

    def points(self) -> np.ndarray:
        """The failure point of each episode: a number of `STAGES`, -1 where it succeeds."""
        return replay_points(self.succeeds, len(self.episodes))

    @torch.inference_mode()
    def _walk(self, oracles: int, rows: np.ndarray) -> np.ndarray:
        """Viewpoints [rows, steps + 1]; who has stopped stays where it is."""
        policy, config = self.agent.module.policy.eval(), self.agent.config
        chosen = [self.episodes[row] for row in rows]
        texts = [
            e.meant if oracles >= UNDERSTOOD else e.said if oracles >= HEARD else e.heard
            for e in chosen
        ]
        tokens, _ = self.agent.task.vocabulary.encode(texts, config.max_words)
        observer: GraphObserver = self.agent.task.world.observer()
        simulator = GraphSimulator(self.buildings, config.max_steps)
        agents = GraphAgents(observer, simulator)
        goals = Paths.zeros(len(rows), 1, tokens.shape[1])
        goals.viewpoint[:, 0] = [self._ways[row][0] for row in rows]
        goals.heading[:, 0] = [int(heading_bin(e.heading)) for e in chosen]
        agents.start(goals.with_tokens(tokens))
        going = np.arange(len(rows))
        trail = [simulator.viewpoint.copy()]
        instructions = policy.instruction_encoder(torch.from_numpy(tokens).long())
        memory: Memory | None = None
        for step in range(config.max_steps):
            seen = agents.observe(policy, going, step)
            log_pi, memory = policy.step(seen, instructions, memory)
            legal = seen.legal[:, 0].numpy() > 0
            scores = np.where(legal, log_pi[:, 0].numpy(), -np.inf)
            actions = self._choose(scores, legal, rows[going], simulator.viewpoint[going],
                                   step, oracles)  # fmt: skip
            more = agents.act(going, actions)
            trail.append(simulator.viewpoint.copy())
            if not more.any():
                break
            if not more.all():
                keep = torch.from_numpy(np.flatnonzero(more))
                going = going[more]
                instructions = Instructions(*(part.index_select(0, keep) for part in instructions))
                memory = tuple(part[keep] for part in memory)
        return np.stack(trail, 1).astype(np.int64)

    def _choose(
        self, scores: np.ndarray, legal: np.ndarray, rows: np.ndarray, here: np.ndarray,
        step: int, oracles: int,
    ) -> np.ndarray:  # fmt: skip
        """The action of each row: the agent's best, held against faults and oracles."""
        neighbours = self.buildings.neighbours[here]
        expert = self.buildings.next_slot(here, self._goal[rows]) + 1
        actions = np.zeros(len(rows), np.int64)
        for n, row in enumerate(rows):
            own, fault = scores[n].copy(), self.faults[row]
            there = neighbours[n]
            if fault is not None and fault.stage > oracles:
                own = self._broken(own, fault, row, int(here[n]), there, step, int(expert[n]))
            if oracles >= GROUNDED:
                own[1:][self._wrong_room(row, there)] = -np.inf
                if not np.isfinite(own).any():
                    own = scores[n].copy()
            best = int(own.argmax())
            if oracles >= ACTION:
                if best and legal[n, expert[n]]:
                    # At the goal the expert would stop; whoever does not walks on by itself.
                    best = int(expert[n]) or best
            elif oracles >= PROGRESS and best and self._strays(row, there)[best - 1]:
                own[best] = -np.inf
                best = int(own.argmax()) if np.isfinite(own).any() else best
            actions[n] = best
        return actions

    def _wrong_room(self, row: int, there: np.ndarray) -> np.ndarray:
        """Which neighbours [K] are in a kind of room that no place of the way is in."""
        return self._at(self._wrong, row, there)

    def _strays(self, row: int, there: np.ndarray) -> np.ndarray:
        """Which neighbours [K] are off the way."""
        return self._at(self._off, row, there)

    def _at(self, flags: list[np.ndarray], row: int, there: np.ndarray) -> np.ndarray:
        found: np.ndarray = flags[row][np.maximum(there - self._first[row], 0)] & (there >= 0)
        return found

    def _broken(
        self,
        own: np.ndarray,
        fault: Fault,
        row: int,
        here: int,
        there: np.ndarray,
        step: int,
        expert: int,
    ) -> np.ndarray:
        """Scores under a fault: a wrong choice is made at its step, and it is gone on from."""
        here_at_goal = expert == 0
        if fault.stage == STOP:
            if step == fault.step and not here_at_goal:
                own[0] = 1e6  # too early
            elif here_at_goal and fault.step < 0:
                own[0] = -np.inf if np.isfinite(own[1:]).any() else own[0]  # never
            return own
        if step < fault.step:
            return own
        open_ = np.isfinite(own[1:]) & (there >= 0)
        if fault.stage == ACTION:  # it takes no step that leads nearer to the goal
            goal, places = self._goal[row], self.buildings
            left = places.distance(np.where(there >= 0, there, goal), goal)
            own[1:][open_ & (left < places.distance(here, goal))] = -np.inf
            return own
        wrong_room = self._wrong_room(row, there)
        if fault.stage == GROUNDED:
            wrong = np.flatnonzero(open_ & wrong_room)
        else:
            wrong = np.flatnonzero(open_ & ~wrong_room & self._strays(row, there))
        if not len(wrong):
            return own
        own[1 + wrong[int(fault.draw * len(wrong))]] += 1e6
        return own
