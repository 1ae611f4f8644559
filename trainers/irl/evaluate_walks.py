"""Greedy roll-outs in 3-D scenes, scored by R2R-CE's rules, beside their controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.continuous.homes import Homes
from envs.continuous.scoring import score_walks
from envs.continuous.walks import share_moved
from envs.simulators.simulator import Action, Motion, Poses
from rayforge.evaluation.intervals import summarise
from rayforge.irl.agent import Agent
from rayforge.irl.demonstrations import Demonstrations
from rayforge.language.vocabulary import END
from rayforge.paths.arrays import Walks
from trainers.irl.config import IRLConfig
from trainers.irl.evaluate import shuffled
from trainers.irl.homes_task import HomesTask
from trainers.irl.rollout import Rollout, follow_goals, join_rollouts

BATCH = 64
"""Episodes rolled out at once; those of a scene follow one another."""
RANDOM = (0.02, 0.68, 0.15, 0.15)
"""Chances of STOP, forward, left, right of the random agent (Krantz et al. 2020)."""
STRAIGHT = 37
"""Forward steps of the agent that only walks straight on: R2R's mean path, 9.3 m (as theirs)."""


def score(
    homes: Homes, split: Demonstrations, walks: Walks, max_steps: int
) -> dict[str, np.ndarray]:
    """Each metric of each episode, float64 [n]; `walks` answer the split's rows in order."""
    walked = [walks.position[row, : int(count)] for row, count in enumerate(walks.length)]
    expert: Walks = split.paths
    reference = [
        expert.position[row, : int(expert.length[row])]
        if episode.locations is None
        else np.array(episode.locations, np.float32)
        for row, episode in enumerate(split.episodes)
    ]
    return score_walks(
        homes, walks.scene.astype(np.int64), walked, reference, expert.position[:, 0],
        split.goal, walks.length == max_steps,
    )  # fmt: skip


def walk(
    homes: Homes, motion: Motion, split: Demonstrations, max_steps: int,
    choose: Callable[[int, int], np.ndarray],
) -> Walks:  # fmt: skip
    """Walks of an agent that neither reads nor sees: `choose(step, count)` gives the actions."""
    count = len(split)
    done = Walks.zeros(count, max_steps, split.paths.tokens.shape[1])
    scene = split.paths.scene.astype(np.int64)
    poses = Poses(split.paths.position[:, 0].copy(), split.paths.yaw[:, 0].copy())
    rows = np.arange(count)
    for step in range(max_steps):
        action = choose(step, count)[rows]
        if step == max_steps - 1:
            action = np.zeros_like(action)
        here = Poses(poses.position[rows], poses.yaw[rows])
        after = homes.step(scene[rows], here, action).poses
        done.position[rows, step], done.yaw[rows, step] = here
        done.action[rows, step] = action
        done.moved[rows, step] = share_moved(here.position, after.position, motion)
        done.length[rows] = step + 1
        poses.position[rows], poses.yaw[rows] = after
        rows = rows[action != Action.STOP]
        if not rows.size:
            break
    return Walks(**{**done.arrays(), "scene": split.paths.scene, "tokens": split.paths.tokens})


def straight(step: int, count: int) -> np.ndarray:
    """Walk `STRAIGHT` steps on, then stop."""
    return np.full(count, Action.MOVE_FORWARD if step < STRAIGHT else Action.STOP, np.int64)


def random_walk(seed: int) -> Callable[[int, int], np.ndarray]:
    """Actions with the chances `RANDOM`."""
    rng = np.random.default_rng(seed)
    return lambda step, count: rng.choice(len(RANDOM), size=count, p=RANDOM)


def evaluate_walks(
    module: Agent, task: HomesTask, name: str, config: IRLConfig,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """The agent and its controls on a split: summaries by agent, and a record of each episode.

    The agents are those of `evaluate.evaluate`; the expert is the one that demonstrates. A blind
    split has the agent's records alone.
    """
    split, limit, seed = task.splits[name], config.max_walk, config.seed
    homes, motion = task.homes, config.simulation.motion
    agents = task.world.agents(config, task.world.observer(config), homes, keep=False)
    order = np.argsort(split.building, kind="stable")  # neighbours in a batch share a scene
    tokens = split.paths.tokens
    silent = np.zeros_like(tokens)
    silent[:, 0] = END
    others = tokens[shuffled(split.building, split.route, seed)]

    def followed(agent: str, words: np.ndarray) -> Rollout[Walks]:
        parts = []
        for start in range(0, len(split), BATCH):
            rows = order[start : start + BATCH]
            goals = split.paths[rows].with_tokens(words[rows])
            parts.append(follow_goals(module.policy, agents, goals, None))
            if progress is not None:
                progress(agent, min(start + BATCH, len(split)), len(split))
        done, back = join_rollouts(parts), np.argsort(order)
        return Rollout(done.paths[back], done.probability[back], done.entropy[back])

    own = followed("agent", tokens)
    if split.blind:
        return {}, walk_lines(split, score(homes, split, own.paths, limit), own, limit)
    walks = {
        "agent": own.paths,
        "no text": followed("no text", silent).paths,
        "shuffled text": followed("shuffled text", others).paths,
        "straight": walk(homes, motion, split, limit, straight),
        "random": walk(homes, motion, split, limit, random_walk(seed)),
        "expert": split.paths,
    }
    values = {agent: score(homes, split, done, limit) for agent, done in walks.items()}
    lines = walk_lines(split, values["agent"], own, limit)
    return {agent: summarise(v) for agent, v in values.items()}, lines


def walk_lines(
    split: Demonstrations, values: dict[str, np.ndarray], own: Rollout[Walks], max_steps: int
) -> list[dict[str, Any]]:
    """One record an episode: what `rayforge irl watch` and the report read. Poses are where each
    action was taken, in habitat's axes."""
    lines = []
    for row, episode in enumerate(split.episodes):
        count, told = int(own.paths.length[row]), int(split.paths.length[row])
        lines.append(
            {
                "episode_id": episode.episode_id, "scan": episode.scan, "scene": episode.scene,
                "instruction": episode.instruction,
                "positions": own.paths.position[row, :count].round(4).tolist(),
                "yaws": own.paths.yaw[row, :count].round(5).tolist(),
                "actions": own.paths.action[row, :count].tolist(),
                "probability": [round(float(p), 4) for p in own.probability[row, :count]],
                "expert": split.paths.position[row, :told].round(4).tolist(),
                "goal": [round(float(x), 4) for x in split.goal[row]],
                "success": bool(values["success"][row]),
                "distance": round(float(values["navigation_error"][row]), 3),
                "spl": round(float(values["spl"][row]), 4),
                "forced_stop": count == max_steps,
            }
        )  # fmt: skip
    return lines
