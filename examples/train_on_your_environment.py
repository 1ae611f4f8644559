"""Train LangGoalIRL on your own environment: BabyAI's missions as instructions, its bot as expert.

pip install minigrid
python examples/train_on_your_environment.py --level BabyAI-GoToLocal-v0
"""

from pathlib import Path

import gymnasium
import minigrid  # noqa: F401  (registers the levels)
import tyro
from minigrid.utils.baby_ai_bot import BabyAIBot

from envs.gym_world import GymWorld, Steps, with_instructions
from rayforge.goals.config import GeneratorConfig
from rayforge.irl.config import NetworkConfig
from rayforge.language.vocabulary import Vocabulary
from trainers.irl.algorithm import LangGoalIRLConfig
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import evaluate
from trainers.irl.run import start_ray
from trainers.irl.task import Task

CELLS = 7 * 7  # before the agent; of each: kind, colour, state


class Grid(Steps):
    width = 3 * CELLS


def main(level: str = "BabyAI-GoToLocal-v0", episodes: int = 2000, updates: int = 400) -> None:
    """Let the bot demonstrate, clone it, go on adversarially, and score unseen episodes."""
    world = GymWorld(  # its actions: left, right, forward, pick up, drop, toggle
        make=lambda: gymnasium.make(level), see=lambda seen: seen["image"].ravel(),
        values=(11, 6, 3) * CELLS, actions=tuple(range(6)), step_limit=30, kind=Grid,
    )  # fmt: skip
    config = IRLConfig(
        network=NetworkConfig(word=32, hidden=128, dropout=0.1, feature_dropout=0.0),
        generator=GeneratorConfig(word=32, hidden=64, updates=updates // 2),
        clone_updates=updates, updates=updates // 4, warm_up=updates // 20, max_words=20,
    )  # fmt: skip
    env, splits, words = world.make(), {}, Vocabulary.from_texts([], 1)
    for name, seeds in (("train", range(episodes)), ("unseen", range(10**6, 10**6 + 200))):
        paths = world.demonstrate(seeds, lambda env: BabyAIBot(env).replan)
        missions = [env.reset(seed=int(seed))[0]["mission"] for seed in paths.seed]
        words = Vocabulary.from_texts(missions, 1) if name == "train" else words
        splits[name] = with_instructions(paths, missions, words, config.max_words)
    start_ray(config.runners)
    task = Task(Path(level), words, splits, world)
    algorithm = LangGoalIRLConfig().for_task(config, task).build_algo().start(task)
    while not algorithm.finished:
        algorithm.train()
    scores, _, _ = evaluate(algorithm.agent().policy, world, splits["unseen"], config.seed)
    for name, found in scores.items():
        print(f"{name:14}", *(f"{metric} {value['mean']:.3f} " for metric, value in found.items()))
    algorithm.stop()


if __name__ == "__main__":
    tyro.cli(main)
