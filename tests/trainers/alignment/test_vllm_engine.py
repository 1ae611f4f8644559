"""vLLM's actors, with a stand-in that has its public names (`stand_in/vllm`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rayforge.errors import ConfigurationError, MachineError
from trainers.alignment import review, selecting
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import GenerationJob, Sampling, answering
from trainers.alignment.models import Checkpoint
from trainers.alignment.preflight import check_nodes
from trainers.alignment.run import make_pool, train
from trainers.alignment.system import ALIGN
from trainers.runs.pool import Holder, Pool

STAND_IN = Path(__file__).with_name("stand_in")
HOW = Sampling(2, 0.7, 1.0, 8)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """vLLM can be imported in this process; the file of what its engines did."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    log = tmp_path / "engines.log"
    log.touch()
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    yield log
    sys.modules.pop("vllm", None)


def events(log: Path) -> list[str]:
    """What engines did, without process and folder."""
    return [line.split()[1] for line in log.read_text().splitlines()]


def sampled(run: Path) -> dict[str, list[Any]]:
    """Every response of a run, and the pairs that came of them."""
    names = ("responses", "order", "greedy", "sampled")
    files = [file for name in names for file in run.glob(f"rounds/*/{name}.parquet")]
    tables = {str(file.relative_to(run)): pq.read_table(file) for file in files}
    return {
        f"{name} {column}": table[column].to_pylist()
        for name, table in tables.items() for column in table.column_names
        if column.endswith("_ids")
    }  # fmt: skip


def of_vllm(small: AlignConfig, **more: Any) -> AlignConfig:
    """Two rounds: four held-out prompts in one batch, and eight to make pairs of in two."""
    own = {"rounds": 2, "prompts": 8, "evaluation_prompts": 4, "generator": "vllm"}
    return replace(small, **own, **more)


@pytest.fixture(scope="module")
def whole(small: AlignConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run in this process, undisturbed; what its engine did is in `engines.log` beside it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STAND_IN))
        patch.setenv("STAND_IN_LOG", str(folder / "engines.log"))
        train(of_vllm(small), folder / "run", False, "test")
    sys.modules.pop("vllm", None)
    yield folder / "run"


