"""Language models as folders: where they lie, what they must bring, and which one it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rayforge.errors import ConfigurationError, MachineError

Model = Any
"""A transformers causal language model; its classes carry no usable types."""
Tokeniser = Any


@dataclass(frozen=True)
class Checkpoint:
    """A model folder and the fingerprint of its weights."""

    folder: Path
    hash: str
    """16 hexadecimal digits of the SHA-256 of weights and architecture."""


def find_model(name: str) -> Path:
    """The folder of a model: a folder's own, or the local snapshot of a hub name.

    Raises ConfigurationError where there is neither, or where the folder holds no model.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith(".") or name.count("/") > 1:
            raise ConfigurationError(f"model folder {name} does not exist")
        folder = _snapshot(name)
    if not (folder / "config.json").is_file() or not _weights(folder):
        raise ConfigurationError(
            f"{folder} holds no model: a Hugging Face folder has config.json and *.safetensors"
        )
    return folder


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=kinds))
    except Exception as error:  # the hub's client raises many kinds, all of which mean this
        raise MachineError(
            f"model {name} is no folder and could not be fetched from the hub "
            f"({type(error).__name__}); name a folder, or check name and network"
        ) from None


def fingerprint(folder: Path) -> Checkpoint:
    """Which model a folder holds: a hash over weights and architecture, not over file times."""
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text())
    for noise in ("_name_or_path", "transformers_version", "use_cache"):
        config.pop(noise, None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    for file in _weights(folder):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return Checkpoint(folder, digest.hexdigest()[:16])


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def load_tokeniser(folder: Path) -> Tokeniser:
    """The tokeniser of a model folder, padding on the left.

    Raises ConfigurationError where it lacks what training needs: a pad and an end token.
    """
    from transformers import AutoTokenizer

    try:
        tokeniser = AutoTokenizer.from_pretrained(folder, padding_side="left")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{folder} has no tokeniser that can be read: {error}") from None
    if tokeniser.eos_token_id is None:
        raise ConfigurationError(
            f"the tokeniser of {folder} has no end token, so no response would ever end: set "
            "eos_token in its tokenizer_config.json"
        )
    if tokeniser.pad_token_id is None:
        raise ConfigurationError(
            f"the tokeniser of {folder} has no pad token: set pad_token in its "
            f"tokenizer_config.json (often its end token, {tokeniser.eos_token!r}, serves)"
        )
    return tokeniser


def context_length(folder: Path) -> int | None:
    """Tokens a model takes at most, None where its configuration does not say."""
    config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return None


def load_model(folder: Path, device: str, bf16: bool) -> Model:
    """A model ready to answer: on its device, without dropout or gradients.

    Weights are read from safetensors only; a folder's own Python code is never run.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Model = AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, dtype=torch.bfloat16 if bf16 else torch.float32
    )
    return model.to(device).eval().requires_grad_(False)
