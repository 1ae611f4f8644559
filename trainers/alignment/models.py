"""Language models as folders: where they lie, what they must bring, and which one it is."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayforge.errors import ConfigurationError, MachineError
from rayforge.readers.faults import looked_in, reading
from rayforge.readers.hub import hub_fault
from trainers.alignment.pretrained import SMOLLM2, smollm2

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

    Raises ConfigurationError where there is neither, or where the folder holds no model that can
    be loaded: an adapter alone, pickled weights, or one that would run code of its own.
    """
    folder = Path(name)
    if not folder.is_dir() and name == SMOLLM2:
        folder = smollm2()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith(".") or name.count("/") > 1:
            raise ConfigurationError(f"model folder {name} does not exist{looked_in(name)}")
        folder = _snapshot(name)
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = _json(adapter).get("base_model_name_or_path")
        raise ConfigurationError(
            f"{folder} holds an adapter (of {_cut(str(base))}), not a whole model: merge it first "
            "(peft: PeftModel.from_pretrained(base, folder).merge_and_unload()"
            ".save_pretrained(other folder), and save the tokeniser there), and name that folder"
        )
    if not (folder / "config.json").is_file() or not _weights(folder):
        pickled = sorted(f.name for kind in ("*.bin", "*.pt", "*.pth") for f in folder.glob(kind))
        why = f" (pickled weights are never read: {pickled[0]})" if pickled else ""
        raise ConfigurationError(
            f"{folder} holds no model: a Hugging Face folder has config.json and *.safetensors{why}"
        )
    _check_configuration(folder)
    return folder


def _check_configuration(folder: Path) -> None:
    """Raises ConfigurationError where a model's configuration cannot be read, or names code."""
    from transformers import AutoConfig

    settings = _json(folder / "config.json")
    for key in ("_attn_implementation", "attn_implementation", "_attn_implementation_internal"):
        if "/" in str(settings.get(key, "")):
            raise ConfigurationError(
                f"{folder}: {key} in config.json names code ({_cut(str(settings[key]))}), which is "
                "never fetched or run: drop that key"
            )
    for part in (settings, settings.get("text_config")):
        for key in _LAYERS:
            layers = part.get(key) if isinstance(part, dict) else None
            if isinstance(layers, int) and not 0 < layers <= LAYERS:
                raise ConfigurationError(
                    f"{folder}: {key} in config.json is {_cut(str(layers))}; a model has 1 to "
                    f"{LAYERS} layers: copy its own config.json again"
                )
    loaded(AutoConfig, folder)


LAYERS = 4096
"""Layers of a model at most: so many a configuration of a few bytes may ask for."""
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")


def loaded(kind: Any, folder: Path, **how: Any) -> Any:
    """`kind.from_pretrained` of a model folder, without running a line of the folder's own code.

    Raises ConfigurationError, in one line, for whatever cannot be loaded.
    """
    try:
        with _quiet():
            return kind.from_pretrained(folder, trust_remote_code=False, **how)
    except MemoryError:
        raise
    except Exception as error:  # the many kinds that foreign folders make transformers raise
        said = str(error).strip()
        if "trust_remote_code" in said or "custom code" in said:
            raise ConfigurationError(
                f"{folder} needs Python code of its own (auto_map), which is never run: use a "
                "model that transformers knows"
            ) from None
        if "ignore_mismatched_sizes" in said:
            said = "its weights have not the shapes that its config.json says"
        said = said.splitlines()[0] if said else type(error).__name__
        raise ConfigurationError(f"{folder} cannot be loaded: {_cut(said, 160)}") from None


