"""Checkpoints: whole or an error that says what to do; the previous one survives any failure."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rayforge.errors import CheckpointError
from rayforge.irl.agent import Agent
from rayforge.irl.config import AgentConfig, ImageShape, NetworkConfig
from trainers.runs import checkpoint
from trainers.runs.checkpoint import (
    KEPT,
    RENAMED,
    latest,
    load_checkpoint,
    load_module,
    save_checkpoint,
)

FILES = ("module.safetensors", "optimizers.safetensors", "replay.npz", "state.json")
REPLAY: dict[str, np.ndarray] = {
    "negatives_viewpoint": np.arange(12, dtype=np.int32).reshape(3, 4),
    "negatives_serial": np.arange(3),
    "positives_viewpoint": np.zeros((0, 4), np.int32),
}


class Trained:
    """A network and two optimisers that have moved."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 2)
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.inputs = torch.randn(8, 3)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "policy": torch.optim.Adam(self.network.parameters(), lr=0.01),
            "temperature": torch.optim.Adam([self.temperature], lr=0.1, betas=(0.8, 0.9)),
        }
        self.train(3)

    def train(self, updates: int) -> None:
        for _ in range(updates):
            for optimizer in self.optimizers.values():
                optimizer.zero_grad()
            noise = torch.rand(8, 2)
            (self.network(self.inputs) * self.temperature - noise).square().mean().backward()
            for optimizer in self.optimizers.values():
                optimizer.step()

    def weights(self) -> dict[str, np.ndarray]:
        named = {**dict(self.network.named_parameters()), "temperature": self.temperature}
        return {name: p.detach().numpy().copy() for name, p in named.items()}

    def save(self, folder: Path, number: int, **state: Any) -> Path:
        optimizers = {
            name: {"module_id": "default", "state": optimizer.state_dict()}
            for name, optimizer in self.optimizers.items()
        }
        return save_checkpoint(folder, number, self.weights(), optimizers, REPLAY, state)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    """Weights, optimisers and random numbers: the next updates are the same to the bit."""
    original = Trained()
    path = original.save(tmp_path, 3, counts={"irl": 3}, elapsed=1.5)
    assert path == tmp_path / "00000003"
    original.train(4)

    other = Trained()
    other.train(2)
    found = load_checkpoint(path)
    assert found.path == path
    assert {name: found.state[name] for name in ("counts", "elapsed")} == {
        "counts": {"irl": 3}, "elapsed": 1.5
    }  # fmt: skip
    weights = {name: torch.from_numpy(array) for name, array in found.module.items()}
    assert weights["temperature"].shape == ()
    other.temperature.data.copy_(weights.pop("temperature"))
    other.network.load_state_dict(weights)
    assert set(found.optimizers) == {"policy", "temperature"}
    for name, optimizer in other.optimizers.items():
        entry = found.optimizers[name]
        assert entry["module_id"] == "default"
        state = {
            index: {key: torch.from_numpy(np.array(value)) for key, value in values.items()}
            for index, values in entry["state"]["state"].items()
        }
        groups = entry["state"]["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(torch.from_numpy(found.random))
    other.train(4)
    for name, array in original.weights().items():
        np.testing.assert_array_equal(other.weights()[name], array, err_msg=name)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    """Of every shape and memory order; the replay with its types."""
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    module: dict[str, np.ndarray] = {
        "turned": turned, "number": np.array(2.5, np.float32), "none": np.zeros((0, 3))
    }  # fmt: skip
    adam = {0: {"step": torch.tensor(3.0), "exp_avg": torch.arange(6.0).reshape(2, 3).T}}
    optimizers = {"policy": {"module_id": "m", "state": {"state": adam, "param_groups": []}}}
    found = load_checkpoint(save_checkpoint(tmp_path, 1, module, optimizers, REPLAY, {}))
    for ours, theirs in ((module, found.module), (REPLAY, found.replay)):
        assert set(ours) == set(theirs)
        for name, array in ours.items():
            np.testing.assert_array_equal(theirs[name], array, err_msg=name)
            assert (theirs[name].dtype, theirs[name].shape) == (array.dtype, array.shape)
    moments = found.optimizers["policy"]["state"]["state"][0]
    np.testing.assert_array_equal(moments["exp_avg"], adam[0]["exp_avg"].numpy())
    assert moments["step"] == 3.0


def test_acting_needs_the_module_alone(tmp_path: Path) -> None:
    trained = Trained()
    path = trained.save(tmp_path, 1, config={"seed": 4})
    (path / "replay.npz").unlink()
    (path / "optimizers.safetensors").write_bytes(b"")
    weights, state = load_module(path)
    for name, array in trained.weights().items():
        np.testing.assert_array_equal(weights[name], array)
    assert state["config"] == {"seed": 4}


def test_the_newest_are_kept(tmp_path: Path) -> None:
    trained = Trained()
    assert latest(tmp_path / "none") is None
    for number in (5, 90, 100, 1000):
        trained.save(tmp_path, number)
        assert latest(tmp_path) == tmp_path / f"{number:08d}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000100", "00001000"]
    assert KEPT == 2


