"""A reward learnt behind some walls, frozen, and solved for behind others (docs/langgoal.md).

A field of 5 x 5 cells, three landmarks, and a token that names the one to stop at. Adversarial
training by the very losses, with policies solved for exactly. A reward of the state alone survives
the change of walls; one of state and action, which may be shaped by the old walls, need not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rayforge.irl import losses
from rayforge.irl.networks import log_policy

SIDE, TOKENS, GAMMA, STEPS = 5, 3, 0.95, 24
ROUNDS, SWEEPS = 150, 15
CELLS, STOP = SIDE * SIDE, 4
LANDMARKS = torch.tensor([4, 12, 20])
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))


class Map(NamedTuple):
    legal: Tensor  # bool [CELLS, 5]; the last action is STOP
    following: Tensor  # int64 [CELLS, 5]


def field(walls: set[frozenset[int]]) -> Map:
    """The field with walls between pairs of cells."""
    legal = torch.zeros(CELLS, 5, dtype=torch.bool)
    following = torch.arange(CELLS)[:, None].repeat(1, 5)
    legal[:, STOP] = True
    for cell in range(CELLS):
        x, y = cell % SIDE, cell // SIDE
        for action, (dx, dy) in enumerate(MOVES):
            other = (y + dy) * SIDE + x + dx
            inside = 0 <= x + dx < SIDE and 0 <= y + dy < SIDE
            if inside and frozenset((cell, other)) not in walls:
                legal[cell, action], following[cell, action] = True, other
    return Map(legal, following)


def column(x: int, open_at: int) -> set[frozenset[int]]:
    """A wall right of column x with one opening."""
    return {frozenset((y * SIDE + x, y * SIDE + x + 1)) for y in range(SIDE) if y != open_at}


OLD = field(column(1, 0) | column(3, 4))
NEW = field(column(1, 4) | column(3, 0))


def solve(f: Tensor, world: Map, value: Tensor | None = None, sweeps: int = 60) -> Tensor:
    """log pi [TOKENS, CELLS, 5] of the soft policy of f at temperature 1."""
    done = torch.zeros(5)
    done[STOP] = 1.0
    legal = world.legal.expand_as(f)
    value = torch.zeros(TOKENS, CELLS) if value is None else value
    for _ in range(sweeps):
        q = losses.critic_target(f, value[:, world.following], done, GAMMA)
        log_pi = log_policy(q, legal)
        value = losses.soft_value(q, log_pi, legal, 1.0)
    return log_pi


def visits(log_pi: Tensor, world: Map) -> tuple[Tensor, float]:
    """Expected counts [TOKENS, CELLS, 5] from uniform starts, and the share that stops right."""
    pi = log_pi.exp() * world.legal
    at = torch.full((TOKENS, CELLS), 1.0 / CELLS)
    counts = torch.zeros_like(pi)
    for _ in range(STEPS):
        taken = at[..., None] * pi
        counts += taken
        moving = taken[..., :STOP].flatten(1)
        at = torch.zeros_like(at).index_add(1, world.following[:, :STOP].flatten(), moving)
    right = counts[torch.arange(TOKENS), LANDMARKS, STOP].mean()
    return counts, float(right)


def truth() -> Tensor:
    """The expert's reward: a price for each move, and STOP is right at one landmark alone."""
    f = torch.full((TOKENS, CELLS, 5), -1.0)
    f[..., STOP] = -10.0
    f[torch.arange(TOKENS), LANDMARKS, STOP] = 10.0
    return f


def learnt(shaped: bool) -> Tensor:
    """f [TOKENS, CELLS, 5] by alternating the discriminator's steps with exact soft policies on the
    old map, against the soft policy of `truth` as the expert.

    `shaped`: f = g + gamma h(s') - h(s), where g is what STOP is worth by the landmark there and a
    price of moves, and h may take up the walls; what is returned is g, as AIRL has it. Otherwise a
    number for each state and action.
    """
    kinds = torch.full((CELLS,), TOKENS)
    kinds[LANDMARKS] = torch.arange(TOKENS)
    stop = torch.zeros(TOKENS, TOKENS + 1, requires_grad=True)
    move = torch.zeros(1, requires_grad=True)
    potential = torch.zeros(TOKENS, CELLS, requires_grad=True)
    free = torch.zeros(TOKENS, CELLS, 5, requires_grad=True)
    parameters = [stop, move, potential] if shaped else [free]
    optimizer = torch.optim.Adam(parameters, lr=0.3)
    positive, _ = visits(solve(truth(), OLD), OLD)
    goes_on = torch.ones(5)
    goes_on[STOP] = 0.0

    def unshaped() -> Tensor:
        moves = move.expand(TOKENS, CELLS, 4)
        return torch.cat([moves, stop[:, kinds][..., None]], -1)

    for _ in range(ROUNDS):
        f = free
        if shaped:  # the potential after STOP is 0
            following = potential[:, OLD.following] * goes_on
            f = unshaped() + GAMMA * following - potential[..., None]
        log_pi = solve(f.detach(), OLD, sweeps=SWEEPS)
        negative, _ = visits(log_pi, OLD)
        logit = losses.discriminator_logit(f, log_pi) * OLD.legal
        loss = losses.discriminator_loss(logit, positive, negative, smoothing=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return unshaped().detach() if shaped else free.detach()


def arrives(f: Tensor, world: Map) -> float:
    """Share of episodes that stop at the right landmark under the soft policy of f."""
    return visits(solve(f, world), world)[1]


def test_a_frozen_reward_leads_to_the_goal_behind_other_walls_where_cloning_does_not() -> None:
    best = arrives(truth(), NEW)
    assert best > 0.9
    reward = learnt(shaped=True)
    assert arrives(reward, OLD) == pytest.approx(arrives(truth(), OLD), abs=0.03)
    assert arrives(reward, NEW) == pytest.approx(best, abs=0.03)
    cloned = solve(truth(), OLD).masked_fill(~NEW.legal, -math.inf).log_softmax(-1)
    _, clone = visits(cloned.nan_to_num(neginf=-50.0), NEW)
    assert clone < best - 0.4, "what was done behind the old walls runs into the new ones"
    # A number for each state and action serves where it was learnt, and holds the old walls.
    walled = learnt(shaped=False)
    assert arrives(walled, OLD) == pytest.approx(arrives(truth(), OLD), abs=0.03)
    assert arrives(walled, NEW) < best - 0.4
