"""A Gymnasium environment of one's own as a World: a corridor whose lamp is left or right."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.gym_world import GymWorld, Steps, with_instructions
from rayforge.errors import DataError
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig, NetworkConfig
from rayforge.irl.pairs import path_batch
from rayforge.irl.rollout import follow_goals
from rayforge.language.vocabulary import Vocabulary


class Corridor(gym.Env[np.ndarray, int]):
    """Places 0 to 4; the lamp is at one end, and reaching it is rewarded. Actions 7: left,
    8: right."""

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.place, self.lamp = 2, 4 * ((seed or 0) % 2)
        return self.observed(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = min(4, max(0, self.place + {7: -1, 8: 1}[action]))
        there = self.place == self.lamp
        return self.observed(), float(there), there, False, {}

    def observed(self) -> np.ndarray:
        return np.array([self.place, self.lamp // 4], np.uint8)


class Seen(Steps):
    width = 2


def to_the_lamp(env: gym.Env[Any, Any]) -> Any:
    inner: Any = env.unwrapped
    return lambda: 8 if inner.lamp else 7


WORLD = GymWorld(Corridor, lambda seen: seen, (5, 2), (7, 8), 6, Seen)


def test_the_expert_demonstrates_and_stops() -> None:
    paths = WORLD.demonstrate([0, 1], to_the_lamp)
    assert paths.action[:, :3].tolist() == [[1, 1, 0], [2, 2, 0]]
    assert paths.seen[:, :3, 0].tolist() == [[2, 1, 0], [2, 3, 4]]
    assert paths.length.tolist() == [3, 3] and paths.won.tolist() == [1, 1]
    assert paths.ended[:, :3].tolist() == [[0, 0, 1]] * 2
    with pytest.raises(DataError, match="wins none of 2 episodes within 6 actions"):
        WORLD.demonstrate([0, 2], lambda env: lambda: 8)
    with pytest.raises(DataError, match=r"takes action 9, and the world knows \(7, 8\)"):
        WORLD.demonstrate([0], lambda env: lambda: 9)


def test_what_is_legal_and_seen_is_the_same_in_training_and_acting() -> None:
    """One state at a time, as agents see it, against whole trajectories, as updates do."""
    words = Vocabulary.from_texts(["to the lamp"], 1)
    split = with_instructions(
        WORLD.demonstrate(range(6), to_the_lamp), ["to the lamp"] * 6, words, 5
    )
    torch.manual_seed(0)
    config = AgentConfig(network=NetworkConfig(word=8, hidden=8), method="gcbc", max_words=5)
    agent = Agent(config, len(words), WORLD.dimension, None).eval()
    agent.attach(WORLD.observer())
    draws = np.random.default_rng(0).random((6, 6), np.float32)
    done = follow_goals(agent.policy, WORLD.agents(WORLD.observer()), split.paths, draws)
    assert len(set(done.paths.length.tolist())) > 1
    columns = {name: torch.from_numpy(a) for name, a in path_batch(done.paths).items()}
    with torch.no_grad():
        seen = agent.observe(columns)
        log_pi = agent.policy(
            seen, agent.policy.instruction_encoder(columns["tokens"]), columns["length"]
        )
    for row in range(6):
        for step in range(done.paths.length[row]):
            action = int(done.paths.action[row, step])
            assert seen.legal[row, step, action]
            assert log_pi[row, step, action].exp() == pytest.approx(
                done.probability[row, step], abs=1e-5
            )
    ended = done.paths.ended > 0
    assert not seen.legal[..., 1:].numpy()[ended[:, : seen.legal.shape[1]]].any()
    scores = WORLD.score(split, done.paths)
    assert scores["success"].tolist() == (done.paths.won > 0).tolist()
    assert WORLD.score(split, split.paths)["spl"].tolist() == [1.0] * 6
    reached = WORLD.reached(split, np.arange(6), split.paths)
    assert reached.all()
