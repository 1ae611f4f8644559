"""Paths from one start as a tree of the states that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GEOMETRY, GraphObserver, Observation


@dataclass(frozen=True)
class PathTree:
    """C paths of at most T actions with one start, N different states; a state's path is its own.

    Thirty shortest paths of six steps have sixty states and not two hundred, so that a recurrence
    along the tree costs a third of one along each path, and gives the same.
    """

    viewpoint: np.ndarray  # int32 [N], parents before their children, level by level
    heading: np.ndarray  # int8 [N]
    depth: np.ndarray  # int16 [N], 0 at the start
    parent: np.ndarray  # int32 [N], 0 at the start
    action: np.ndarray  # int8 [N], what was done in the parent; 0 at the start
    node: np.ndarray  # int32 [C, T], the state of each step of each path; 0 in the padding
    paths: Paths  # the C paths

    @classmethod
    def of(cls, paths: Paths) -> PathTree:
        """The tree of paths, at least one, that begin at one viewpoint and heading."""
        paths = paths.trimmed()
        count, steps = paths.action.shape
        node = np.zeros((count, steps), np.int32)
        first = np.zeros(1, np.int64)  # a path that each state is on
        level, parent = np.zeros(1, np.int64), np.zeros(1, np.int64)
        total = 1
        for step in range(1, steps):
            rows = np.flatnonzero(paths.length > step)
            key = node[rows, step - 1].astype(np.int64) * 256 + paths.action[rows, step - 1]
            keys, where, inverse = np.unique(key, return_index=True, return_inverse=True)
            node[rows, step] = total + inverse
            first = np.concatenate([first, rows[where]])
            level = np.concatenate([level, np.full(len(keys), step)])
            parent = np.concatenate([parent, keys // 256])
            total += len(keys)
        before = np.maximum(level - 1, 0)
        return cls(
            paths.viewpoint[first, level], paths.heading[first, level], level.astype(np.int16),
            parent.astype(np.int32), np.where(level > 0, paths.action[first, before], 0),
            node, paths,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.viewpoint)

    def distinct(self) -> tuple[PathTree, np.ndarray]:
        """The same without paths that repeat an earlier one, and the rows that are kept, int64."""
        last = self.node[np.arange(len(self.paths)), self.paths.length - 1]
        rows = np.sort(np.unique(last, return_index=True)[1])
        return replace(self, node=self.node[rows], paths=self.paths[rows]), rows

    @property
    def ends(self) -> np.ndarray:
        """Where each path ends: viewpoints int32 [C]."""
        ends: np.ndarray = self.paths.viewpoint[np.arange(len(self.paths)), self.paths.length - 1]
        return ends


class Levels:
    """In which order a recurrence visits the states of G trees, padded to N each."""

    def __init__(self, depth: Tensor, parent: Tensor, valid: Tensor) -> None:
        """depth, parent int64 [G, N], valid bool [G, N]."""
        groups, size = depth.shape
        flat = torch.where(valid, depth, -1).flatten()
        order = flat.argsort(stable=True)
        padding = int((flat < 0).sum())
        self.order = order[padding:]  # int64 [M], flat positions, level by level
        self.sizes: list[int] = flat[self.order].bincount().tolist()
        place = torch.zeros_like(flat)
        place[self.order] = torch.arange(len(self.order), device=flat.device)
        above = (parent + size * torch.arange(groups, device=parent.device)[:, None]).flatten()
        first = np.cumsum([0, *self.sizes]).tolist()
        self.parents = [  # of each level but the first, places within the level above
            place[above[self.order[first[k] : first[k + 1]]]] - first[k - 1]
            for k in range(1, len(self.sizes))
        ]
        self.shape = (groups, size)
        self.depth, self.parent = depth, parent

    def lines(self, longest: int) -> tuple[Tensor, Tensor]:
        """Each state with those before it, `longest` at most: places int64 [G, N, W], from the
        state itself back to the start, and which of them there are, bool."""
        width = min(longest, len(self.sizes))
        at = torch.arange(self.shape[1], device=self.parent.device).expand(self.shape)
        places = [at]
        for _ in range(width - 1):
            at = self.parent.gather(1, at)
            places.append(at)
        back = torch.arange(width, device=self.depth.device)
        return torch.stack(places, -1), back <= self.depth[..., None]


def tree_lstm(lstm: nn.LSTM, inputs: Tensor, levels: Levels) -> Tensor:
    """An LSTM from the start of each tree to each of its states: [G, N, I] -> [G, N, H].

    What `lstm` gives along each path; 0 in the padding.
    """
    weight, recurrent, bias, other = lstm.all_weights[0]
    given = torch.addmm(
        bias + other, inputs.flatten(0, 1).index_select(0, levels.order), weight.t()
    ).split(levels.sizes)
    outputs = []
    h = c = None
    for level, gates in enumerate(given):
        if h is not None and c is not None:
            above = levels.parents[level - 1]
            gates = gates + h.index_select(0, above) @ recurrent.t()
            c = c.index_select(0, above)
        enter, forget, new, leave = gates.chunk(4, 1)
        kept = 0.0 if c is None else forget.sigmoid() * c
        c = kept + enter.sigmoid() * new.tanh()
        h = leave.sigmoid() * c.tanh()
        outputs.append(h)
    groups, size = levels.shape
    flat = inputs.new_zeros(groups * size, lstm.hidden_size)
    return flat.index_copy(0, levels.order, torch.cat(outputs)).view(groups, size, -1)


@dataclass(frozen=True)
class TreeBatch:
    """G trees as padded tensors: N states, C paths and T steps at most."""

    viewpoint: Tensor  # int64 [G, N], as the next ones
    heading: Tensor
    depth: Tensor
    parent: Tensor
    action: Tensor
    valid: Tensor  # bool [G, N]
    step_node: Tensor  # int64 [G, C, T]
    step_action: Tensor  # int64 [G, C, T]
    real: Tensor  # bool [G, C, T], the steps that there are
    present: Tensor  # bool [G, C], the paths that there are

    @classmethod
    def of(cls, trees: Sequence[PathTree]) -> TreeBatch:
        """Trees side by side, at least one."""
        groups, size = len(trees), max(len(tree) for tree in trees)
        count = max(len(tree.paths) for tree in trees)
        steps = max(tree.node.shape[1] for tree in trees)
        states = np.zeros((5, groups, size), np.int64)
        taken = np.zeros((2, groups, count, steps), np.int64)
        real = np.zeros((groups, count, steps), bool)
        valid = np.zeros((groups, size), bool)
        for row, tree in enumerate(trees):
            own = (tree.viewpoint, tree.heading, tree.depth, tree.parent, tree.action)
            states[:, row, : len(tree)] = np.stack([part.astype(np.int64) for part in own])
            # Padding repeats a viewpoint of the same building.
            states[0, row, len(tree) :] = tree.viewpoint[0]
            valid[row, : len(tree)] = True
            paths, wide = len(tree.paths), tree.node.shape[1]
            taken[0, row, :paths, :wide] = tree.node
            taken[1, row, :paths, :wide] = tree.paths.action[:, :wide]
            real[row, :paths, :wide] = np.arange(wide) < tree.paths.length[:, None]
        viewpoint, heading, depth, parent, action = torch.from_numpy(states)
        step_node, step_action = torch.from_numpy(taken)
        return cls(
            viewpoint, heading, depth, parent, action, torch.from_numpy(valid), step_node,
            step_action, torch.from_numpy(real), torch.from_numpy(real[:, :, 0].copy()),
        )  # fmt: skip

    @cached_property
    def levels(self) -> Levels:
        return Levels(self.depth, self.parent, self.valid)

    def observe(self, observer: GraphObserver) -> Observation:
        """What is seen in the states: B = G, T = N."""
        before = (self.viewpoint.gather(1, self.parent), self.heading.gather(1, self.parent))
        came = observer.arrivals(*(part.flatten() for part in (*before, self.action)))
        arrival = came.view(*self.viewpoint.shape, GEOMETRY)
        found: Observation = observer(self.viewpoint, self.heading, self.depth, self.valid, arrival)
        return found

    def along(self, values: Tensor) -> Tensor:
        """Values of actions in states [G, N, A] -> those taken along each path, [G, C, T]; 0 in
        the padding."""
        groups, count, steps = self.step_node.shape
        actions = values.shape[-1]
        place = (self.step_node * actions + self.step_action).flatten(1)
        taken = values.flatten(1).gather(1, place).view(groups, count, steps)
        return taken * self.real
