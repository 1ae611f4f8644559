"""Instructions that are chosen: what is kept passes the bar, and the choice is the best of what was
written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rayforge.goals.agreement import Scores, choose
from rayforge.irl.agent import Agent
from rayforge.irl.labelling import judge, label_paths
from rayforge.language.vocabulary import END
from trainers.irl.algorithm import sizes_of
from trainers.irl.config import IRLConfig
from trainers.irl.task import Task


def agent(config: IRLConfig, task: Task) -> Agent:
    torch.manual_seed(0)
    module = Agent(**sizes_of(config, task), acting_only=True)
    module.attach(task.world.observer())
    module.eval()
    return module


def with_generator(config: IRLConfig, **changes: float) -> IRLConfig:
    return replace(config, generator=replace(config.generator, **changes))


@pytest.mark.parametrize("rephrase", [False, True])
def test_the_best_of_the_candidates_is_taken(tiny: IRLConfig, task: Task, rephrase: bool) -> None:
    config = with_generator(tiny, candidates=4, agreement=0.25)
    module, paths = agent(config, task), task.splits["train"].paths[:20]
    labels = label_paths(module, task.world, paths, 3, rephrase)
    # The same candidates, judged apart and chosen by hand.
    generator = module.generator
    assert generator is not None
    columns = {
        name: torch.from_numpy(getattr(paths, name).astype(np.int64))
        for name in ("viewpoint", "heading", "action", "length", "tokens")
    }
    written = generator.sample(
        module.observe(columns), columns["action"], columns["length"], config.max_words,
        torch.Generator().manual_seed(3), columns["tokens"] if rephrase else None, 4,
    )  # fmt: skip
    tokens = written.numpy().astype(np.int16).reshape(20, 4, -1)
    scores = judge(module, task.world, paths, tokens, 3)
    place, kept = choose(scores, columns["length"], 0.25)
    np.testing.assert_array_equal(labels.tokens, tokens[np.arange(20), place.numpy()])
    np.testing.assert_array_equal(labels.kept, kept.numpy())
    assert 0 < labels.kept.sum() < 20, "some are kept, some are not"
    assert (np.exp(labels.follower[labels.kept]) >= 0.25 - 1e-6).all()
    assert (labels.tokens == END).any(1).all()


def test_scores_of_a_pair_do_not_depend_on_the_other_instructions(
    tiny: IRLConfig, task: Task
) -> None:
    module, paths = agent(tiny, task), task.splits["train"].paths[:6]
    instructions = np.stack([paths.tokens, np.roll(paths.tokens, 1, 0)], 1)
    together = judge(module, task.world, paths, instructions, 0)
    for kind in (0, 1):
        alone = judge(module, task.world, paths, instructions[:, kind : kind + 1], 0)
        for both, one in zip(together[:2], alone[:2], strict=True):
            torch.testing.assert_close(both[:, kind], one[:, 0], atol=1e-4, rtol=1e-4)
    assert isinstance(together, Scores)
    assert (together.follower <= 0).all()
    assert (together.speaker <= 1e-5).all()


def test_without_a_bar_and_a_choice_nothing_is_judged(tiny: IRLConfig, task: Task) -> None:
    config = with_generator(tiny, candidates=1, agreement=0.0)
    labels = label_paths(agent(config, task), task.world, task.splits["train"].paths[:5], 0, False)
    assert labels.kept.all()
    assert np.isnan(labels.follower).all()


def test_a_policy_that_was_never_cloned_rejects_nothing(tiny: IRLConfig, task: Task) -> None:
    config = with_generator(replace(tiny, warm_start=False), candidates=2, agreement=1.0)
    labels = label_paths(agent(config, task), task.world, task.splits["train"].paths[:5], 0, False)
    assert labels.kept.all()
