"""Rolling a policy out: one forward pass serves every episode of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from rayforge.irl.networks import Policy
from rayforge.irl.trunks.memory import Memory
from rayforge.language.encoder import Instructions
from rayforge.paths.arrays import Padded, join_paths
from rayforge.paths.observation import Observation

P = TypeVar("P", bound=Padded)


@dataclass(frozen=True)
class Rollout(Generic[P]):
    """What they did. An episode that took `max_steps` actions was stopped by the limit."""

    paths: P
    probability: np.ndarray  # float32 [B, T], pi of each action taken; 0 in the padding
    entropy: np.ndarray  # float32 [B], mean over the episode's steps, nats


def join_rollouts(parts: Sequence[Rollout[P]]) -> Rollout[P]:
    """Roll-outs of the same step limit, one after the other."""
    return Rollout(
        join_paths([part.paths for part in parts]),
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.entropy for part in parts]),
    )


class Agents(Protocol[P]):
    """B agents in a world, moved by `follow_goals`; what they see is made where they stand."""

    max_steps: int

    def start(self, goals: P) -> None:
        """Put an agent where each of the trajectories `goals` begins."""
        ...

    def observe(self, policy: Policy, rows: np.ndarray, step: int) -> Observation:
        """What the agents `rows` see before their action number `step`: T = 1."""
        ...

    def act(self, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Take one action each, int64 [n]; says who goes on, bool [n]."""
        ...

    def paths(self, action: np.ndarray, length: np.ndarray, tokens: np.ndarray) -> P:
        """What was done since `start`."""
        ...

    def images(self, paths: P) -> tuple[np.ndarray, ...] | None:
        """What was seen along paths, uint8 [T, H, W, C] each; None where states are looked up."""
        ...


@torch.inference_mode()
def follow_goals(
    policy: Policy, agents: Agents[P], goals: P, draws: np.ndarray | None
) -> Rollout[P]:
    """Follow the instructions of `goals` from their first states to STOP or the step limit.

    Actions are sampled by `draws`, float32 [B, max_steps] in [0, 1), a number for each step of
    each episode; None takes the best action. What an episode does depends on its own row alone
    (up to the rounding of batched products).
    """
    policy.eval()
    tokens: np.ndarray = goals.tokens
    count, limit = len(tokens), agents.max_steps
    agents.start(goals)
    actions = np.zeros((count, limit), np.int8)
    chances = np.zeros((count, limit), np.float32)
    entropies = np.zeros((count, limit), np.float32)
    length = np.zeros(count, np.int16)

    rows = np.arange(count)  # the episodes that go on
    instructions = policy.instruction_encoder(torch.from_numpy(tokens).long())
    memory: Memory | None = None
    for step in range(limit):
        seen = agents.observe(policy, rows, step)
        log_pi, memory = policy.step(seen, instructions, memory)
        pi = (log_pi.exp() * seen.legal)[:, 0]
        if draws is None:
            action = pi.argmax(1)
        else:
            draw = torch.from_numpy(draws[rows, step])
            cumulative = pi.cumsum(1)
            action = (cumulative <= draw[:, None] * cumulative[:, -1:]).sum(1)
        taken = action.numpy()
        actions[rows, step] = taken
        chances[rows, step] = pi.gather(1, action[:, None])[:, 0].numpy()
        entropies[rows, step] = -(pi * log_pi[:, 0]).sum(1).numpy()
        length[rows] = step + 1

        going = agents.act(rows, taken)
        if not going.any():
            break
        if not going.all():
            keep = torch.from_numpy(np.flatnonzero(going))
            rows = rows[going]
            instructions = Instructions(*(part.index_select(0, keep) for part in instructions))
            memory = tuple(part[keep] for part in memory)
    return Rollout(agents.paths(actions, length, tokens), chances, entropies.sum(1) / length)