def test_one_engine_takes_each_rounds_weights_and_a_resumed_run_is_the_same(
    whole: Path, stand_in: Path, small: AlignConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    did = whole.with_name("engines.log")
    assert events(did) == ["start", "reload", "reload"]
    read = [line.split()[-1] for line in did.read_text().splitlines()[1:]]
    assert read == [str(whole / f"rounds/{number}/model") for number in (1, 2)]
    monkeypatch.setenv("STAND_IN_DIES", str(tmp_path / "died"))
    monkeypatch.setenv("STAND_IN_RAISES", "1")
    with pytest.raises(RuntimeError, match="the stand-in raises"):
        train(of_vllm(small), tmp_path / "broken", False, "test")
    (part,) = (tmp_path / "broken/rounds/2/responses.parts").iterdir()
    assert part.name == "000000.parquet"
    train(of_vllm(small), tmp_path / "broken", True, "test")
    assert sampled(tmp_path / "broken") == sampled(whole)


@pytest.mark.ray
def test_a_killed_engine_is_replaced_and_its_prompts_are_answered_alike(
    cluster: None, whole: Path, stand_in: Path, small: AlignConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    died, log = tmp_path / "died", tmp_path / "actors.log"

    class InActors(GenerationJob):  # inside, so that actors get it by value
        def load(self) -> Any:
            if str(STAND_IN) not in sys.path:
                sys.path.insert(0, str(STAND_IN))
            os.environ |= {"STAND_IN_DIES": str(died), "STAND_IN_LOG": str(log)}
            return super().load()

    def in_actors(config: AlignConfig, checkpoint: Checkpoint, how: Sampling) -> GenerationJob:
        return InActors(**vars(answering(config, checkpoint, how)))

    monkeypatch.setattr(review, "answering", in_actors)
    monkeypatch.setattr(selecting, "answering", in_actors)
    train(of_vllm(small, actors=1), tmp_path / "killed", False, "test")
    assert died.exists()
    starts = [line for line in log.read_text().splitlines() if " start " in line]
    assert len(starts) == 2, "an engine, and one in the place of the killed one"
    assert "reload" in events(log)
    # Scores come from actors too, whose last bits are theirs: what was answered is compared, not
    # how it was ranked. Rounds begin from the same model as long as pairs are the same.
    mine, theirs = sampled(tmp_path / "killed"), sampled(whole)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert mine[name] == value, name


@pytest.mark.ray
def test_an_engine_that_is_split_has_its_places_on_one_node(cluster: None) -> None:
    class Places:
        def load(self) -> Any:
            from ray.util import get_current_placement_group

            group = get_current_placement_group()
            return lambda batch: (group.bundle_specs, os.getpid())

    import ray

    before = ray.available_resources()["CPU"]
    pool = Pool(1, split=2)
    try:
        ((_, (bundles, pid)),) = pool.run(Places(), [0])
        assert bundles == [{"CPU": 1.0}, {"CPU": 1.0}] and pid != os.getpid()
        assert before - ray.available_resources()["CPU"] >= 2
    finally:
        pool.release()
    assert not pool._groups


def job(folder: Path, **changes: Any) -> GenerationJob:
    return replace(GenerationJob(folder, "cpu", False, "vllm", HOW, 1, 64), **changes)


def test_an_engine_is_started_anew_for_another_architecture(
    stand_in: Path, model_folder: Path, tmp_path: Path
) -> None:
    import shutil

    from transformers import LlamaConfig, LlamaForCausalLM

    own = LlamaConfig.from_pretrained(model_folder)
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    own.num_hidden_layers = 2
    LlamaForCausalLM(own).save_pretrained(other)
    holder, batch = Holder(), (3, [(5, 6), (7, 8, 9)])
    first = holder.run(job(model_folder), batch)
    assert holder.run(job(model_folder, sampling=replace(HOW, responses=3)), batch) != first
    assert events(stand_in) == ["start"]
    holder.run(job(other), batch)
    assert events(stand_in) == ["start", "start"]
    assert holder.run(job(model_folder), batch) == first
    same = tmp_path / "same"
    shutil.copytree(model_folder, same)
    assert holder.run(job(same), batch) == first
    assert events(stand_in)[3:] == ["reload"]


def test_prompts_of_a_batch_do_not_share_seeds(stand_in: Path, model_folder: Path) -> None:
    found = Holder().run(job(model_folder), (0, [(5, 6)] * 3))
    assert len(found) == 6 and len(set(found)) > 3


def test_weights_that_could_not_be_read_are_not_answered_with(
    stand_in: Path, model_folder: Path, tmp_path: Path
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    holder, batch = Holder(), (3, [(5, 6)])
    first = holder.run(job(model_folder), batch)
    with pytest.raises(Exception, match=r"(?i)header"):
        holder.run(job(broken), batch)
    assert holder.run(job(model_folder), batch) == first
    assert events(stand_in) == ["start", "start"]


def test_actors_that_want_the_same_places_take_turns() -> None:
    other = Pool(0, lasting=False)
    one = Pool(0, lasting=False, answering=other, rival=other)
    other.rival = one
    loaded = []

    @dataclass(frozen=True)
    class Job:
        name: str

        def load(self) -> Any:
            loaded.append(self.name)
            return lambda batch: batch

    for pool, name in ((one, "score"), (other, "answer"), (other, "answer"), (one, "score")):
        assert list(pool.run(Job(name), [1])) == [(0, 1)]
    assert loaded == ["score", "answer", "score"], "who has the place keeps it"
    assert other._holder.job is None
    one.make_room()
    assert one._holder.job is None


def test_engines_that_are_kept_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    gpu = AlignConfig(device="cuda", generator="vllm", workers=4, actors=2, tensor_parallel=4)
    assert gpu.places == 8
    pool = make_pool(gpu)
    assert (
        pool.answering is not None and pool.answering.rival is pool and not pool.answering.lasting
    )
    assert (pool.answering.split, pool.answering.gpus) == (4, 1.0)
    kept = replace(gpu, keep_engines=True)
    assert kept.places == 12
    pool = make_pool(kept)
    assert pool.answering is not None and pool.answering.lasting and pool.rival is None
    assert make_pool(replace(gpu, generator="transformers", tensor_parallel=1)).answering is None
    assert ALIGN.resources(gpu).gpus == 2 + 4 + 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tensor_parallel": 2}, "tensor_parallel is 2, which only vLLM's engines take"),
        ({"keep_engines": True}, "keep_engines is True, which only vLLM's engines take"),
        ({"generator": "vllm", "device": "cuda"}, "generator vllm needs actors"),
        ({"generator": "vllm", "tensor_parallel": 2}, "generator vllm needs actors"),
        ({"generator": "vllm", "device": "cuda", "actors": 1, "keep_engines": True},
         "keep_engines needs workers"),
        ({"generator": "vllm", "actors": 1, "tensor_parallel": 0}, "tensor_parallel must be"),
    ],
)  # fmt: skip
def test_engines_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        AlignConfig(**settings)
    assert "\n" not in str(caught.value)


def test_what_a_machine_does_not_have_is_said_before_ray_starts(
    small: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError) as missing:
        train(of_vllm(small, actors=1), tmp_path / "missing", False, "test")
    assert "pip install 'rayforge[vllm]'" in str(missing.value) and "\n" not in str(missing.value)
    monkeypatch.syspath_prepend(str(STAND_IN))
    many = of_vllm(small, actors=3, tensor_parallel=100)
    with pytest.raises(ConfigurationError, match="tensor_parallel 100 take 300 CPUs") as caught:
        train(many, tmp_path / "many", False, "test")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    gpus = of_vllm(small, actors=1, tensor_parallel=4, device="cuda")
    with pytest.raises(ConfigurationError, match="take 4 GPUs at a time, but there are 2"):
        train(gpus, tmp_path / "gpus", False, "test")
    with pytest.raises(MachineError, match="the largest node has 2 GPUs: an engine lies on one"):
        check_nodes(gpus, [{"GPU": 2.0}, {"CPU": 8.0}])
    check_nodes(replace(gpus, tensor_parallel=2), [{"GPU": 2.0}])
    with pytest.raises(ConfigurationError, match="a search file sets keep_engines"):
        ALIGN.check_file(replace(gpus, workers=1, keep_engines=True))
    assert not list(tmp_path.iterdir())
