"""What a planner would choose for every instruction of a split, whatever its scores weigh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from envs.graph.buildings import Buildings
from envs.graph.simulator import GraphSimulator
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.planning import (
    fit_weights,
    log_choice,
    log_mass,
    minimum_risk,
    representatives,
)
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver
from rayforge.paths.tree import PathTree
from trainers.irl.planner import (
    BATCH,
    COSTLY,
    Planner,
    Ways,
    alike,
    keys_of,
    sampled,
    succeeding,
)


class Choices(NamedTuple):
    """Scores of the candidates of a split's instructions, and which succeed."""

    names: tuple[str, ...]
    values: Tensor  # [K, n, C]
    present: Tensor  # bool [n, C]
    good: Tensor  # bool [n, C]
    alike: Tensor  # bool [n, C, C]
    rank: Tensor | None = None  # int64 [n, C], the roll-out that a candidate was first

    def among(self, count: int) -> Choices:
        """The same with the first `count` roll-outs alone."""
        assert self.rank is not None
        return self._with(self.present & (self.rank < count))

    def shortlisted(self, weights: Mapping[str, float], count: int) -> Choices:
        """The same when the costly score is asked for `count` candidates of each instruction alone,
        as `Planner.beliefs` does with such a shortlist."""
        others = {name: weight for name, weight in weights.items() if name != COSTLY}
        rows = [self.names.index(name) for name in others]
        cheap = log_choice(self.values[rows], torch.tensor(list(others.values())), self.present)
        _, stands = representatives(cheap.exp(), self.alike, count)
        values, costly = self.values.clone(), self.names.index(COSTLY)
        values[costly] = values[costly].gather(1, stands.clamp(min=0))
        return self._replace(values=values)._with(self.present & (stands >= 0))

    def _with(self, present: Tensor) -> Choices:
        return self._replace(
            present=present,
            good=self.good & present,
            alike=self.alike & present[:, :, None] & present[:, None, :],
        )

    @classmethod
    def of(
        cls, planner: Planner, split: Demonstrations, names: Sequence[str],
        trees: Callable[[np.ndarray], list[PathTree]], keyed: bool, tokens: np.ndarray,
    ) -> Choices:  # fmt: skip
        """`trees` gives the candidates of rows of the split; with `keyed` they are a map's. The
        instructions are `tokens` int16 [n, N]."""
        parts, goods, near = [], [], []
        for start in range(0, len(split), BATCH):
            rows = np.arange(start, min(start + BATCH, len(split)))
            own = trees(rows)
            keys = keys_of(split.paths[rows]) if keyed else None
            scored = planner.score(names, own, tokens[rows], keys)
            parts.append(scored)
            goods.append(succeeding(planner.buildings, own, split.goal[rows]) & scored.present)
            near.append(alike(planner.buildings, own, scored.present))
        width = max(good.shape[1] for good in goods)
        return cls(
            tuple(names),
            torch.cat([_wide(part.values, width) for part in parts], 1),
            torch.cat([_wide(part.present, width) for part in parts]),
            torch.cat([_wide(part, width) for part in goods]),
            torch.cat([_wide(_wide(part, width).mT, width).mT for part in near]),
        )

    def fit(self, names: Sequence[str]) -> Fitted:
        """Weights of the named scores by maximum likelihood."""
        rows = [self.names.index(name) for name in names]
        values, right = self.values[rows], self.good.any(-1)
        weights = fit_weights(values, self.good, self.present)
        log_p = log_choice(values, weights, self.present)
        return Fitted(
            dict(zip(names, weights.tolist(), strict=True)),
            float(-log_mass(log_p[right], self.good[right]).mean()),
        )

    def success(self, weights: Mapping[str, float]) -> np.ndarray:
        """Which instructions the choice of least risk succeeds for, float64 [n]."""
        rows = [self.names.index(name) for name in weights]
        log_p = log_choice(self.values[rows], torch.tensor(list(weights.values())), self.present)
        best = minimum_risk(log_p, self.alike)
        found: np.ndarray = self.good.gather(1, best[:, None])[:, 0].double().numpy()
        return found


def ensemble_success(members: Sequence[tuple[Choices, Mapping[str, float]]]) -> np.ndarray:
    """`Choices.success` of an ensemble: what each member's scores make of the same candidates, by
    its own weights, is averaged. float64 [n]."""
    first = members[0][0]
    parts = []
    for choices, weights in members:
        rows = [choices.names.index(name) for name in weights]
        told = torch.tensor(list(weights.values()))
        parts.append((choices.values[rows] * told[:, None, None]).sum(0))
    mean = torch.stack(parts).mean(0, keepdim=True)
    together = first._replace(names=("mean",), values=mean)
    return together.success({"mean": 1.0})


class Fitted(NamedTuple):
    """Weights by name, and the loss with them."""

    weights: dict[str, float]
    nats: float
    """- log P(success), the mean over instructions that some candidate succeeds for."""


def mapped(
    planner: Planner, ways: Ways, split: Demonstrations, names: Sequence[str],
    tokens: np.ndarray | None = None,
) -> Choices:  # fmt: skip
    """The choices of a split on its map, under its own instructions or others int16 [n, N]."""
    tokens = split.paths.tokens if tokens is None else tokens
    return Choices.of(
        planner, split, names, lambda rows: ways.trees(split.paths[rows]), True, tokens
    )


def imagined(
    planner: Planner, module: Agent, split: Demonstrations, count: int,
    tokens: np.ndarray | None = None,
) -> Choices:  # fmt: skip
    """The choices of a split among `count` roll-outs each, the first of them the policy's best;
    `rank` says which roll-out a candidate was first. Path lengths are the policy's own: they are no
    score."""
    tokens = split.paths.tokens if tokens is None else tokens
    ranks: list[np.ndarray] = []

    def trees(rows: np.ndarray) -> list[PathTree]:
        asked = split.paths[rows].with_tokens(tokens[rows])
        found = roll_outs(module, planner.buildings, asked, count, int(rows[0]))
        ranks.extend(rank for _, rank in found)
        return [tree for tree, _ in found]

    names = [name for name in planner.scores if name != "length"]
    choices = Choices.of(planner, split, names, trees, False, tokens)
    rank = np.zeros(choices.present.shape, np.int64)
    for row, own in enumerate(ranks):
        rank[row, : len(own)] = own
    return choices._replace(rank=torch.from_numpy(rank))


def roll_outs(
    module: Agent, buildings: Buildings, paths: Paths, count: int, seed: int
) -> list[tuple[PathTree, np.ndarray]]:
    """`sampled` roll-outs for the starts and instructions of paths, drawn by a seed."""
    observer = module.observer
    assert isinstance(observer, GraphObserver)
    draws = np.random.default_rng(seed).random(
        (len(paths), count - 1, observer.max_steps), np.float32
    )
    simulator = GraphSimulator(buildings, observer.max_steps)
    return sampled(module.policy, observer, simulator, paths, count, draws)


def _wide(values: Tensor, width: int) -> Tensor:
    return F.pad(values, (0, width - values.shape[-1]))
