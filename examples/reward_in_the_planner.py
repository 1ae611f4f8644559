"""A reward of your own in the planner: which of a map's paths an instruction means.

rayforge houses runs/houses && python examples/reward_in_the_planner.py --data runs/houses
"""

from pathlib import Path

import numpy as np
import torch
import tyro
from torch.nn.utils.rnn import pad_sequence

from envs.graph.navigation_data import read_navigation_data
from rayforge.irl.planning import fit_weights
from rayforge.language.vocabulary import Vocabulary
from trainers.irl.config import IRLConfig
from trainers.irl.planner import LengthScore, Planner, Ways, succeeding
from trainers.irl.task import demonstrations


class TurnsAsTold:
    """Your reward: minus how many more or fewer turns a path takes than it is told, by side."""

    def recall(self, trees, own):  # of each tree: right and left turns of its paths, [C, 2]
        for paths in (tree.paths for tree in own):
            turn = (np.diff(paths.heading.astype(int), axis=1) + 6) % 12 - 6  # in 30 degrees
            turn[np.arange(turn.shape[1]) >= paths.length[:, None] - 1] = 0
            yield torch.tensor(np.stack([(turn > 1).sum(1), (turn < -1).sum(1)], 1))

    def read(self, recalled, trees, own, tokens):  # [G, C] under instructions, tokens [G, N]
        told = (tokens[..., None] == self.words).sum(1)
        made = pad_sequence(list(recalled), batch_first=True)
        return -(made - told[:, None]).abs().sum(-1).float()


def main(data: Path, split: str = "val_unseen", most: int = 400) -> None:
    """Fit the weights of two scores on training episodes, and plan in a split's buildings."""
    world, turns = read_navigation_data(data, splits=["train", split]), TurnsAsTold()
    words = Vocabulary.from_texts([e.instruction for e in world.splits["train"]], min_count=1)
    turns.words = torch.tensor([words.words.index(side) for side in ("right", "left")])
    ways = Ways(world.buildings, edges=(3, 7), max_steps=15)
    train, asked = (
        demonstrations(world.splits[name][:most], world.buildings, words, IRLConfig(), name)
        for name in ("train", split)
    )
    scores = {"length": LengthScore.of(ways, train.paths), "turns": turns}
    trees = ways.trees(train.paths)
    scored = Planner(world.buildings, scores, {}).score(list(scores), trees, train.paths.tokens)
    good = succeeding(world.buildings, trees, train.goal)
    weights = fit_weights(scored.values, good, scored.present).tolist()
    for used in ({"length": weights[0]}, dict(zip(scores, weights, strict=True))):
        planner = Planner(world.buildings, scores, used)
        chosen, _ = planner.choose(ways.trees(asked.paths), asked.paths.tokens)
        ends = chosen.viewpoint[np.arange(len(chosen)), chosen.length - 1]
        near = world.buildings.distance(ends, asked.goal) < 3.0
        print(f"{' + '.join(used):16} success {near.mean():.3f}  n = {len(near)}")


if __name__ == "__main__":
    tyro.cli(main)
