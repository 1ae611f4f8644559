"""The agent and its update as a library: no Ray, no environment."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

sys.modules["ray"] = None  # any import of it fails
import numpy as np
import torch

from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig, NetworkConfig
from rayforge.irl.demonstrations import Demonstrations
from rayforge.irl.pairs import join_parts, pair_batch, pairs_of_update
from rayforge.irl.replay import Replay
from rayforge.irl.update import Update
from rayforge.paths.arrays import Paths
from rayforge.paths.observation import GraphObserver

rng = np.random.default_rng(0)
V, K, D, STEPS = 6, 3, 4, 5
edge = np.arange(V * K, dtype=np.int32).reshape(V, K)
angle = rng.uniform(0, 6, (V, K)).astype(np.float32)
observer = GraphObserver(
    rng.random((V, 12, D), np.float32), rng.random((V * K, D), np.float32), edge, angle,
    np.zeros_like(angle), np.ones_like(angle), STEPS,
)

def paths(count):
    made = Paths.zeros(count, STEPS, 4)
    made.length[:] = rng.integers(2, STEPS + 1, count)
    made.viewpoint[:] = rng.integers(V, size=made.viewpoint.shape)
    made.tokens[:, :3] = rng.integers(4, 9, (count, 3))
    moves = np.arange(STEPS) < made.length[:, None] - 1
    made.action[:] = np.where(moves, rng.integers(1, K + 1, made.action.shape), 0)
    return made

config = AgentConfig(
    network=NetworkConfig(word=8, hidden=8), augment=False, relabel=False, positives=4, negatives=4,
    entropy_target=0.5,
)
torch.manual_seed(0)
agent = Agent(config, vocabulary=9, dimension=D)
agent.attach(observer)
agent.start_from_policy()
before = {name: value.clone() for name, value in agent.state_dict().items()}
update = Update(agent)
expert = paths(8)
demonstrations = Demonstrations(
    (None,) * 8, expert, expert.viewpoint[:, 0], 0, np.zeros(8, int), np.arange(8)
)
told = Replay(16, STEPS, 4)
told.add(paths(8), np.arange(8))
for _ in range(2):
    parts = pairs_of_update(config, demonstrations, told, told, expert, True, rng)
    batch = {name: torch.from_numpy(v) for name, v in pair_batch(*join_parts(parts)).items()}
    figures = update(batch)
assert figures["discriminator/loss"] > 0 and figures["critic/loss"] >= 0, figures
moved = {n.split(".")[0] for n, v in agent.state_dict().items() if not torch.equal(v, before[n])}
print(*sorted(moved))
"""


def test_adversarial_updates_need_no_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["critics", "log_temperature", "policy", "reward", "targets"]
