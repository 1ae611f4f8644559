"""An agent that plans on a map: every path that people could mean, scored, weighed, chosen from.

A building that was walked before is known as a navigation graph. Candidates are the shortest paths
from the start of as many edges as described paths have. Nothing here reads an instruction or a path
of the building but the instruction to be followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from envs.graph.agents import roll_out
from envs.graph.buildings import Buildings
from envs.graph.shortest_paths import ways_from
from envs.graph.simulator import GraphSimulator
from rayforge.evaluation.metrics import SUCCESS_METRES
from rayforge.goals.generator import GoalGenerator
from rayforge.irl.agent import Agent
from rayforge.irl.networks import Policy
from rayforge.irl.path_reward import PathReward, Recalled, tree_log_policy
from rayforge.irl.planning import log_choice, minimum_risk, representatives
from rayforge.language.vocabulary import PAD
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GraphObserver
from rayforge.paths.tree import PathTree, TreeBatch

Key = tuple[int, int]
"""Where a tree starts: viewpoint and heading bin."""
BATCH = 32
"""Instructions scored at a time."""


class Ways:
    """The candidates from every start of some buildings, enumerated once."""

    def __init__(self, buildings: Buildings, edges: tuple[int, int], max_steps: int) -> None:
        """`edges`: fewest and most of a candidate, both inclusive."""
        self.buildings, self.edges, self.max_steps = buildings, edges, max_steps
        self._trees: dict[Key, PathTree] = {}

    def tree(self, key: Key) -> PathTree:
        if key not in self._trees:
            paths = ways_from(self.buildings, *key, self.edges, self.max_steps)
            self._trees[key] = PathTree.of(paths)
        return self._trees[key]

    def trees(self, paths: Paths) -> list[PathTree]:
        """Of the start of each path."""
        return [self.tree(key) for key in keys_of(paths)]


def sampled(
    policy: Policy, observer: GraphObserver, simulator: GraphSimulator, goals: Paths, count: int,
    draws: np.ndarray,
) -> list[tuple[PathTree, np.ndarray]]:  # fmt: skip
    """What the policy does for each of G goals when rolled out in a model of the building: the
    different ones of its best way and `count` - 1 sampled ones, and the number of the roll-out that
    each was first, from 0. `draws` float32 [G, count - 1, max_steps] in [0, 1)."""
    best = roll_out(policy, observer, simulator, goals, None).paths
    rows = np.repeat(np.arange(len(goals)), count - 1)
    parts = [best]
    if count > 1:
        flat = draws[:, : count - 1].reshape(len(rows), -1)
        parts.append(roll_out(policy, observer, simulator, goals[rows], flat).paths)
    every, owner = join_paths(parts), np.concatenate([np.arange(len(goals)), rows])
    return [PathTree.of(every[owner == row]).distinct() for row in range(len(goals))]


def ends_of(trees: Sequence[PathTree]) -> np.ndarray:
    """Where the candidates of each tree end, int64 [G, C]; the start in the padding."""
    width = max(len(tree.paths) for tree in trees)
    ends = np.repeat(np.array([tree.viewpoint[0] for tree in trees])[:, None], width, 1)
    for row, tree in enumerate(trees):
        ends[row, : len(tree.paths)] = tree.ends
    return ends


def succeeding(buildings: Buildings, trees: Sequence[PathTree], goal: np.ndarray) -> Tensor:
    """Which candidates succeed for goals int [G] by R2R's rule, bool [G, C]; padding means
    nothing."""
    return torch.from_numpy(buildings.distance(ends_of(trees), goal[:, None]) < SUCCESS_METRES)


def alike(buildings: Buildings, trees: Sequence[PathTree], present: Tensor) -> Tensor:
    """Which candidates succeed where another was meant, bool [G, C, C]; False in the padding."""
    ends = ends_of(trees)
    near = buildings.distance(ends[:, :, None], ends[:, None, :]) < SUCCESS_METRES
    return torch.from_numpy(near) & present[:, :, None] & present[:, None, :]


def keys_of(paths: Paths) -> list[Key]:
    """Where each path starts."""
    return list(zip(paths.viewpoint[:, 0].tolist(), paths.heading[:, 0].tolist(), strict=True))


class Score(Protocol):
    """A number for every candidate under an instruction."""

    def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> Sequence[Any]:
        """What is the same for every instruction, of each tree by itself."""
        ...

    def read(
        self, recalled: Sequence[Any], trees: TreeBatch, asked: Tensor, tokens: Tensor
    ) -> Tensor:
        """[G, C] of the candidates under an instruction each, tokens int64 [G, N]. Only those that
        are `asked`, bool [G, C], need a value."""
        ...


class PolicyScore:
    """log pi(tau | G)."""

    def __init__(self, policy: Policy, observer: GraphObserver) -> None:
        self.policy, self.observer = policy.eval(), observer

    def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> list[Recalled]:
        seen = trees.observe(self.observer)
        return Recalled.of(self.policy, trees, seen).split([len(tree) for tree in own])

    def read(
        self, recalled: Sequence[Any], trees: TreeBatch, asked: Tensor, tokens: Tensor
    ) -> Tensor:
        return tree_log_policy(self.policy, Recalled.join(recalled), trees, tokens)


class RewardScore:
    """R(tau, G)."""

    def __init__(self, reward: PathReward, observer: GraphObserver) -> None:
        self.reward, self.observer = reward.eval(), observer

    def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> list[Recalled]:
        seen = trees.observe(self.observer)
        return self.reward.recall(trees, seen).split([len(tree) for tree in own])

    def read(
        self, recalled: Sequence[Any], trees: TreeBatch, asked: Tensor, tokens: Tensor
    ) -> Tensor:
        found: Tensor = self.reward(Recalled.join(recalled), trees, tokens)
        return found


class GeneratorScore:
    """log p(G | tau, z = 0)."""

    def __init__(self, generator: GoalGenerator, observer: GraphObserver) -> None:
        self.generator, self.observer = generator.eval(), observer

    def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> list[tuple[Tensor, Tensor]]:
        counts = [len(tree.paths) for tree in own]
        c = {
            name: torch.from_numpy(array.astype(np.int64))
            for name, array in join_paths([tree.paths for tree in own]).arrays().items()
        }
        seen = self.observer.observe_batch(c, None)
        path, real = self.generator.encode_path(seen, c["action"], c["length"])
        return list(zip(path.split(counts), real.split(counts), strict=True))

    def read(
        self, recalled: Sequence[Any], trees: TreeBatch, asked: Tensor, tokens: Tensor
    ) -> Tensor:
        steps = max(path.shape[1] for path, _ in recalled)
        path = torch.cat([F.pad(p, (0, 0, 0, steps - p.shape[1])) for p, _ in recalled])
        real = torch.cat([F.pad(r, (0, steps - r.shape[1])) for _, r in recalled])
        wanted = asked[trees.present]  # the paths stand one after the other, tree by tree
        found = torch.zeros(trees.present.shape)
        words = tokens[asked.nonzero()[:, 0]]
        found[asked] = self.generator.log_likelihood(path[wanted], real[wanted], words)
        return found


class LengthScore:
    """How much likelier a path's number of edges is among described paths than among candidates:
    what can be had without reading."""

    def __init__(self, log_ratio: Sequence[float]) -> None:
        """`log_ratio` by number of edges."""
        self.log_ratio = np.array(log_ratio, np.float32)

    @classmethod
    def of(cls, ways: Ways, paths: Paths) -> LengthScore:
        """From demonstrations; a number of edges that none has counts as half of one."""
        most = ways.edges[1]
        described = np.bincount(np.minimum(paths.length - 1, most), minlength=most + 1)
        offered = np.zeros(most + 1)
        for key in keys_of(paths):
            edges = ways.tree(key).paths.length - 1
            offered += np.bincount(edges, minlength=most + 1) / len(edges)
        return cls(np.log((described + 0.5) / (offered + 0.5)).tolist())

    def recall(self, trees: TreeBatch, own: Sequence[PathTree]) -> list[Tensor]:
        most = len(self.log_ratio) - 1
        edges = [np.minimum(tree.paths.length - 1, most) for tree in own]
        return [torch.from_numpy(self.log_ratio[count]) for count in edges]

    def read(
        self, recalled: Sequence[Any], trees: TreeBatch, asked: Tensor, tokens: Tensor
    ) -> Tensor:
        return pad_sequence(list(recalled), batch_first=True)


def scores_of(module: Agent, length: LengthScore, reward: PathReward | None) -> dict[str, Score]:
    """Every score of an agent's planner by name."""
    observer = module.observer
    assert isinstance(observer, GraphObserver)
    scores: dict[str, Score] = {"length": length, "policy": PolicyScore(module.policy, observer)}
    if module.generator is not None:
        scores["generator"] = GeneratorScore(module.generator, observer)
    if reward is not None:
        scores["reward"] = RewardScore(reward, observer)
    return scores


