"""`--debug`: one process, small sizes, the same numbers twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from trainers.alignment.config import AlignConfig
from trainers.alignment.debugging import small_language_model
from trainers.configuration import read_configuration, to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.debugging import small_agent


def test_nothing_is_left_to_other_processes() -> None:
    agent = small_agent(IRLConfig(runners=4, runner_resource="rollout", simulator_processes=True))
    assert (agent.runners, agent.runner_resource, agent.simulator_processes) == (0, "", False)
    model = small_language_model(AlignConfig(workers=2, actors=2, accumulate=4))
    assert (model.workers, model.actors) == (0, 0)


def test_sizes_fall_and_never_rise() -> None:
    assert small_agent(IRLConfig()).updates == 8
    assert small_agent(IRLConfig(updates=3)).updates == 3
    assert small_agent(IRLConfig()).houses.train_houses == 2
    assert small_language_model(AlignConfig()).routes.pairs == 64


def test_what_is_learnt_stays_as_it_was_set() -> None:
    config = IRLConfig(learning_rate=0.01, relabel=False, seed=7)
    small = small_agent(config)
    assert (small.learning_rate, small.relabel, small.seed) == (0.01, False, 7)
    assert small_agent(small) == small
    model = small_language_model(AlignConfig(beta=0.3))
    assert model.beta == 0.3 and small_language_model(model) == model


@pytest.mark.ray
def test_the_same_seed_gives_the_same_numbers(
    tiny: IRLConfig, tmp_path: Path, cluster: None
) -> None:
    """On the Ray that the caller has started, which is left as it is."""
    from trainers.cli import main
    from trainers.irl.run import train

    (tmp_path / "run.yaml").write_text(to_yaml(replace(tiny, runners=2)))
    lines = []
    for name in ("first", "second"):
        run = tmp_path / name
        main(["irl", "train", "--config", str(tmp_path / "run.yaml"), "--debug", "--run", str(run)])
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        timed = ("time_s", "speed/updates_per_s", "rollout/env_steps_per_s")
        lines.append([{k: v for k, v in r.items() if k not in timed} for r in records])
        assert ray.is_initialized()
    assert lines[0] == lines[1] and lines[0][-1]["updates"] > 0
    again = train(read_configuration(IRLConfig, run / "config.yaml"), run, resume=True)
    assert again.report.is_file() and again.run == run
    scores = json.loads((run / "evaluation_val_seen.json").read_text())["agents"]["agent"]
    assert again.figures["val_seen/success"] == scores["success"]["mean"]
    assert ray.is_initialized()
