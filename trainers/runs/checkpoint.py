"""Checkpoints: safetensors, NumPy arrays and JSON; nothing is ever unpickled.

`checkpoints/NUMBER/` holds `module.safetensors`, `optimizers.safetensors`, `replay.npz` and
`state.json` (counts, the configuration's fingerprint, size and SHA-256 of the other files). A
checkpoint is written under a temporary name and renamed when everything is on the disk, so a
folder that carries a number is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from rayforge.errors import CheckpointError
from rayforge.files import clear_parts, whole_folder
from rayforge.readers.arrays import read_npz, read_tensors
from rayforge.readers.json_text import read_object

KEPT = 2
"""Checkpoints kept; older ones are removed when a new one is whole."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from."""

    path: Path
    module: dict[str, np.ndarray]
    optimizers: dict[str, Any]
    replay: dict[str, np.ndarray]
    random: np.ndarray
    """State of torch's random numbers, uint8."""
    state: dict[str, Any]


def save_checkpoint(
    folder: Path,
    number: int,
    module: dict[str, np.ndarray],
    optimizers: dict[str, Any],
    replay: dict[str, np.ndarray],
    state: dict[str, Any],
) -> Path:
    """Write checkpoint `number` into `folder`; on any failure the earlier ones stay as they were.

    `optimizers` maps names to torch's optimiser states; torch's random state is kept as well.
    Raises CheckpointError where the disk does not take it.
    """
    final = folder / f"{number:08d}"
    if latest(folder) == final:  # a finished run that goes on: nothing was learnt since
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_parts(folder, older_than_s=0.0)
        with whole_folder(final, replace=True) as part:
            tensors, groups = _flatten(optimizers)
            tensors["torch_random"] = torch.get_rng_state().numpy()
            save_file({k: _plain(v) for k, v in module.items()}, part / "module.safetensors")
            save_file(tensors, part / "optimizers.safetensors")
            with (part / "replay.npz").open("wb") as stream:
                np.savez(stream, allow_pickle=False, **replay)
            files = {f.name: _fingerprint(f) for f in sorted(part.iterdir())}
            document = {**state, "optimizers": groups, "files": files}
            document["sum"] = _sum(json.loads(json.dumps(document)))
            (part / "state.json").write_text(json.dumps(document, indent=1))
    except (OSError, SafetensorError) as error:
        kept = latest(folder)
        raise CheckpointError(
            f"checkpoint {final} could not be written ({error}); "
            + (f"the previous one is intact: {kept}" if kept else "there is no earlier one")
            + ". Free some disk space and go on with --resume"
        ) from error
    for old in complete(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint folder, every file checked.

    Raises CheckpointError for a half-written or changed checkpoint.
    """
    state = _checked(path, ("module.safetensors", "optimizers.safetensors", "replay.npz"))
    tensors = read_tensors(path / "optimizers.safetensors", CheckpointError)
    random = tensors.pop("torch_random")
    replay = _renamed_replay(read_npz(path / "replay.npz", CheckpointError))
    module = read_weights(path / "module.safetensors")
    return Checkpoint(path, module, _unflatten(tensors, state["optimizers"]), replay, random, state)


def load_module(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What is needed to act: the module's weights and the state of a checkpoint folder."""
    state = _checked(path, ("module.safetensors",))
    return read_weights(path / "module.safetensors"), state


RENAMED = {
    "eye": "image_encoder",
    "sentence": "instruction_encoder",
    "reward_sentence": "reward_instruction_encoder",
}
"""Parts of weights' names in RayForge before 0.2."""
RENAMED_REPLAY = {"told": "negatives", "relabelled": "positives"}


def read_weights(file: Path) -> dict[str, np.ndarray]:
    """The weights in a safetensors file, by today's names whichever RayForge wrote it.

    Raises CheckpointError where it cannot be read.
    """
    found = read_tensors(file, CheckpointError)
    return {".".join(RENAMED.get(p, p) for p in n.split(".")): v for n, v in found.items()}


def _renamed_replay(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of a replay, "RING_COLUMN", by today's names."""
    found = {}
    for name, array in arrays.items():
        ring, line, column = name.partition("_")
        column = "frames" if column == "sights" else column
        found[f"{RENAMED_REPLAY.get(ring, ring)}{line}{column}"] = array
    return found


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint in a `checkpoints` folder."""
    whole = complete(folder)
    return whole[-1] if whole else None


def complete(folder: Path) -> list[Path]:
    """The whole checkpoints in a `checkpoints` folder, the newest last."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def _checked(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    def broken(why: str) -> CheckpointError:
        older = [p for p in complete(path.parent) if p < path]
        remedy = f"remove it to go on from {older[-1]}" if older else "train anew"
        return CheckpointError(f"checkpoint {path} is not whole: {why}; {remedy}")

    try:
        state = read_object(path / "state.json", CheckpointError)
    except CheckpointError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        why = "state.json is missing" if missing else f"state.json cannot be read ({error})"
        raise broken(why) from error
    files = state.get("files")
    if not isinstance(files, dict) or _sum(state) != state.get("sum", _sum(state)):
        raise broken("state.json is not what was written (cut short or changed)")
    for name in names:
        file = path / name
        if not file.is_file():
            raise broken(f"{name} is missing")
        if _fingerprint(file) != files.get(name):
            raise broken(f"{name} is not what was written (cut short or changed)")
    return state


def _sum(state: dict[str, Any]) -> str:
    """SHA-256 of what state.json says but for this sum itself (older checkpoints have none)."""
    said = {key: value for key, value in state.items() if key != "sum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _plain(value: Any) -> np.ndarray:
    """In C order: safetensors writes other orders as they lie in memory, which is wrong."""
    return np.asarray(value, order="C")


def _flatten(optimizers: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    tensors, groups = {}, {}
    for name, entry in optimizers.items():
        state = entry["state"]
        groups[name] = {"module_id": entry["module_id"], "param_groups": state["param_groups"]}
        for index, values in state["state"].items():
            for key, value in values.items():
                tensors[f"{name}|{index}|{key}"] = _plain(value)
    return tensors, groups


def _unflatten(tensors: dict[str, np.ndarray], groups: dict[str, Any]) -> dict[str, Any]:
    optimizers: dict[str, Any] = {
        name: {
            "module_id": group["module_id"],
            "state": {"state": {}, "param_groups": group["param_groups"]},
        }
        for name, group in groups.items()
    }
    for flat, value in tensors.items():
        name, index, key = flat.split("|")
        optimizers[name]["state"]["state"].setdefault(int(index), {})[key] = value
    return optimizers
