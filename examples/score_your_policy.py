"""Score a policy of your own on Room-to-Room episodes: success, SPL, nDTW, with intervals.

python examples/score_your_policy.py --data ../r2r --split val_seen --episodes 200
"""

from pathlib import Path

import gymnasium
import numpy as np
import tyro

import envs.graph_env  # noqa: F401  (registers rayforge/GraphGoal-v0)
from envs.graph.navigation_data import read_navigation_data
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.metrics import navigation_metrics
from rayforge.language.vocabulary import Vocabulary


def straight_on(observation: dict[str, np.ndarray], step: int) -> int:
    """Your policy: here the neighbour that lies most nearly ahead, and STOP after five moves."""
    ahead = observation["candidates"][:, -4]  # cosine of the heading to each neighbour
    return 0 if step == 5 else int(np.argmax(np.where(observation["mask"][1:], ahead[1:], -9)) + 1)


def main(data: Path, split: str = "val_seen", episodes: int = 100, seed: int = 0) -> None:
    """Walk episodes of a split and print each metric with its 95 % interval."""
    world = read_navigation_data(data, splits=["train", split])
    words = Vocabulary.from_texts([e.instruction for e in world.splits["train"]], min_count=2)
    env = gymnasium.make(
        "rayforge/GraphGoal-v0",
        data=world,
        split=split,
        encode=lambda s: words.encode([s], 80)[0][0],
    )
    task = env.unwrapped.task  # type: ignore[attr-defined]
    drawn = np.random.default_rng(seed).permutation(len(world.splits[split]))[:episodes]
    rows = []
    for episode in (world.splits[split][int(i)] for i in drawn):
        observation, _ = env.reset(options={"episode_id": episode.episode_id})
        path, ended = [int(task.simulator.viewpoint[0])], False
        for step in range(15):
            observation, _, ended, _, _ = env.step(straight_on(observation, step))
            path.append(int(task.simulator.viewpoint[0]))
            if ended:
                break
        reference = [world.buildings.index(episode.scan, name) for name in episode.path]
        far = world.buildings.distance(np.array(path)[:, None], np.array(reference)[None])
        moves = world.buildings.distance(np.array(path[:-1]), np.array(path[1:]))
        start_to_goal = world.buildings.distance(np.array([path[0]]), np.array(reference[-1:]))
        rows.append(
            navigation_metrics(far[None], moves[None], [len(path)], [len(reference)], start_to_goal)
        )
    for name in ("success", "spl", "ndtw", "navigation_error", "path_length"):
        found = bootstrap_interval(np.concatenate([row[name] for row in rows]))
        print(f"{name:17} {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]  n = {found.n}")


if __name__ == "__main__":
    tyro.cli(main)
