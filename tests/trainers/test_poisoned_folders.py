"""Folders from elsewhere that would run code where what they hold were unpickled or fetched.

Models, adapters and checkpoints of alignment: tests/trainers/alignment/test_foreign_models.py;
judges in files: test_judging.py there; folders of searches: tests/trainers/search.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.graph.image_features import HDF5Store
from envs.simulators.embedded.stored import _kept
from envs.simulators.scene import find_scene
from rayforge.errors import CheckpointError, ConfigurationError, SceneError, UserError
from rayforge.readers.arrays import read_npz, read_tensors
from tests.envs.simulators.made_up import cube, write_scene
from trainers.configuration import read_configuration
from trainers.irl.config import IRLConfig
from trainers.runs.checkpoint import _fingerprint, _sum, load_checkpoint, save_checkpoint


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a payload would make; no connection can be made meanwhile."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "code ran"


def pickled_npz(mark: Path, name: str) -> bytes:
    array = io.BytesIO()
    np.save(array, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(f"{name}.npy", array.getvalue())
    return whole.getvalue()


@pytest.mark.parametrize("name", ["module.safetensors", "optimizers.safetensors", "replay.npz"])
def test_an_agents_checkpoint(tmp_path: Path, mark: Path, name: str) -> None:
    """Sums are right: whoever wrote it can count as well."""
    optimizers = {"policy": {"module_id": "m", "state": {"state": {}, "param_groups": []}}}
    folder = save_checkpoint(tmp_path, 1, {"a": np.zeros(2, np.float32)}, optimizers, {}, {})
    content = pickled_npz(mark, "told") if name.endswith("npz") else pickle.dumps(Payload(mark))
    (folder / name).write_bytes(content)
    (folder / "state.pkl").write_bytes(pickle.dumps(Payload(mark)))
    state = json.loads((folder / "state.json").read_text())
    state["files"][name] = _fingerprint(folder / name)
    (folder / "state.json").write_text(json.dumps(state | {"sum": _sum(state)}))
    with pytest.raises(CheckpointError, match=name.split(".")[0]):
        load_checkpoint(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_npz, lambda mark: pickled_npz(mark, "a")),
        (read_npz, lambda mark: pickle.dumps({"a": Payload(mark)})),
        (read_tensors, lambda mark: pickle.dumps(Payload(mark))),
    ],
)
def test_arrays(
    tmp_path: Path, mark: Path, read: Callable[..., Any], content: Callable[[Path], bytes]
) -> None:
    (tmp_path / "a.npz").write_bytes(content(mark))
    with pytest.raises(UserError):
        read(tmp_path / "a.npz")
    assert not mark.exists()


def test_features(tmp_path: Path, mark: Path) -> None:
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(np.zeros((36, 4), np.float32).tobytes())
    with h5py.File(tmp_path / "f.h5", "w") as file:
        kind = h5py.opaque_dtype(np.dtype("V8"))
        file.create_dataset("a_0", data=np.zeros((36, 1), "V8").astype(kind))
        file.attrs["pickled"] = np.void(pickle.dumps(Payload(mark)))
        file["a_1"] = h5py.ExternalLink("/etc/hostname", "/x")
        file.create_dataset("a_2", (36, 4), np.float32, external=[(str(secret), 0, 576)])
    store = HDF5Store(tmp_path / "f.h5")
    for number in range(3):
        with pytest.raises(UserError):
            store.panorama("a", str(number))
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    ["seed: !!python/object/apply:os.mkdir ['{}']", "!!python/object/new:os.mkdir ['{}']",
     "seed: !!python/name:os.mkdir"],
)  # fmt: skip
def test_a_runs_configuration(tmp_path: Path, mark: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text.format(mark))
    with pytest.raises(ConfigurationError):
        read_configuration(IRLConfig, tmp_path / "config.yaml")
    assert not mark.exists()


@pytest.mark.parametrize("uri", ["http://example.org/a.bin", "file:///etc/passwd", "ftp://a/b"])
def test_scenes_fetch_nothing(tmp_path: Path, mark: Path, uri: str) -> None:
    config = write_scene(tmp_path, cube())
    file = tmp_path / "made.glb"
    data = file.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    header = json.loads(data[20 : 20 + length])
    header["images"] = [{"uri": uri}]
    header["textures"] = [{"source": 0}]
    header["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    for mesh in header["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["attributes"]["TEXCOORD_0"] = primitive["attributes"]["POSITION"]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    whole = data[:8] + (20 + len(text) + len(rest)).to_bytes(4, "little")
    file.write_bytes(whole + len(text).to_bytes(4, "little") + data[16:20] + text + rest)
    from envs.simulators.embedded.stored import load_model

    with pytest.raises(SceneError, match=r"made\.glb"):
        load_model(find_scene(config), tmp_path)
    outside = tmp_path / "stage.stage_config.json"
    outside.write_text(json.dumps({"render_asset": "../../etc/passwd"}))
    with pytest.raises(SceneError, match=r"is no mesh|not in the configuration's"):
        find_scene(outside)


def test_a_cache_of_scenes(tmp_path: Path, mark: Path) -> None:
    (tmp_path / "key.npz").write_bytes(pickled_npz(mark, "face_id"))
    assert _kept(tmp_path / "key.npz", {}, "key") is None
    assert not mark.exists()