def loaded_weights(kind: Any, folder: Path, **how: Any) -> Model:
    """A model of a class of transformers from safetensors alone: weights are never unpickled.

    Raises ConfigurationError where it cannot be loaded, or where its files lack weights: those
    transformers would fill with noise. Says on stderr which weights of the files no part of the
    model takes.
    """
    model, found = loaded(kind, folder, use_safetensors=True, output_loading_info=True, **how)
    missing, unknown = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    if missing:
        raise ConfigurationError(
            f"{folder}: the *.safetensors lack {len(missing)} weights of the model of config.json "
            f"({_cut(missing[0])}{', ...' * (len(missing) > 1)}): name a folder whose "
            "files belong together"
        )
    if unknown:
        print(
            f"note: {folder}: {len(unknown)} weights of the *.safetensors are no part of the model "
            f"that config.json describes and are left out ({_cut(unknown[0])}"
            f"{', ...' * (len(unknown) > 1)})",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tables that transformers logs about weights: what matters in them is said by an
    error or in one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _json(file: Path) -> dict[str, Any]:
    """A JSON file of a model folder. Raises ConfigurationError where it holds no keys."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} cannot be read: {_cut(str(error))}") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{file} holds no keys and values")
    return found


def _cut(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _snapshot(name: str) -> Path:
    """What the hub has of a model; where it does not answer, the copy of it that is on the disk."""
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    fault = hub_fault(name, "model")
    try:
        return Path(
            snapshot_download(name, allow_patterns=kinds, local_files_only=fault is not None)
        )
    except Exception as error:  # the hub's client raises many kinds, all of which mean this
        raise MachineError(
            f"model {_cut(name)} is no folder and could not be fetched from the hub "
            f"({type(fault or error).__name__}); name a folder, or check name and network"
        ) from None


def fingerprint(folder: Path) -> Checkpoint:
    """Which model a folder holds: a hash over weights and architecture, not over file times."""
    digest = hashlib.sha256()
    digest.update(json.dumps(architecture(folder), sort_keys=True).encode())
    for file in _weights(folder):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return Checkpoint(folder, digest.hexdigest()[:16])


def architecture(folder: Path) -> dict[str, Any]:
    """A model's configuration without what says nothing of the model."""
    config = _json(folder / "config.json")
    for noise in ("_name_or_path", "transformers_version", "use_cache"):
        config.pop(noise, None)
    return config


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def load_tokeniser(folder: Path) -> Tokeniser:
    """The tokeniser of a model folder, padding on the left.

    One without an end token takes the first of the model's generation settings; one without a pad
    token its end token, as TRL does (`token_notes` says so).

    Raises ConfigurationError where there is no tokeniser, or no end token anywhere.
    """
    from transformers import AutoTokenizer

    tokeniser = loaded(AutoTokenizer, folder, padding_side="left")
    if tokeniser.eos_token_id is None:
        known = map(tokeniser.convert_ids_to_tokens, _generation_ends(folder))
        others = [token for token in known if token is not None]
        if not others:
            raise ConfigurationError(
                f"the tokeniser of {folder} has no end token, so no response would ever end: set "
                "eos_token in its tokenizer_config.json"
            )
        tokeniser.eos_token = others[0]
    if tokeniser.pad_token_id is None:
        tokeniser.pad_token = tokeniser.eos_token
    return tokeniser


def token_notes(folder: Path) -> list[str]:
    """What `load_tokeniser` had to put in the place of missing tokens, in lines for the user."""
    from transformers import AutoTokenizer

    own, used = loaded(AutoTokenizer, folder), load_tokeniser(folder)
    notes = []
    if own.eos_token_id is None:
        notes.append(
            f"note: the tokeniser of {folder} has no end token: {used.eos_token!r} of the model's "
            "settings is used"
        )
    if own.pad_token_id is None:
        notes.append(
            f"note: the tokeniser of {folder} has no pad token: its end token {used.pad_token!r} "
            "is used"
        )
    return notes


def end_tokens(folder: Path, tokeniser: Tokeniser) -> tuple[int, ...]:
    """Tokens that end a response: the tokeniser's own, those of the model's `generation_config`
    and configuration, and the one with which the chat template ends an assistant's turn."""
    found = [int(tokeniser.eos_token_id), *_generation_ends(folder)]
    turn = _turn_end(tokeniser)
    return tuple(dict.fromkeys(found if turn is None else [*found, turn]))


def _generation_ends(folder: Path) -> list[int]:
    """Tokens that a model's settings name as ends, without those that it has no embedding for."""
    found: list[int] = []
    most = vocabulary_size(folder)
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            settings = _json(folder / name)
            for part in (settings, settings.get("text_config")):
                ends = part.get("eos_token_id") if isinstance(part, dict) else None
                for end in ends if isinstance(ends, list) else [ends]:
                    if not isinstance(end, int) or isinstance(end, bool):
                        continue
                    if end >= 0 and (most is None or end < most):
                        found.append(end)
    return found


_ANSWER = "Zq"  # occurs in no special token


def _turn_end(tokeniser: Tokeniser) -> int | None:
    """The added token that the chat template prints behind an answer, None where it is text."""
    if not tokeniser.chat_template:
        return None
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = tokeniser.apply_chat_template(turns, tokenize=False)
    except Exception:  # a template may raise anything; it is said where its first record is
        return None
    _, said, tail = text.rpartition(_ANSWER)
    ids = tokeniser(tail.lstrip(), add_special_tokens=False)["input_ids"] if said else []
    return int(ids[0]) if ids and ids[0] in tokeniser.added_tokens_decoder else None


def context_length(folder: Path) -> int | None:
    """Tokens a model takes at most, None where its configuration does not say."""
    config = _text_settings(folder)
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        if isinstance(config.get(key), int):
            if config[key] < 1:
                raise ConfigurationError(
                    f"{folder}: {key} in config.json is {_cut(str(config[key]))}; a model takes 1 "
                    "token at least: copy its own config.json again"
                )
            return int(config[key])
    return None


def _text_settings(folder: Path) -> dict[str, Any]:
    """A model's configuration, or the part of it that is about text."""
    config = _json(folder / "config.json")
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def vocabulary_size(folder: Path) -> int | None:
    """Tokens a model has embeddings for, None where its configuration does not say."""
    size = _text_settings(folder).get("vocab_size")
    return size if isinstance(size, int) else None


def load_weights(folder: Path, dtype: torch.dtype) -> Model:
    """A model from safetensors alone: weights are never unpickled."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return loaded_weights(AutoModelForCausalLM, folder, dtype=dtype)


def load_model(folder: Path, device: str, bf16: bool) -> Model:
    """A model ready to answer: on its device, without dropout or gradients."""
    model = load_weights(folder, torch.bfloat16 if bf16 else torch.float32)
    return model.to(device).eval().requires_grad_(False)


def weights_dtype(folder: Path) -> torch.dtype:
    """The number format of a model's weights: bfloat16 or float16 where most are, else float32."""
    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for file in _weights(folder):
        with reading(file, ConfigurationError), safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (no mapping)
                part = tensors.get_slice(name)
                size = int(np.prod(part.get_shape(), dtype=np.int64))
                sizes[part.get_dtype()] = sizes.get(part.get_dtype(), 0) + size
    most = max(sizes, key=lambda name: sizes[name], default="")
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(most, torch.float32)
