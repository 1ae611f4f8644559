"""Bad input to the real command: exit code 1 and one clear line, before Ray starts."""

from __future__ import annotations

import base64
import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import ray
import torch

from rayforge.errors import CheckpointError, ConfigurationError, MachineError, RunError
from rayforge.files import write_json, write_text
from trainers.cli import main
from trainers.configuration import to_dict, to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.run import start_ray
from trainers.irl.task import read_task
from trainers.runs.checkpoint import latest, load_checkpoint, save_checkpoint
from trainers.runs.folder import check_place

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, which other tests may have started, looks stopped and must not be started."""

    def start(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("Ray was started before the input was refused")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # of what seems to have begun meanwhile
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that has to fail; returns its one line."""

    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code in (2, 3, 4, 6)
        lines = capsys.readouterr().err.splitlines()
        # Workers of the session's Ray may say something meanwhile.
        lines = [line for line in lines if " pid=" not in line]
        assert len(lines) == 1, lines
        assert lines[0].startswith("rayforge: ")
        return lines[0].removeprefix("rayforge: ")

    return run


@pytest.fixture
def train(refused: Refused, tiny_folder: Path, tmp_path: Path) -> Refused:
    """Trains on the tiny folder, which a test has spoilt; returns the one line."""

    def run(*arguments: str | Path) -> str:
        where = ("--data", tiny_folder, "--run", tmp_path / "run")
        return refused("irl", "train", *where, *arguments)

    return run


