"""Agents in navigation graphs, as roll-outs move them."""

from __future__ import annotations

import numpy as np
import torch

from envs.graph.simulator import GraphSimulator
from rayforge.irl.networks import Policy
from rayforge.irl.rollout import Rollout, follow_goals
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GEOMETRY, GraphObserver, Observation


def starts(viewpoint: np.ndarray, heading: np.ndarray, tokens: np.ndarray) -> Paths:
    """Goals to follow: B viewpoints and heading bins, int [B], with instructions, int16 [B, N]."""
    goals = Paths.zeros(len(viewpoint), 1, 1).with_tokens(tokens)
    goals.viewpoint[:, 0], goals.heading[:, 0] = viewpoint, heading
    return goals


class GraphAgents:
    """Agents in the batched graph simulator, as `rayforge.irl.rollout.follow_goals` moves them."""

    def __init__(self, observer: GraphObserver, simulator: GraphSimulator) -> None:
        self.observer, self.simulator = observer, simulator
        self.max_steps = observer.max_steps

    def start(self, goals: Paths) -> None:
        count = len(goals)
        self.simulator.reset(goals.viewpoint[:, 0], goals.heading[:, 0].astype(np.int32))
        self._viewpoints = np.zeros((count, self.max_steps), np.int32)
        self._headings = np.zeros((count, self.max_steps), np.int8)
        self._arrival = torch.zeros(count, GEOMETRY)

    def observe(self, policy: Policy, rows: np.ndarray, step: int) -> Observation:
        viewpoint, heading = self.simulator.viewpoint[rows], self.simulator.heading_bin[rows]
        self._viewpoints[rows, step], self._headings[rows, step] = viewpoint, heading
        self._at = (torch.from_numpy(viewpoint).long(), torch.from_numpy(heading).long())
        at = torch.full((len(rows), 1), step)
        found: Observation = self.observer(
            self._at[0][:, None], self._at[1][:, None], at, torch.ones_like(at, dtype=torch.bool),
            self._arrival[torch.from_numpy(rows), None],
        )  # fmt: skip
        return found

    def act(self, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
        taken = np.zeros(len(self._viewpoints), np.int64)
        taken[rows] = actions
        arrived = self.observer.arrivals(*self._at, torch.from_numpy(actions))
        self._arrival[torch.from_numpy(rows)] = arrived
        self.simulator.step(taken)
        found: np.ndarray = ~self.simulator.done[rows]
        return found

    def paths(self, action: np.ndarray, length: np.ndarray, tokens: np.ndarray) -> Paths:
        return Paths(self._viewpoints, self._headings, action, length, tokens)

    def images(self, paths: Paths) -> None:
        return None


def roll_out(
    policy: Policy, observer: GraphObserver, simulator: GraphSimulator, goals: Paths,
    draws: np.ndarray | None,
) -> Rollout[Paths]:  # fmt: skip
    """`follow_goals` in navigation graphs."""
    return follow_goals(policy, GraphAgents(observer, simulator), goals, draws)
