"""Model folders of others that must not be read wrong in silence, or ask for everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rayforge.alignment.preferences import read_preferences
from rayforge.errors import ConfigurationError, PreferenceError
from tests.trainers.alignment.foreign import (
    CHATML,
    change,
    chat,
    foreign_model,
    message,
    write_records,
)
from trainers.alignment.models import (
    context_length,
    end_tokens,
    find_model,
    load_model,
    load_tokeniser,
    weights_dtype,
)
from trainers.alignment.task import left_out
from trainers.alignment.tokens import tokenise

USERS_ONLY = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
THINKS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ m.content.split('</think>')[-1] + eos_token }}{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
)


def tokenised(tmp_path: Path, template: str, *records: dict[str, Any]) -> tuple[Any, str]:
    tokeniser = load_tokeniser(foreign_model(tmp_path / "model", template))
    pairs = read_preferences(write_records(tmp_path / "pairs.jsonl", list(records))).pairs
    found = tokenise(tokeniser, pairs, 96)
    return found, "\n".join(left_out(found, pairs, "training", 96))


@pytest.mark.parametrize(
    "record",
    [
        chat(1) | {"prompt": [message("human", "Where is the lamp ?")]},
        chat(1) | {"prompt": [message("User", "Where is the lamp ?")]},
        chat(1) | {"chosen": [message("gpt", "In the hall .")]},
        chat(1, message("user", "look"), message("tool", "hall")),
    ],
)
def test_turns_that_a_template_does_not_print_are_left_out(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    found, said = tokenised(tmp_path, USERS_ONLY, record, chat(2))
    assert found.rows.tolist() == [1]
    assert "line 1: it does not print turns of" in said


def test_a_system_turn_that_is_not_printed_is_counted(tmp_path: Path) -> None:
    brief = message("system", "Be brief")
    found, said = tokenised(tmp_path, USERS_ONLY, chat(1, brief), chat(2))
    assert found.without_system == [0]
    assert found.rows.tolist() == [0, 1]
    assert "does not print the system turn of 1 of 2 training pairs" in said


@pytest.mark.parametrize("template", [CHATML, THINKS])
def test_printed_turns_pass(tmp_path: Path, template: str) -> None:
    thought = [message("assistant", "<think> look </think> In the hall .")]
    records = [chat(1, message("system", "Be brief")) | {"chosen": thought}, chat(2)]
    found, said = tokenised(tmp_path, template, *records)
    assert (len(found.rows), found.without_system, said) == (2, [], "")


def test_a_template_that_prints_nothing_of_the_messages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreferenceError, match=r"line 1: .* does not print turns of"):
        tokenised(tmp_path, "hello", chat(1))


def test_end_tokens_of_another_vocabulary_are_none(tmp_path: Path) -> None:
    folder = change(foreign_model(tmp_path, None), "generation_config.json", eos_token_id=[99999])
    tokeniser = load_tokeniser(folder)
    assert end_tokens(folder, tokeniser) == (tokeniser.eos_token_id,)
    change(folder, "tokenizer_config.json", eos_token=None)
    change(folder, "config.json", eos_token_id=99999)
    with pytest.raises(ConfigurationError, match="no end token"):
        load_tokeniser(folder)


def _without_one(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if "q_proj" not in name}


def _renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": value for name, value in weights.items()}


def _smaller(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value[:1].clone() for name, value in weights.items()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (_without_one, r"lack 1 weights .*q_proj"),
        (_renamed, "weights of the model of config.json"),
        (_smaller, "have not the shapes that its config.json says"),
    ],
)
def test_weights_that_are_not_there_are_never_noise(
    tmp_path: Path, changed: Callable[..., Any], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = foreign_model(tmp_path, None) / "model.safetensors"
    save_file(changed(load_file(file)), file, metadata={"format": "pt"})
    capfd.readouterr()
    with pytest.raises(ConfigurationError, match=said):
        load_model(tmp_path, "cpu", False)
    assert "REPORT" not in "".join(capfd.readouterr())


def test_weights_that_no_part_takes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign_model(tmp_path, None) / "model.safetensors"
    save_file({**load_file(file), "more": torch.zeros(2)}, file, metadata={"format": "pt"})
    load_model(tmp_path, "cpu", False)
    assert "1 weights of the *.safetensors are no part of the model" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0", (2**62).to_bytes(8, "little") + b"{}"])
def test_damaged_weights_are_one_line(tmp_path: Path, content: bytes) -> None:
    file = foreign_model(tmp_path, None) / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.safetensors: cannot be read"):
        weights_dtype(tmp_path)


@pytest.mark.parametrize("layers", [2**40, 0, -1])
def test_a_configuration_asks_for_layers_within_the_limit(tmp_path: Path, layers: int) -> None:
    folder = change(foreign_model(tmp_path, None), "config.json", num_hidden_layers=layers)
    with pytest.raises(ConfigurationError, match="1 to 4096 layers"):
        find_model(str(folder))


def test_odd_configurations_are_one_line(tmp_path: Path) -> None:
    folder = change(foreign_model(tmp_path, None), "config.json", text_config="x")
    assert context_length(folder) == 96
    change(folder, "config.json", max_position_embeddings=-1)
    with pytest.raises(ConfigurationError, match=r"max_position_embeddings .* is -1"):
        context_length(folder)