def edit(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_missing_graph(train: Refused, tiny_folder: Path) -> None:
    file = tiny_folder / "connectivity" / "beta_connectivity.json"
    file.unlink()
    assert train() == f"{file}: no such file"


def test_a_malformed_graph(train: Refused, tiny_folder: Path) -> None:
    file = tiny_folder / "connectivity" / "beta_connectivity.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    assert train().startswith(f"{file}: not valid JSON")
    file.write_text(text)
    edit(file, lambda viewpoints: viewpoints[2].pop("pose"))
    assert train().startswith(f"{file}: viewpoint 2: missing key 'pose'")


def test_a_path_with_an_unknown_viewpoint(train: Refused, tiny_folder: Path) -> None:
    file = tiny_folder / "R2R_train.json"
    edit(file, lambda records: records[3]["path"].append("nowhere"))
    message = train()
    assert message.startswith(f"{file}: path_id 104: viewpoint 'nowhere' is not in the graph of")


def test_a_step_that_is_no_edge(train: Refused, tiny_folder: Path) -> None:
    file = tiny_folder / "R2R_train.json"
    edit(file, lambda records: records[2].update(path=["alpha00", "alpha04"]))
    assert train() == f"{file}: path_id 103: step 0 from alpha00 to alpha04 is no edge of " + (
        "building alpha"
    )


def test_an_empty_instruction(train: Refused, tiny_folder: Path) -> None:
    file = tiny_folder / "R2R_val_seen.json"
    edit(file, lambda records: records[1].update(instructions=["Go on.", "  "]))
    assert f"{file}: record 1 (path_id 114): instruction 1 is empty" in train()


def test_long_instructions_are_cut_and_counted(
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*asked: Any) -> None:
        raise ConfigurationError("far enough")

    monkeypatch.setattr("trainers.irl.run.start_ray", stop)
    edit(
        tiny_folder / "R2R_train.json",
        lambda records: records[0].update(instructions=["walk " * 90, "walk " * 79, "stop " * 80]),
    )
    with pytest.raises(SystemExit):
        main(["irl", "train", "--data", str(tiny_folder), "--run", str(tmp_path / "run")])
    warning = "warning: train: 2 of 36 instructions are longer than max_words 80 and were cut there"
    assert capsys.readouterr().err.splitlines() == [warning, "rayforge: far enough"]


def viewpoints(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted((folder / "connectivity").iterdir()):
        for entry in json.loads(file.read_text()):
            yield file.name.split("_")[0], entry["image_id"]


def write_hdf5(file: Path, folder: Path, odd: tuple[int, ...] = (36, 8), skip: str = "") -> Path:
    with h5py.File(file, "w") as datasets:
        for scan, viewpoint in viewpoints(folder):
            if viewpoint != skip:
                shape = odd if viewpoint == "beta03" else (36, 8)
                datasets[f"{scan}_{viewpoint}"] = np.zeros(shape, np.float32)
    return file


def write_tsv(file: Path, folder: Path, views: int = 36, skip: str = "") -> Path:
    lines = []
    for scan, viewpoint in viewpoints(folder):
        if viewpoint != skip:
            numbers = np.zeros((views if viewpoint == "beta03" else 36, 8), "<f4")
            text = base64.b64encode(numbers.tobytes()).decode()
            lines.append(f"{scan}\t{viewpoint}\t640\t480\t60\t{text}\n")
    file.write_text("".join(lines))
    return file


def test_features_of_the_wrong_shape(train: Refused, tiny_folder: Path, tmp_path: Path) -> None:
    file = write_hdf5(tmp_path / "f.h5", tiny_folder, odd=(35, 8))
    message = train("--features", file)
    assert message.startswith(f"{file}: dataset beta_beta03 is (35, 8); expected (36, 8)")
    file = write_tsv(tmp_path / "f.tsv", tiny_folder, views=35)
    message = train("--features", file)
    assert message.startswith(f"{file}: line 19 (building beta, viewpoint beta03): features have")


@pytest.mark.parametrize(("name", "write"), [("f.hdf5", write_hdf5), ("f.tsv", write_tsv)])
def test_features_that_lack_viewpoints(
    train: Refused, tiny_folder: Path, tmp_path: Path, name: str, write: Callable[..., Path]
) -> None:
    file = write(tmp_path / name, tiny_folder, skip="gamma02")
    message = train("--features", file)
    assert message.startswith(f"{file}: no features of viewpoint gamma02 in building gamma")


def test_a_feature_file_that_is_none(train: Refused, tmp_path: Path) -> None:
    assert train("--features", tmp_path / "none.h5") == (
        f"{tmp_path / 'none.h5'}: no such feature file"
    )
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    message = train("--features", tmp_path / "broken.h5")
    assert message.startswith(f"{tmp_path / 'broken.h5'}: cannot be read (")


def test_an_unknown_split(train: Refused, tiny_folder: Path) -> None:
    message = train("--evaluate", "val_sen")
    assert message.startswith(f"{tiny_folder}: no split 'val_sen' (no file R2R_val_sen.json);")
    assert "it has train, val_seen, val_unseen" in message


def test_an_unknown_held_out_building(train: Refused, tiny_folder: Path) -> None:
    message = train("--held-out", "alpa")
    assert message.startswith(f"{tiny_folder}: held-out building 'alpa' is in neither")
    assert message.endswith("the nearest name is alpha")


def test_every_building_held_out(train: Refused, tiny_folder: Path) -> None:
    message = train("--held-out", "alpha", "beta")
    assert message == f"{tiny_folder}: split 'train' has no episodes left"


def test_a_path_longer_than_the_step_limit(train: Refused, tiny_folder: Path) -> None:
    message = train("--max-steps", "3")
    assert message.startswith(f"{tiny_folder}: split train, building ")
    assert message.endswith("actions (STOP included), but max_steps is 3: raise it")


def test_a_data_folder_that_is_none(refused: Refused, tmp_path: Path) -> None:
    message = refused("irl", "train", "--data", tmp_path / "none", "--run", tmp_path / "run")
    assert message.startswith(f"data folder {tmp_path / 'none'} does not exist")


def test_a_run_folder_that_cannot_be_written(refused: Refused, tiny_folder: Path) -> None:
    run = tiny_folder / "R2R_train.json" / "run"
    message = refused("irl", "train", "--data", tiny_folder, "--run", run)
    assert message == f"run folder {run} cannot be made: Not a directory"


def test_a_run_folder_that_can_no_longer_be_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is mounted for reading alone; nothing is read before it is told."""

    def refuse(file: Path, text: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))

    monkeypatch.setattr("trainers.runs.folder.write_text", refuse)
    with pytest.raises(RunError, match=r"cannot be written \(Read-only file system\): mount it"):
        check_place(run, resume=True)


def test_too_few_processors(train: Refused, tmp_path: Path) -> None:
    have = os.cpu_count() or 1
    assert train("--runners", str(have)) == (
        f"runners is {have}, which takes {have + 1} CPUs with the learner's, but there are {have}: "
        f"ask for at most {have - 1}"
    )
    assert not (tmp_path / "run").exists()


def test_too_few_free_processors_in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    monkeypatch.setattr("trainers.irl.preflight.join_cluster", lambda **settings: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 3.0})
    with pytest.raises(MachineError, match="cluster at cluster:6379 has 3 CPUs free"):
        start_ray(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--updates", "-1"), "updates must not be negative, got -1"),
        (("--config", "none.yaml"), "none.yaml: no such file"),
        (("--resume", "runs/none"), "runs/none holds no run to go on with: it has no config.yaml"),
    ],
)
def test_settings_that_cannot_be(train: Refused, arguments: tuple[str, ...], message: str) -> None:
    assert train(*arguments).startswith(message)


def test_a_network_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["irl", "train", "--run", "none", "--network.hidden", "15"])
    assert stop.value.code == 2  # wrong usage, said by the reader of arguments
    assert "got 15" in capsys.readouterr().err


def test_no_run_folder_named(refused: Refused) -> None:
    assert refused("irl", "train").startswith("say where the run goes, --run DIR")


@pytest.fixture
def run(tiny_folder: Path, tmp_path: Path, tiny: IRLConfig) -> Path:
    """A run folder with two checkpoints, whose weights are of no agent."""
    folder = tmp_path / "run"
    config = replace(tiny, data=str(tiny_folder), evaluate=("val_seen",), max_steps=15)
    task = read_task(tiny_folder, config, ("train", "val_seen"))
    folder.mkdir()
    write_text(folder / "config.yaml", to_yaml(config))
    write_text(folder / "vocabulary.json", task.vocabulary.to_json())
    write_json(folder / "objects.json", task.data.objects)
    state = {"config": to_dict(config), "data": task.fingerprint, "counts": {}, "iteration": 1}
    for number in (8, 16):
        save_checkpoint(folder / "checkpoints", number, {"w": np.ones(99)}, {}, {}, state)
    return folder


def test_a_run_folder_that_is_taken(train: Refused, run: Path) -> None:
    assert train() == (
        f"{run} holds a run already: name another folder, or go on with --resume {run}"
    )


def test_a_checkpoint_of_another_configuration(refused: Refused, run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("gamma: 0.95", "gamma: 0.9"))
    message = refused("irl", "train", "--resume", run)
    assert message.startswith(
        f"checkpoint {run / 'checkpoints' / '00000016'} was made with another"
    )
    assert "configuration: gamma was 0.95 and is now 0.9; go on under its" in message
    message = refused("irl", "evaluate", run, "--split", "val_seen")
    assert "gamma was 0.95 and is now 0.9" in message


def test_a_setting_changed_on_the_command_line_of_a_resumed_run(
    refused: Refused, run: Path
) -> None:
    message = refused("irl", "train", "--resume", run, "--network.hidden", "32")
    assert "network.hidden was 16 and is now 32" in message


def test_a_configuration_that_was_mistyped(refused: Refused, run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("gamma: 0.95", "gama: 0.95"))
    message = refused("irl", "train", "--resume", run)
    assert message == f"configuration {file}: unknown setting gama; did you mean gamma?"


def test_other_data_than_the_checkpoint_was_made_with(
    refused: Refused, run: Path, tiny_folder: Path
) -> None:
    edit(tiny_folder / "R2R_train.json", lambda records: records.pop())
    message = refused("irl", "train", "--resume", run)
    assert message.startswith(f"checkpoint {run / 'checkpoints' / '00000016'} was made with other")
    assert f"data than {tiny_folder} holds now" in message


@pytest.mark.parametrize("name", ["module.safetensors", "replay.npz", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "removed"])
def test_a_half_written_checkpoint(refused: Refused, run: Path, name: str, damage: str) -> None:
    newest = run / "checkpoints" / "00000016"
    file = newest / name
    if damage == "removed":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    message = refused("irl", "train", "--resume", run)
    assert message.startswith(f"checkpoint {newest} is not whole: {name} ")
    assert message.endswith(f"remove it to go on from {run / 'checkpoints' / '00000008'}")


def test_a_run_without_checkpoints(refused: Refused, run: Path) -> None:
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.part"))
    assert refused("irl", "evaluate", run, "--split", "val_seen").startswith(f"{run} has no check")


def test_evaluating_an_unknown_split(refused: Refused, run: Path, tiny_folder: Path) -> None:
    message = refused("irl", "evaluate", run, "--split", "test")
    assert message.startswith(f"{tiny_folder}: no split 'test'")


def test_watching_a_split_that_was_not_evaluated(refused: Refused, run: Path) -> None:
    message = refused("irl", "watch", run, "--split", "val_seen")
    assert message.startswith(f"{run} has no evaluation of split val_seen (there are: none)")


@pytest.mark.parametrize("part", ["module", "replay"])
def test_a_full_disk_while_writing_a_checkpoint(tmp_path: Path, part: str) -> None:
    """The previous checkpoint stays as it was. A limit on files' sizes stands for the disk's."""
    folder = tmp_path / "checkpoints"
    small, large = {"w": np.ones(99, np.float32)}, {"w": np.ones(99_999, np.float32)}
    first = save_checkpoint(folder, 8, small, {}, small, {"iteration": 1})
    sizes = {file: file.stat().st_size for file in folder.rglob("*")}
    parts = {"module": small, "replay": small, part: large}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="could not be written") as caught:
            save_checkpoint(folder, 16, parts["module"], {}, parts["replay"], {"iteration": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"the previous one is intact: {first}. Free some disk space" in str(caught.value)
    assert {file: file.stat().st_size for file in folder.rglob("*")} == sizes
    assert latest(folder) == first
    assert load_checkpoint(first).state["iteration"] == 1
    assert save_checkpoint(folder, 16, large, {}, large, {"iteration": 2}) == latest(folder)


def test_a_full_disk_anywhere_else(
    refused: Refused, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / "metrics.jsonl"))

    monkeypatch.setattr("trainers.irl.run.train", no_space)
    message = refused("irl", "train", "--resume", run)
    assert message.startswith(f"No space left on device: {run / 'metrics.jsonl'}; free")


def test_a_long_place_is_told_whole(
    refused: Refused, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("/data") / ("long" * 30) / "metrics.jsonl"

    def no_space(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    monkeypatch.setattr("trainers.irl.run.train", no_space)
    assert f"{place}; free" in refused("irl", "train", "--resume", run)


def test_reading_a_checkpoint_does_not_touch_the_random_numbers(run: Path) -> None:
    torch.manual_seed(7)
    expected = torch.get_rng_state()
    newest = latest(run / "checkpoints")
    assert newest is not None
    load_checkpoint(newest)
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--learners", "8"), "learners is 8, a CPU each, but there are 4: ask for at most 4"),
        (("--runners", "2", "--learners", "3"),
         "runners is 2, which takes 5 CPUs with those of 3 learners, but there are 4: ask for at "),
        (("--learners", "-1"), "learners must not be negative"),
        (("--staleness", "-1"), "staleness must not be negative"),
        (("--staleness", "8"), "staleness is 8, but runners is 0"),
        (("--staleness", "3", "--runners", "1"), "staleness is 3, but a round that is rolled out"),
        (("--learners", "2", "--batch", "1"), "learners is 2, but batch is 1: each learner needs"),
        (("--learners", "2", "--method", "completion"), "learners is 2, but method \"completion\""),
        (("--learners", "2", "--network.trunk", "circuit-conditioned"), "learners is 2, but the"),
        (("--fewest-runners", "2", "--runners", "1"), "fewest_runners is 2, but runners is 1"),
    ],
)  # fmt: skip
def test_learners_and_runners_that_cannot_be(
    train: Refused, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.setattr("trainers.irl.preflight.processors", lambda: 4)
    assert train(*arguments).startswith(line)


def test_more_learners_than_gpus(train: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.irl.preflight.processors", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert train("--device", "cuda", "--learners", "3") == (
        "learners is 3 and device is cuda, a GPU each, but there are 2: use --device cpu, or ask "
        "for at most 2 learners"
    )
