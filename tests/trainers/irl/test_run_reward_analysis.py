"""What a reward knows, on agents whose answers are known, and on a run of the real command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.houses.dataset import read_houses
from rayforge.irl.agent import Agent
from rayforge.reports.run_folder import read_run
from trainers.cli import main
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.reward_analysis import figures, judge
from trainers.irl.task import Task


def module_of(config: IRLConfig, task: Task) -> Agent:
    torch.manual_seed(0)
    module = Agent(**sizes_of(config, task))
    module.attach(task.world.observer())
    return module.eval()


def test_judged_paths_are_what_the_networks_say(task: Task, tiny: IRLConfig) -> None:
    module, paths = module_of(tiny, task), task.splits["train"].paths
    module.start_from_policy()
    judged = judge(module, paths)
    assert judged.real.sum() == paths.length.sum()
    np.testing.assert_allclose(judged.reward, judged.log_pi, atol=1e-6)
    np.testing.assert_allclose(judged.logit, 0.0, atol=1e-6)
    assert not judged.reward[~judged.real].any()
    taken = np.take_along_axis(judged.log_policy, paths.action[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(taken * judged.real, judged.log_pi, atol=1e-5)
    completion = module_of(replace(tiny, method="completion"), task)
    torch.nn.init.normal_(completion.reward.value.weight)  # type: ignore[union-attr]
    last = np.arange(paths.action.shape[1]) == paths.length[:, None] - 1
    assert not judge(completion, paths).logit[~last].any()
    assert judge(completion, paths).logit[last].std() > 0


def test_a_policy_that_did_not_move_agrees_with_its_clone(task: Task, tiny: IRLConfig) -> None:
    module = module_of(tiny, task)
    found = figures(
        module, task, task.splits["train"], module.policy, None, tiny, task.vocabulary, seed=0
    )
    assert found["KL(cloned || now), nats a step of the expert's"]["mean"] == 0.0
    assert found["best actions that agree with the clone's"]["mean"] == 1.0
    assert found["success now minus when cloned"]["mean"] == 0.0
    other = module_of(tiny, task)
    with torch.no_grad():
        for parameter in other.policy.scorer.parameters():
            parameter.add_(torch.randn_like(parameter))
    moved = figures(
        module, task, task.splits["train"], other.policy, None, tiny, task.vocabulary, seed=0
    )
    assert moved["KL(cloned || now), nats a step of the expert's"]["mean"] > 0.01


def test_the_oracle_accepts_human_instructions_and_not_an_untrained_generators(
    task: Task, tiny: IRLConfig
) -> None:
    houses = read_houses(task.folder)
    found = figures(
        module_of(tiny, task), task, task.splits["train"], None, houses, tiny, task.vocabulary, 0
    )
    # Rare words are unknown in so small a set, and some instructions need theirs.
    assert found["human instructions that the oracle accepts"]["mean"] > 0.6
    assert found["free instructions, expert paths that the oracle accepts"]["mean"] < 0.2


@pytest.mark.ray
def test_the_command_leaves_what_the_reward_of_a_run_knows(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Path = trained.run
    cloned = load_file(run / "cloned.safetensors")
    assert all(name.split(".")[0] in ("instruction_encoder", "trunk", "scorer") for name in cloned)
    main(["irl", "reward", str(run), "--split", "val_unseen", "--episodes", "12"])
    document = json.loads((run / "reward_val_unseen.json").read_text())
    assert document["episodes"] == 12
    said = document["figures"]
    for name in (
        "right instruction over another's, by reward",
        "right path over a roll-out that failed, by discriminator",
        "reward of a roll-out with its progress (rank correlation)",
        "success now minus when cloned",
        "relabelled roll-outs that the oracle accepts",
    ):
        assert name in said
    assert said["right instruction over another's, by reward"]["count"] <= 12
    assert "relabelled roll-outs" in capsys.readouterr().out
    assert read_run(run).reward["val_unseen"]["figures"] == said
    assert "What the reward knows" in (run / "report.html").read_text()