def test_a_number_is_written_once(tmp_path: Path) -> None:
    """A finished run that goes on has learnt nothing since: its only checkpoint is left alone, so
    that no kill finds the moment in which there is none."""
    trained = Trained()
    first = trained.save(tmp_path, 7, elapsed=1)
    there = first.stat().st_ino
    assert trained.save(tmp_path, 7, elapsed=2) == first
    assert load_checkpoint(first).state["elapsed"] == 1 and first.stat().st_ino == there
    assert [p.name for p in tmp_path.iterdir()] == ["00000007"]


def test_what_a_kill_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    """Neither found as the latest one, nor in the way, nor left lying about."""
    trained = Trained()
    whole = trained.save(tmp_path, 1)
    for number in (1, 2):
        part = tmp_path / f".0000000{number}.part"
        part.mkdir()
        (part / "module.safetensors").write_bytes(b"half")
    assert latest(tmp_path) == whole
    trained.save(tmp_path, 2)
    load_checkpoint(tmp_path / "00000002")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001", "00000002"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "cut short", "changed", "empty"])
def test_broken_checkpoints_name_the_file_and_the_remedy(
    tmp_path: Path, name: str, how: str
) -> None:
    trained = Trained()
    older, path = trained.save(tmp_path, 1), trained.save(tmp_path, 2)
    file = path / name
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "changed":
        if name == "state.json":  # a digit of its own digest
            text = file.read_text().replace('"sha256": "', '"sha256": "0', 1)
            data = bytearray(text.encode())
        else:
            data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[: len(data) // 2] if how == "cut short" else b"")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert name in message or (how, name) == ("changed", "state.json")
    assert f"remove it to go on from {older}" in message
    shutil.rmtree(path)
    load_checkpoint(older)


def test_without_an_older_checkpoint_the_remedy_is_to_train_anew(tmp_path: Path) -> None:
    path = Trained().save(tmp_path, 1)
    (path / "replay.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"replay\.npz is not what was written.*train anew"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"state\.json is missing"):
        load_checkpoint(tmp_path / "00000009")


@pytest.mark.parametrize("failing", ["module", "optimizers", "replay", "state", "rename"])
def test_a_failure_while_writing_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    trained = Trained()
    first = trained.save(tmp_path, 1)
    before = contents(tmp_path)
    trained.train(1)
    full = OSError(errno.ENOSPC, "No space left on device")
    calls = 0

    def save_file(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == {"module": 1, "optimizers": 2}[failing]:
            raise full
        real_save_file(*args, **kwargs)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise full

    real_save_file = checkpoint.save_file
    if failing in ("module", "optimizers"):
        monkeypatch.setattr(checkpoint, "save_file", save_file)
    elif failing == "replay":
        monkeypatch.setattr(checkpoint.np, "savez", refuse)
    elif failing == "state":
        monkeypatch.setattr(Path, "write_text", refuse)
    else:
        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CheckpointError) as caught:
        trained.save(tmp_path, 2)
    monkeypatch.undo()
    message = str(caught.value)
    assert "00000002 could not be written" in message
    assert "No space left on device" in message
    assert f"the previous one is intact: {first}" in message
    assert "--resume" in message
    assert contents(tmp_path) == before
    trained.save(tmp_path, 2)
    load_checkpoint(tmp_path / "00000002")


def test_a_first_failure_says_that_there_is_nothing_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(CheckpointError, match="there is no earlier one"):
        Trained().save(tmp_path, 1)
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import sys
from pathlib import Path
import numpy as np
from rayforge.errors import CheckpointError
from trainers.runs.checkpoint import latest, load_checkpoint, save_checkpoint

folder, few, many = Path(sys.argv[1]), np.zeros(9), np.random.default_rng(0).random(400_000)
first = save_checkpoint(folder, 1, {"w": few}, {}, {"r": few}, {})
for module, replay in ((many, few), (few, many)):
    try:
        save_checkpoint(folder, 2, {"w": module}, {}, {"r": replay}, {})
    except CheckpointError as error:
        print(error)
    load_checkpoint(first)
    assert latest(folder) == first and [p.name for p in folder.iterdir()] == [first.name]
"""


def test_a_disk_that_is_really_full_leaves_the_previous_one(tmp_path: Path) -> None:
    """A file system of one megabyte in a namespace of its own, where the kernel allows it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs '{disk}'"
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([*own, mount], capture_output=True).returncode:
        pytest.skip("no private mounts here: a full disk cannot be made without privileges")
    command = f"{mount} && exec '{sys.executable}' -c \"$0\" '{disk}/checkpoints'"
    done = subprocess.run([*own, command, FULL_DISK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "No space left on device" in line
        assert "the previous one is intact" in line


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="could not be written"):
        Trained().save(tmp_path / "taken", 1)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """A replay with pickled objects in it is refused, even with the right digest."""
    path = Trained().save(tmp_path, 1)
    np.savez(path / "replay.npz", told=np.array([{"a": 1}], dtype=object))
    document = json.loads((path / "state.json").read_text())
    document["files"]["replay.npz"] = checkpoint._fingerprint(path / "replay.npz")
    del document["sum"]  # as in checkpoints from before there was one
    (path / "state.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="holds Python objects"):
        load_checkpoint(path)


def test_a_changed_state_is_named(tmp_path: Path) -> None:
    """Counts and settings have no file whose digest would tell."""
    path = Trained().save(tmp_path, 1)
    document = json.loads((path / "state.json").read_text())
    for value in (document | {"more": 1}, {}, [], {"files": 3}):
        (path / "state.json").write_text(json.dumps(value))
        with pytest.raises(CheckpointError, match=r"not whole: state\.json"):
            load_checkpoint(path)


def test_old_names_of_weights_and_replays_are_read(tmp_path: Path) -> None:
    """RayForge before 0.2 called the image encoder an eye, and an instruction a sentence."""
    weights = {
        "policy.eye.join.weight": np.arange(6.0).reshape(2, 3),
        "policy.sentence.embedding.weight": np.ones((2, 2)),
        "reward_sentence.embedding.weight": np.zeros((2, 2)),
        "policy.trunk.look.weight": np.full((1, 1), 4.0),
    }
    replay = {
        "told_sights": np.arange(3),
        "told_length": np.ones(3),
        "relabelled_tokens": np.ones(2),
    }
    folder = save_checkpoint(tmp_path, 1, weights, {}, replay, {"config": {}})
    found, _ = load_module(folder)
    assert sorted(found) == [
        "policy.image_encoder.join.weight", "policy.instruction_encoder.embedding.weight",
        "policy.trunk.look.weight", "reward_instruction_encoder.embedding.weight",
    ]  # fmt: skip
    whole = load_checkpoint(folder)
    assert sorted(whole.module) == sorted(found)
    np.testing.assert_array_equal(
        whole.module["policy.image_encoder.join.weight"], weights["policy.eye.join.weight"]
    )
    assert sorted(whole.replay) == ["negatives_frames", "negatives_length", "positives_tokens"]
    again = save_checkpoint(tmp_path, 2, whole.module, {}, whole.replay, {"config": {}})
    assert sorted(load_checkpoint(again).module) == sorted(found)


def test_an_old_agent_is_the_same_agent(tmp_path: Path) -> None:
    """Its weights, bit by bit, under the names that they had."""
    sizes = dict(vocabulary=9, dimension=8, images=ImageShape(16, 4, True))
    config = AgentConfig(network=NetworkConfig(word=8, hidden=8, view=8))
    agent = Agent(config=config, **sizes)
    old = {v: k for k, v in RENAMED.items()}
    said = {
        ".".join(old.get(part, part) for part in name.split(".")): value.numpy()
        for name, value in agent.state_dict().items()
    }
    assert any(".eye." in name for name in said) and any(".sentence." in name for name in said)
    found, _ = load_module(save_checkpoint(tmp_path, 1, said, {}, {}, {"config": {}}))
    other = Agent(config=config, **sizes)
    other.load_state_dict({name: torch.from_numpy(value) for name, value in found.items()})
    for (name, ours), (_, theirs) in zip(
        agent.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name
