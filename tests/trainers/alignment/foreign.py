"""Model folders as other projects publish them, made small: chat templates and end tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser

GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' + m.content | trim "
    "+ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<start_of_turn>assistant\n' }}{% endif %}"
)
CHATML = (
    "{% if tools %}{{ '<|im_start|>tools ' + tools[0].function.name + '<|im_end|>' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if quiet %}{{ 'quiet\n' }}{% endif %}{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
TURNS = ("<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>")
WORDS = "Where is the lamp ? In hall bath . Be brief system user assistant tools look quiet INST"


def message(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat(number: int, *before: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A pair of the words above; `number` tells prompts apart."""
    asked = message("user", "Where is the lamp ?" + " ?" * number)
    return {
        "prompt": [*before, asked],
        "chosen": [message("assistant", "In the hall .")],
        "rejected": [message("assistant", "In the bath .")],
        **more,
    }


def write_records(file: Path, records: list[Any]) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def foreign_model(folder: Path, template: str | None, seed: int = 0) -> Path:
    """A model with random weights whose chat template is another project's."""
    tokeniser = make_tokeniser([WORDS, *WORDS.split(), "\n [] /"], 4096)
    tokeniser.add_special_tokens(
        {"additional_special_tokens": [AddedToken(t, special=True) for t in TURNS]}
    )
    tokeniser.chat_template = template
    model = make_tiny_model(
        TinyModelConfig(width=32, layers=1, heads=2, context=96, seed=seed), tokeniser
    )
    model.save_pretrained(folder)
    tokeniser.save_pretrained(folder)
    return folder


def change(folder: Path, file: str, **values: Any) -> Path:
    """Other values in one of a folder's JSON files, which may be new; None takes a key out."""
    path = folder / file
    document = json.loads(path.read_text()) if path.is_file() else {}
    document.update(values)
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))
    return folder
