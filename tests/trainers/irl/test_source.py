"""What a run takes over from another one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayforge.errors import RunError
from rayforge.irl.agent import Agent
from rayforge.irl.pairs import path_batch
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.source import source_weights
from trainers.irl.task import Task
from trainers.runs.checkpoint import save_checkpoint


def saved(run: Path, task: Task, config: IRLConfig, updates: int) -> Agent:
    """A module of random weights, its checkpoint in `run` after so many adversarial updates."""
    torch.manual_seed(1)
    module = Agent(**sizes_of(config, task))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    state = {"config": asdict(config), "counts": {"irl": updates}}
    save_checkpoint(run / "checkpoints", updates, weights, {}, {}, state)
    return module


def taken(task: Task, config: IRLConfig) -> Agent:
    torch.manual_seed(2)
    module = Agent(**sizes_of(config, task))
    module.take_reward(source_weights(config)[0])
    return module


@pytest.mark.parametrize("updates", [0, 8])
def test_a_clone_hands_on_its_log_pi_as_reward(
    tmp_path: Path, task: Task, tiny: IRLConfig, updates: int
) -> None:
    own = saved(tmp_path, task, replace(tiny, clone_updates=2, updates=updates), updates)
    module = taken(task, replace(tiny, reward_from=str(tmp_path)))
    for each in (own, module):
        each.eval().attach(task.world.observer())
    paths = task.splits["train"].paths[np.arange(6)]
    batch = {name: torch.from_numpy(values) for name, values in path_batch(paths).items()}
    with torch.no_grad():
        lengths, seen = batch["length"], own.observe(batch)
        assert module.reward_instruction_encoder is not None
        reward = module.reward(
            seen, module.reward_instruction_encoder(batch["tokens"]), lengths, batch["action"]
        )
        log_pi = own.policy(seen, own.policy.instruction_encoder(batch["tokens"]), lengths)
        learnt = own.reward(
            seen, own.policy.instruction_encoder(batch["tokens"]), lengths, batch["action"]
        )
    cloned = log_pi.gather(-1, batch["action"][..., None]).squeeze(-1)
    real = torch.arange(cloned.shape[1]) < lengths[:, None]
    wanted, other = (cloned, learnt) if updates == 0 else (learnt, cloned)
    torch.testing.assert_close(reward[real], wanted[real])
    assert (reward - other)[real].abs().max() > 1e-3


def test_a_reward_that_has_learnt_nothing_is_refused(
    tmp_path: Path, task: Task, tiny: IRLConfig
) -> None:
    saved(tmp_path, task, replace(tiny, warm_start=False, updates=0), 0)
    with pytest.raises(RunError, match="its reward has learnt nothing"):
        source_weights(replace(tiny, reward_from=str(tmp_path)))
