"""`rayforge plan`: what fits, what does not, and the one line that says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayforge.errors import ConfigurationError, MachineError
from trainers.alignment.config import AlignConfig
from trainers.capacity.alignment import engine_need, processes, remedies, size_of
from trainers.capacity.cluster import Cluster, Node, read_cluster
from trainers.capacity.memory import Need
from trainers.capacity.placement import Processes, place
from trainers.capacity.plan import check_live, make_plan, read_run_configuration, text_of
from trainers.cli import main

CARD = {"gpus": 1, "gpu_memory_gb": 24, "gpu_tflops": 125, "gpu_bandwidth_gb": 600}


def gpu_cluster(count: int = 1, **more: Any) -> Cluster:
    return Cluster((Node("card", count, 16, 64, **{**CARD, **more}),))


@pytest.fixture
def billion(tmp_path: Path) -> Path:
    """A model folder of a billion parameters, of which there is the configuration alone."""
    folder = tmp_path / "billion"
    folder.mkdir()
    shape = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000,
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(shape))
    return folder


def test_processes_go_where_their_bundles_and_memory_are() -> None:
    cluster = Cluster(
        (
            Node("head", 1, 2, 10),
            Node("worker", 2, 4, 10, resources={"rollout": 4}),
        )
    )
    runner = Processes("runner", 8, {"CPU": 1.0, "rollout": 1.0}, Need({"programs": 1e9}, {}))
    learner = Processes("learner", 1, {"CPU": 1.0}, Need({"programs": 6e9}, {}))
    placed = place(cluster, [runner, learner])
    assert not placed.problems
    assert [dict(p.holds) for p in placed.places] == [{"learner": 1}, {"runner": 4}, {"runner": 4}]
    more = place(cluster, [Processes("runner", 9, runner.bundle, runner.need), learner])
    assert "runner 9 of 9 has no place" in more.problems[0]
    assert "rollout (needs 1, 0 free)" in more.problems[0]
    heavy = place(cluster, [Processes("learner", 1, {"CPU": 1.0}, Need({"data": 9e9}, {}))])
    assert "memory (needs 9.0 GB, 7.0 free)" in heavy.problems[0]


def test_a_model_too_large_for_a_card_fits_when_it_is_split(billion: Path) -> None:
    config = AlignConfig(model=str(billion), data="pairs.jsonl", device="cuda", workers=1, batch=8)
    one = make_plan(config, gpu_cluster(2), 512)
    assert any("GPU memory" in problem for problem in one.problems)
    assert one.changes[0] == "--accumulate 4"
    small = make_plan(config, gpu_cluster(4, gpu_memory_gb=14), 512)
    assert small.changes[0] == "--workers 2 --shard --activation-checkpointing"
    split = AlignConfig(
        model=str(billion), data="pairs.jsonl", device="cuda", workers=4, batch=8, shard=True,
        activation_checkpointing=True, actors=0,
    )  # fmt: skip
    fits = make_plan(split, gpu_cluster(5), 512)
    assert not fits.problems
    assert "training worker" in text_of(fits)


def test_more_gpus_than_there_are_is_said_at_once(billion: Path) -> None:
    config = AlignConfig(model=str(billion), data="x.jsonl", device="cuda", workers=8, batch=8)
    plan = make_plan(config, gpu_cluster(2, gpu_memory_gb=80), 64)
    assert "training worker" in plan.problems[0]
    assert "GPU (needs 1, 0 free)" in plan.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: [{name: a, cpus: 4}]", "node 'a': memory_gb is missing"),
        ("nodes: [{name: a, cpus: 4, memory_gb: 8, gpus: 1}]", "say gpu_memory_gb, gpu_tflops"),
        ("nodes: []", "nodes is empty"),
        (
            "nodes: [{name: a, memory_gb: 8}, {name: a, memory_gb: 9}]",
            "two kinds of nodes are named 'a'",
        ),
        ("nodes: [{name: a, cpu: 4, memory_gb: 8}]", "did you mean nodes.cpus"),
        ("nodes: [{name: a, cpus: 0, memory_gb: 8}]", "cpus"),
        ("nodes: 4", "must be a list"),
        ("- 4", "holds no settings"),
    ],
)
def test_a_description_that_lacks_something_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said.replace("(", r"\(")) as error:
        read_cluster(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_the_settings_say_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("rounds: 2\nbatch: 8\n")
    assert isinstance(read_run_configuration(tmp_path), AlignConfig)
    file.write_text("method: gcbc\n")
    assert type(read_run_configuration(file)).__name__ == "IRLConfig"
    file.write_text("batch: 8\n")
    with pytest.raises(ConfigurationError, match="alike"):
        read_run_configuration(file)
    file.write_text("rounds: 2\nenv: graph\n")
    with pytest.raises(ConfigurationError, match="unknown setting"):
        read_run_configuration(file)


def live(cpus: float, memory: float, **more: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": {"CPU": cpus, "memory": memory * 1e9, **more}}


def test_a_live_cluster_is_held_against_its_description() -> None:
    cluster = Cluster((Node("head", 1, 4, 16), Node("worker", 2, 8, 32, resources={"rollout": 8})))
    there = [live(4, 14), live(8, 30, rollout=8), live(8, 30, rollout=8)]
    check_live(cluster, there)
    with pytest.raises(MachineError, match=r"no worker 2 of 2 .*no node is left|rollout is 0"):
        check_live(cluster, there[:2])
    with pytest.raises(MachineError, match=r"memory is 8 GB and not 32"):
        check_live(cluster, [*there[:2], live(8, 8, rollout=8)])


def test_the_command_prints_the_plan_and_fails_where_something_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "align.yaml").write_text("rounds: 3\nsteps: 2\nworkers: 2\nactors: 1\nbatch: 8\n")
    description = tmp_path / "cluster.yaml"
    description.write_text("nodes: [{name: box, cpus: 8, memory_gb: 16, disk_gb: 50}]")
    arguments = ["plan", str(tmp_path / "align.yaml"), "--cluster", str(description)]
    main([*arguments, "--json", str(tmp_path / "plan.json")])
    said = capsys.readouterr().out
    assert "training worker" in said
    assert "tokens/s" in said
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["problems"] == []
    assert {p["name"]: p["count"] for p in document["processes"]} == {
        "the command": 1, "training worker": 2, "actor": 1,
    }  # fmt: skip
    description.write_text("nodes: [{name: box, cpus: 8, memory_gb: 2}]")
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == MachineError.exit_code
    assert "does not fit" in capsys.readouterr().out


def test_on_gpus_workers_actors_and_engines_take_turns(billion: Path) -> None:
    config = AlignConfig(
        model=str(billion), data="pairs.jsonl", device="cuda", method="sera", workers=2, actors=2,
        batch=8, shard=True, activation_checkpointing=True,
    )  # fmt: skip
    size = size_of(config, 64)

    def counts(of: AlignConfig) -> dict[str, int]:
        return {p.name: p.count for p in processes(of, size)}

    workers = {"the command": 1, "first worker": 1, "training worker": 1}
    assert counts(config) == workers
    assert counts(replace(config, shard=False)) == {"the command": 1, "training worker": 2}
    assert counts(replace(config, actors=3)) == {**workers, "actor": 1}
    engines = replace(config, generator="vllm", tensor_parallel=2)
    assert counts(engines) == {**workers, "part of an engine": 2}
    problems = place(gpu_cluster(2), processes(engines, size)).problems
    assert "part of an engine 1 of 2 has no place" in problems[0]
    assert not place(gpu_cluster(4), processes(engines, size)).problems
    long = replace(config, max_new_tokens=64, generation_batch=4096, actors=1)
    assert counts(long) == {"the command": 1, "first worker": 1, "actor": 1}, "it needs more"
    words = [words for words, _ in remedies(engines, gpu_cluster(4))]
    assert "--tensor-parallel 4" in words and any("--shard" in word for word in words)
    kept = replace(engines, actors=1, keep_engines=True)
    assert counts(kept) == {**workers, "part of an engine": 2}
    on_cpus = replace(config, device="cpu")
    assert counts(on_cpus) == {"the command": 1, "training worker": 2, "actor": 2}
    whole, split = (engine_need(replace(engines, tensor_parallel=n), size).gpu for n in (1, 4))
    assert split["weights"] == whole["weights"] / 4 and split["CUDA"] == whole["CUDA"]