class Scored(NamedTuple):
    """Scores of the candidates of G instructions."""

    values: Tensor  # [K, G, C]
    present: Tensor  # bool [G, C]


COSTLY = "generator"
"""The score that costs more than all others: it writes the instruction once for every candidate."""
MEMBER = " of member "
"""Between a score's name and the number of the ensemble's member whose it is, from 2 on."""


def is_costly(name: str) -> bool:
    """Whether a score is a member's COSTLY one."""
    return name.partition(MEMBER)[0] == COSTLY


class Planner:
    """Chooses among the candidates of a tree. What scores recall of a tree is kept by its key."""

    def __init__(
        self, buildings: Buildings, scores: Mapping[str, Score], weights: Mapping[str, float],
        shortlist: int = 0,
    ) -> None:  # fmt: skip
        """`weights` by the names of `scores`; a score without one is not asked. `shortlist`: for
        how many candidates of a tree the costly score is asked, those that the others choose; each
        of them stands for the candidates near its end. 0: for all."""
        self.buildings, self.scores, self.weights = buildings, scores, weights
        self.shortlist = shortlist
        self._recalled: dict[tuple[str, Key], Any] = {}

    def with_weights(self, weights: Mapping[str, float], shortlist: int = 0) -> Planner:
        """The same scores, weighed otherwise, with the same memory of trees."""
        other = Planner(self.buildings, self.scores, weights, shortlist)
        other._recalled = self._recalled
        return other

    @torch.no_grad()
    def score(
        self, names: Sequence[str], own: Sequence[PathTree], tokens: np.ndarray,
        keys: Sequence[Key] | None = None, asked: Tensor | None = None,
    ) -> Scored:  # fmt: skip
        """The named scores of all candidates of trees under instructions int16 [G, N], or of those
        that are `asked`, bool [G, C]. With `keys` the trees are those of a map, and what is
        recalled of them is kept."""
        trees = TreeBatch.of(own)
        asked = trees.present if asked is None else asked
        words = torch.from_numpy(tokens.astype(np.int64))
        words = words[:, : max(1, int((words != PAD).sum(1).max()))]
        found = []
        for name in names:
            score = self.scores[name]
            if keys is None:
                parts = score.recall(trees, own)
            else:
                self._recall(name, keys, own)
                parts = [self._recalled[name, key] for key in keys]
            found.append(score.read(parts, trees, asked, words))
        return Scored(torch.stack(found), trees.present)

    def _recall(self, name: str, keys: Sequence[Key], own: Sequence[PathTree]) -> None:
        new = {k: t for k, t in zip(keys, own, strict=True) if (name, k) not in self._recalled}
        if new:
            fresh = list(new.values())
            parts = self.scores[name].recall(TreeBatch.of(fresh), fresh)
            self._recalled |= {(name, key): part for key, part in zip(new, parts, strict=True)}

    def beliefs(
        self, own: Sequence[PathTree], tokens: np.ndarray, keys: Sequence[Key] | None = None
    ) -> Beliefs:
        """What the planner makes of the candidates of trees under instructions int16 [G, N]."""
        names = list(self.weights)
        weights = torch.tensor([self.weights[name] for name in names])
        others = [k for k, name in enumerate(names) if not is_costly(name)]
        costly = [k for k, name in enumerate(names) if is_costly(name)]
        if not self.shortlist or not others or not costly:
            scored = self.score(names, own, tokens, keys)
            near = alike(self.buildings, own, scored.present)
            return Beliefs(log_choice(scored.values, weights, scored.present), near)
        cheap = self.score([names[k] for k in others], own, tokens, keys)
        near = alike(self.buildings, own, cheap.present)
        log_p = log_choice(cheap.values, weights[others], cheap.present)
        asked, stands = representatives(log_p.exp(), near, self.shortlist)
        dear = self.score([names[k] for k in costly], own, tokens, keys, asked).values
        lent = dear.gather(2, stands.clamp(min=0).expand(len(costly), -1, -1))
        values = torch.cat([cheap.values, lent])
        there = cheap.present & (stands >= 0)
        return Beliefs(log_choice(values, weights[others + costly], there), near)

    def choose(
        self, own: Sequence[PathTree], tokens: np.ndarray, keys: Sequence[Key] | None = None
    ) -> tuple[Paths, np.ndarray]:
        """The candidate of each tree with the least risk under its instruction, and the probability
        that it succeeds, float32 [G]."""
        log_p, near = self.beliefs(own, tokens, keys)
        best = minimum_risk(log_p, near)
        mass = (near * log_p.exp()[:, None]).sum(-1).gather(1, best[:, None])[:, 0]
        places = [slice(k, k + 1) for k in best.tolist()]
        paths = join_paths([tree.paths[k] for tree, k in zip(own, places, strict=True)])
        return paths.with_tokens(tokens), mass.numpy()


class Beliefs(NamedTuple):
    """Candidates of G instructions: how likely each is meant, and which succeed for which."""

    log_probability: Tensor  # [G, C], -inf where absent
    alike: Tensor  # bool [G, C, C]
