"""What cannot work is told in one line with place and remedy, before Ray starts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from rayforge.errors import UserError
from trainers.alignment.config import AlignConfig
from trainers.alignment.run import train
from trainers.cli import main


def refused(config: AlignConfig, run: Path) -> str:
    with pytest.raises(UserError) as caught:
        train(config, run, False, "test")
    assert not ray.is_initialized() or not run.exists()
    assert not run.exists()
    return str(caught.value)


def changed(folder: Path, target: Path, file: str, **values: Any) -> str:
    """A copy of a model folder with other values in one of its JSON files."""
    shutil.copytree(folder, target)
    document = json.loads((target / file).read_text())
    for key, value in values.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    (target / file).write_text(json.dumps(document))
    return str(target)


def test_conversations_for_a_tokeniser_without_chat_template(
    small: AlignConfig, model_folder: Path, tmp_path: Path
) -> None:
    def message(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    data = tmp_path / "talk.jsonl"
    records = [
        {
            "prompt": message("user", f"route {n} by lamp :"),
            "chosen": message("assistant", " go to the lamp"),
            "rejected": message("assistant", " go to the bed"),
        }
        for n in range(20)
    ]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    for file in model.glob("*.jinja"):
        file.unlink()
    changed_config = json.loads((model / "tokenizer_config.json").read_text())
    changed_config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(changed_config))
    talk = replace(small, data=str(data), evaluation=str(data), rounds=1, evaluation_prompts=2)
    said = refused(replace(talk, model=str(model)), tmp_path / "run")
    assert f"the tokeniser of {model} has no chat template" in said
    train(talk, tmp_path / "with", False, "test")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
        ({"model": "/nowhere/model"}, "model folder /nowhere/model does not exist"),
        ({"max_tokens": 4}, "longer than max_tokens 4"),
        ({"max_new_tokens": 96}, "no prompt leaves room for 96 new tokens"),
        ({"workers": 500, "batch": 500}, "take 500 CPUs at a time"),
        ({"judge": "execution"}, "execution, which only the data routes have"),
        ({"judge": "nobody"}, "neither execution, a reward model's folder"),
        ({"judge": "command: exit 3"}, "judge `command: exit … (sha256 "),
        ({"judge": "no_such_module:score"}, "judge no_such_module:score: No module named"),
        ({"judge": "json:nothing"}, "has no attribute 'nothing'"),
        ({"judge": "json:loads"}, "json:loads takes 1 arguments; a judge takes"),
        ({"device": "cuda"}, "no GPU here"),
        ({"generator": "vllm"}, "generator is vllm, which is not installed"),
    ],
)
def test_what_the_run_cannot_have(
    settings: dict[str, Any], said: str, small: AlignConfig, tmp_path: Path
) -> None:
    import torch

    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert said in refused(replace(small, **settings), tmp_path / "run")


def test_the_command_says_it_in_one_line(
    capsys: pytest.CaptureFixture[str], small: AlignConfig, tmp_path: Path
) -> None:
    for arguments, said in (
        (["--beta", "0"], "beta must be above 0, got 0.0"),
        (["--method", "sera", "--responses", "1"], "responses is 1, but a pair needs two"),
        (["--data", str(tmp_path / "no.jsonl"), "--run", str(tmp_path / "r")], "does not exist"),
        (["--resume", str(tmp_path / "nothing")], "it has no config.yaml"),
        ([], "say where the run goes"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["align", "train", *arguments])
        error = capsys.readouterr().err
        assert caught.value.code in (2, 3, 4)
        assert error.startswith("rayforge: ")
        assert error.count("\n") == 1, error
        assert said in error
    with pytest.raises(SystemExit):
        main(["align", "evaluate", str(tmp_path), "--against", str(tmp_path)])
    assert "is not a run folder" in capsys.readouterr().err
