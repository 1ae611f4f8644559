"""Search at first sight: an agent without a map walks, looks, turns back, and stops by its planner.

It knows what it has seen: the viewpoints where it was, and that they have neighbours. It goes to
the neighbour that the policy finds likeliest of all that it knows, along ways that it has walked
(after Ke et al. 2019, whose search this is in short). When it has looked at enough places, it goes
back to the one where the planner would have it stop. Every metre is walked and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from envs.graph.buildings import Buildings, heading_bin
from rayforge.irl.networks import Policy, log_policy
from rayforge.irl.path_reward import Recalled, read_trees
from rayforge.language.vocabulary import PAD
from rayforge.paths.arrays import Paths, join_paths
from rayforge.paths.observation import GraphObserver
from rayforge.paths.tree import PathTree, TreeBatch
from trainers.irl.planner import Planner


def search(
    planner: Planner, policy: Policy, observer: GraphObserver, asked: Paths, places: int
) -> Paths:
    """What an agent walks for the starts and instructions of `asked`, of which nothing else is
    read: until it has looked at `places` viewpoints (or knows no other), then to where it stops.

    The paths' viewpoints are what was walked, turning back included; headings are 0, and every
    action but the last is 1, since a walk back has no meaning to the networks.
    """
    seekers = [
        Seeker(planner.buildings, int(v), int(h), observer.max_steps)
        for v, h in zip(asked.viewpoint[:, 0], asked.heading[:, 0], strict=True)
    ]
    tokens = torch.from_numpy(asked.tokens.astype(np.int64))
    tokens = tokens[:, : max(1, int((tokens != PAD).sum(1).max()))]
    for _ in range(places - 1):
        going = [row for row, seeker in enumerate(seekers) if seeker.open()]
        if not going:
            break
        trees = [PathTree.of(seekers[row].candidates()) for row in going]
        chances = _onward(policy, observer, trees, tokens[going])
        for row, chance in zip(going, chances, strict=True):
            seekers[row].go(chance)
    trees = [PathTree.of(seeker.candidates()) for seeker in seekers]
    chosen, _ = planner.choose(trees, asked.tokens)
    ends = chosen.viewpoint[np.arange(len(chosen)), chosen.length - 1]
    walks = [s.walk_back(int(end)) for s, end in zip(seekers, ends, strict=True)]
    return join_paths(walks).with_tokens(asked.tokens)


@torch.no_grad()
def _onward(
    policy: Policy, observer: GraphObserver, own: Sequence[PathTree], tokens: torch.Tensor
) -> list[np.ndarray]:
    """For each tree log pi of the way to the end of each path and of every action there,
    float32 [C, A]; -inf where an action is not legal."""
    policy.eval()
    trees = TreeBatch.of(own)
    recalled = Recalled.of(policy, trees, trees.observe(observer))
    scores, _ = read_trees(policy, recalled, trees, tokens)
    values = log_policy(scores, recalled.legal)
    taken = trees.along(values)
    last = trees.real.sum(-1, keepdim=True).clamp(min=1) - 1
    there = taken.sum(-1) - taken.gather(-1, last)[..., 0]
    node = trees.step_node.gather(-1, last)[..., 0]
    size = (*node.shape, values.shape[-1])
    at = node[..., None].expand(size)
    onward = there[..., None] + values.gather(1, at)
    onward = onward.masked_fill(~recalled.legal.gather(1, at), -torch.inf)
    return [part[: len(tree.paths)].numpy() for part, tree in zip(onward, own, strict=True)]


class Seeker:
    """One agent: where it was, how it came there first, and what it has walked."""

    def __init__(self, buildings: Buildings, start: int, heading: int, max_steps: int) -> None:
        self.buildings, self.max_steps = buildings, max_steps
        self._route: list[tuple[int, ...]] = [(start,)]  # to each place, in order of the visits
        self._action: list[tuple[int, ...]] = [()]
        self._heading: list[tuple[int, ...]] = [(heading,)]
        self._visited = {start: 0}
        self.walked = [start]

    def open(self) -> bool:
        """Whether it knows a place where it was not."""
        return any(
            int(near) not in self._visited
            for route in self._route
            if len(route) < self.max_steps
            for near in self.buildings.neighbours[route[-1]]
            if near >= 0
        )

    def candidates(self) -> Paths:
        """The way to every place where it was, as if it stopped there."""
        paths = Paths.zeros(len(self._route), max(map(len, self._route)), 1)
        for row, route in enumerate(self._route):
            count = len(route)
            paths.viewpoint[row, :count] = route
            paths.heading[row, :count] = self._heading[row]
            paths.action[row, : count - 1] = self._action[row]
            paths.length[row] = count
        return paths

    def go(self, onward: np.ndarray) -> None:
        """To the likeliest place where it was not: `onward` [C, A], by place and action."""
        for flat in np.argsort(-onward, axis=None, kind="stable"):
            place, action = divmod(int(flat), onward.shape[1])
            if onward[place, action] == -np.inf:
                return
            here = self._route[place][-1]
            if action == 0 or int(self.buildings.neighbours[here, action - 1]) in self._visited:
                continue
            there = int(self.buildings.neighbours[here, action - 1])
            self._move(place)
            self.walked.append(there)
            facing = int(heading_bin(self.buildings.heading[here, action - 1]))
            self._visited[there] = len(self._route)
            self._route.append((*self._route[place], there))
            self._action.append((*self._action[place], action))
            self._heading.append((*self._heading[place], facing))
            return

    def _move(self, place: int) -> None:
        """Along ways that it has walked, from where it stands to one of its places."""
        here, there = self._route[self._visited[self.walked[-1]]], self._route[place]
        shared = 0
        while shared < min(len(here), len(there)) and here[shared] == there[shared]:
            shared += 1
        self.walked += [*here[shared - 1 : -1][::-1], *there[shared:]]

    def walk_back(self, end: int) -> Paths:
        """What it has walked when it stops at `end`, where it was."""
        if self.walked[-1] != end:
            self._move(self._visited[end])
        paths = Paths.zeros(1, len(self.walked), 1)
        paths.viewpoint[0] = self.walked
        paths.action[0, :-1] = 1
        paths.length[0] = len(self.walked)
        return paths
