"""Models of others: their end tokens, templates, number formats; and what a folder must not do."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from rayforge.alignment.preferences import Preference, read_preferences
from rayforge.errors import ConfigurationError, MachineError, UserError
from rayforge.readers.hub import ANSWER_S
from tests.trainers.alignment.foreign import (
    CHATML,
    GEMMA,
    MISTRAL,
    change,
    chat,
    foreign_model,
    message,
    write_records,
)
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import Responses, Sampling, sample
from trainers.alignment.judging import reward_model
from trainers.alignment.models import (
    end_tokens,
    find_model,
    load_model,
    load_tokeniser,
    token_notes,
    weights_dtype,
)
from trainers.alignment.reading import read_source
from trainers.alignment.rewards import Rewards
from trainers.alignment.run import train
from trainers.alignment.task import Task, left_out, make_task
from trainers.alignment.tokens import Completion, Tokenised, check_conversational, tokenise


def pairs_of(tmp_path: Path, records: list[Any]) -> list[Preference]:
    return read_preferences(write_records(tmp_path / "pairs.jsonl", records)).pairs


def ends(folder: Path) -> set[str]:
    tokeniser = load_tokeniser(folder)
    return set(tokeniser.convert_ids_to_tokens(list(end_tokens(folder, tokeniser))))


def test_end_tokens_are_the_tokenisers_the_models_and_the_templates(tmp_path: Path) -> None:
    assert ends(foreign_model(tmp_path / "plain", None)) == {"<eos>"}
    assert ends(foreign_model(tmp_path / "mistral", MISTRAL)) == {"<eos>"}
    assert ends(foreign_model(tmp_path / "gemma", GEMMA)) == {"<eos>", "<end_of_turn>"}
    assert ends(foreign_model(tmp_path / "chatml", CHATML)) == {"<eos>", "<|im_end|>"}
    both = foreign_model(tmp_path / "both", None)
    turn = load_tokeniser(both).convert_tokens_to_ids("<end_of_turn>")
    change(both, "generation_config.json", eos_token_id=[3, turn, None, -1, True])
    assert ends(both) == {"<eos>", "<end_of_turn>"}
    change(both, "generation_config.json", eos_token_id=None)
    change(both, "config.json", eos_token_id=turn)
    assert ends(both) == {"<eos>", "<end_of_turn>"}
    broken = foreign_model(tmp_path / "broken", "{{ raise_exception('never') }}")
    assert ends(broken) == {"<eos>"}


def test_a_response_ends_at_any_end_token(tmp_path: Path) -> None:
    folder = foreign_model(tmp_path / "model", GEMMA)
    tokeniser = load_tokeniser(folder)
    model = load_model(folder, "cpu", False)
    turn = tokeniser.convert_tokens_to_ids("<end_of_turn>")
    with torch.no_grad():  # whatever is asked, the turn ends
        model.lm_head.weight[:] = 0
        model.lm_head.weight[turn] = 1
        model.model.norm.weight[:] = 0
        model.model.norm.weight[:] += 1
    how = Sampling(2, 0.0, 1.0, 8)
    asked = (tokeniser("Where is the lamp ?")["input_ids"],)
    found = sample(
        model, tokeniser, end_tokens(folder, tokeniser), asked, replace(how, responses=1), 0
    )
    assert all(ids[-1] == turn and turn not in ids[:-1] for ids in found) or len(found[0]) == 8


def test_missing_pad_and_end_tokens_are_replaced_with_a_note(tmp_path: Path) -> None:
    folder = foreign_model(tmp_path / "model", None)
    assert token_notes(folder) == []
    change(folder, "tokenizer_config.json", pad_token=None)
    assert load_tokeniser(folder).pad_token == "<eos>"
    assert "no pad token: its end token '<eos>' is used" in token_notes(folder)[0]
    change(folder, "tokenizer_config.json", eos_token=None)
    assert load_tokeniser(folder).eos_token == "<eos>"  # of the generation settings
    assert "no end token: '<eos>'" in token_notes(folder)[0]
    for file in ("generation_config.json", "config.json"):
        change(folder, file, eos_token_id=None)
    with pytest.raises(ConfigurationError, match="has no end token, so no response would ever end"):
        load_tokeniser(folder)


def test_a_template_that_refuses_a_record_names_it(tmp_path: Path) -> None:
    folder = foreign_model(tmp_path / "model", MISTRAL)
    tokeniser = load_tokeniser(folder)
    system = message("system", "Be brief .")
    good, bad = chat(0), chat(1, system)
    found = tokenise(tokeniser, pairs_of(tmp_path, [good, bad]), 96)
    assert len(found.pairs) == 1
    assert found.refused == {1: "roles must alternate user/assistant"}
    with pytest.raises(UserError, match=r"pairs\.jsonl, line 1: the chat template .*roles must"):
        tokenise(tokeniser, pairs_of(tmp_path, [bad]), 96)
    for broken in (
        "{{ messages[0].nothing.content }}",
        "{% for %}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
    ):
        tokeniser.chat_template = broken
        with pytest.raises(UserError, match=r"pairs\.jsonl, line 1: the chat template") as caught:
            tokenise(tokeniser, pairs_of(tmp_path, [good]), 96)
        assert "\n" not in str(caught.value)
    tokeniser.chat_template = None
    with pytest.raises(ConfigurationError, match=r"line 1\), but the tokeniser of .* has no chat"):
        check_conversational(tokeniser, pairs_of(tmp_path, [good]), folder)


def test_tools_and_settings_reach_the_template_as_in_trl(tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    folder = foreign_model(tmp_path / "model", CHATML)
    tokeniser = load_tokeniser(folder)
    tools = [{"type": "function", "function": {"name": "look"}}]
    records = [chat(0, tools=tools, chat_template_kwargs={"quiet": True})]
    ours = tokenise(tokeniser, pairs_of(tmp_path, records), 96).pairs
    assert "tools look" in tokeniser.decode(ours.prompt[0])
    settings = DPOConfig(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none")
    theirs = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(folder), args=settings, processing_class=tokeniser,
        train_dataset=Dataset.from_list(records),
    ).train_dataset  # fmt: skip
    row = theirs[0]
    for side in ("prompt", "chosen", "rejected"):
        assert tuple(row[f"{side}_ids"]) == getattr(ours, side)[0]


def test_what_the_template_does_not_print_is_counted(tmp_path: Path) -> None:
    tokeniser = load_tokeniser(foreign_model(tmp_path / "model", GEMMA))
    call = [[{"type": "function", "function": {"name": n}}] for n in ("look", "go")]
    same = chat(0)
    for side, tool_calls in zip(("chosen", "rejected"), call, strict=True):
        same[side] = [message("assistant", "In the hall .", tool_calls=tool_calls)]
    with pytest.raises(
        UserError, match=r"line 1: the chat template .* both sides alike.* all of 1"
    ):
        tokenise(tokeniser, pairs_of(tmp_path, [same]), 96)
    tooled = chat(1, tools=[{"type": "function", "function": {"name": "look"}}])
    found = tokenise(tokeniser, pairs := pairs_of(tmp_path, [same, tooled]), 96)
    assert (found.alike, found.without_tools) == ([0], [1])
    said = list(left_out(found, pairs, "training", 96))
    assert "prints both sides of 1 of 2 training pairs alike" in said[0]
    assert "does not print the tools of 1 of 2 training pairs" in said[1]


def test_a_prompt_that_merges_with_its_response_is_warned_of(tmp_path: Path) -> None:
    tokeniser = load_tokeniser(foreign_model(tmp_path / "model", None))
    text = {"prompt": "Where is the lamp ? In", "chosen": " hall", "rejected": " bath"}
    merged = {"prompt": "Where is the lamp ", "chosen": "In hall", "rejected": "Be brief"}
    pairs = pairs_of(tmp_path, [text, merged])
    found = tokenise(tokeniser, pairs, 96)
    assert list(found.merged) == [1]
    said = " ".join(left_out(found, pairs, "training", 96))
    assert "the prompt of 1 of 2 training pairs does not end where a token does" in said
    assert "line 2" in said


def test_a_text_that_holds_its_begin_token_gets_no_second_one(tmp_path: Path) -> None:
    tokeniser = load_tokeniser(foreign_model(tmp_path / "model", None))
    sides = {"chosen": " In hall", "rejected": " In bath<eos>"}
    records = [{"prompt": p, **sides} for p in ("Where ?", "<bos>Where ?")]
    found: Tokenised = tokenise(tokeniser, pairs_of(tmp_path, records), 96)
    assert found.pairs.prompt[0] == found.pairs.prompt[1]
    for ids in (*found.pairs.chosen, *found.pairs.rejected):
        assert ids.count(tokeniser.eos_token_id) == 1
    assert found.pairs.prompt[0].count(tokeniser.bos_token_id) == 1


def test_a_tokeniser_of_another_model_is_refused(small: AlignConfig, tmp_path: Path) -> None:
    folder = change(foreign_model(tmp_path / "model", GEMMA), "config.json", vocab_size=20)
    data = write_records(tmp_path / "pairs.jsonl", [chat(n) for n in range(4)])
    config = replace(small, data=data, evaluation=data, model=str(folder))
    with pytest.raises(ConfigurationError, match=r"gives token .* its model has 20 tokens"):
        make_task(config, load_tokeniser(folder), folder, read_source(config))


def test_own_pairs_differ_in_their_text(
    small: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template prints a line break behind the end of a given answer, which samples have not."""
    folder = foreign_model(tmp_path / "model", CHATML)
    tokeniser = load_tokeniser(folder)
    turn = tokeniser.convert_tokens_to_ids("<|im_end|>")

    def sampled(config: AlignConfig, task: Task, *_: Any) -> tuple[np.ndarray, Responses]:
        """To every other prompt the given answer, and another one; to the rest two others."""
        found = []
        for row, ids in enumerate(task.prompts.ids):
            for text in ("In the bath .", "Be brief ." if row % 2 else "In the hall ."):
                answer = tuple(tokeniser(text, add_special_tokens=False)["input_ids"])
                found.append(Completion(ids, (*answer, turn)))
        return np.arange(len(task.prompts)), Responses(found, np.ones(len(found), bool))

    monkeypatch.setattr("trainers.alignment.selecting.sample_responses", sampled)
    monkeypatch.setattr(
        Rewards, "ensembled", lambda _, __, completions: np.arange(float(len(completions)))
    )
    data = write_records(tmp_path / "pairs.jsonl", [chat(n) for n in range(8)])
    config = replace(
        small, data=data, evaluation=data, model=str(folder), rounds=2, winner="given", keep=1.0,
        generated_share=(0.0, 0.9), keep_generated=1.0, responses=2, evaluation_prompts=0,
    )  # fmt: skip
    train(config, tmp_path / "run", False, "test")
    table = pq.read_table(tmp_path / "run/rounds/2/pairs.parquet").to_pylist()
    made = [row for row in table if row["generated"]]
    assert len(made) == 4  # where the given answer was sampled there is no pair
    for row in made:
        chosen, rejected = (tokeniser.decode(row[f"{s}_ids"]) for s in ("chosen", "rejected"))
        assert chosen.endswith("In the hall .<|im_end|>")
        assert rejected.endswith(("In the bath .<|im_end|>", "Be brief .<|im_end|>"))


@pytest.mark.parametrize("rank", [0, 4])
def test_bfloat16_in_bfloat16_out(rank: int, small: AlignConfig, tmp_path: Path) -> None:
    folder = foreign_model(tmp_path / "model", CHATML)
    weights = load_file(folder / "model.safetensors")
    halved = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    save_file(halved, folder / "model.safetensors", {"format": "pt"})
    assert weights_dtype(folder) == torch.bfloat16
    data = write_records(tmp_path / "pairs.jsonl", [chat(n) for n in range(8)])
    config = replace(
        small, data=data, evaluation=data, model=str(folder), rounds=2, evaluation_prompts=0,
        generated_share=(0.0,), learning_rate=1e-4, lora_rank=rank, steps=2,
    )  # fmt: skip
    run = tmp_path / "run"
    train(config, run, False, "test")
    for number in (1, 2):
        assert weights_dtype(run / f"rounds/{number}/model") == torch.bfloat16
        adapter = run / f"rounds/{number}/adapter/adapter_model.safetensors"
        assert adapter.is_file() == bool(rank)
    assert not list(run.rglob("master.safetensors"))
    # Two rounds of two small steps move weights further than each step alone could in bfloat16.
    after = load_file(run / "rounds/2/model/model.safetensors")
    assert any(not torch.equal(after[name], halved[name]) for name in halved)


def marker_code(marker: Path) -> str:
    return f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Foreign: pass\n"


class Poison:
    """Unpickled, it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def poisoned(folder: Path, kind: str, marker: Path) -> Path:
    if kind == "code":
        (folder / "foreign.py").write_text(marker_code(marker))
        auto = {"AutoConfig": "foreign.Foreign", "AutoModelForCausalLM": "foreign.Foreign"}
        return change(folder, "config.json", model_type="foreign", auto_map=auto)
    if kind == "known type with code":
        (folder / "foreign.py").write_text(marker_code(marker))
        return change(folder, "config.json", auto_map={"AutoModelForCausalLM": "foreign.Foreign"})
    if kind == "tokeniser":
        (folder / "foreign.py").write_text(marker_code(marker))
        return change(
            folder, "tokenizer_config.json", tokenizer_class="Foreign",
            auto_map={"AutoTokenizer": ["foreign.Foreign", "foreign.Foreign"]},
        )  # fmt: skip
    if kind == "generate":
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate/generate.py").write_text(marker_code(marker))
        return folder
    if kind == "kernel":
        return change(folder, "config.json", attn_implementation="someone/kernels")
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Poison(marker)))
    if kind in ("weights", "adapter"):
        (folder / "model.safetensors").unlink()
    if kind == "adapter":
        change(folder, "adapter_config.json", base_model_name_or_path="b", peft_type="LORA")
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("code", "needs Python code of its own"),
        ("known type with code", ""),
        ("tokeniser", "needs Python code of its own"),
        ("generate", ""),
        ("kernel", "names code (someone/kernels), which is never fetched or run"),
        ("weights", "pickled weights are never read: adapter_model.bin"),
        ("adapter", "holds an adapter (of b), not a whole model: merge it first"),
        ("pickles beside", ""),
    ],
)
def test_a_poisoned_model_folder_runs_no_code(
    kind: str, said: str, small: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what a terminal would answer
    marker = tmp_path / "marker"
    folder = poisoned(foreign_model(tmp_path / "model", CHATML), kind, marker)
    data = write_records(tmp_path / "pairs.jsonl", [chat(n) for n in range(8)])
    config = replace(
        small, data=data, evaluation=data, model=str(folder), rounds=1, steps=1, max_new_tokens=4
    )
    if said:
        with pytest.raises(ConfigurationError) as caught:
            train(config, tmp_path / "run", False, "test")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()
    else:
        train(config, tmp_path / "run", False, "test")
    judge = foreign_model(tmp_path / "judge", CHATML)
    with pytest.raises(UserError):
        reward_model(poisoned(judge, kind, marker), "cpu").score(["a"], ["b"])
    assert not marker.exists()


def test_a_poisoned_checkpoint_runs_no_code(small: AlignConfig, tmp_path: Path) -> None:
    """A run folder of somebody else, with a round broken off."""
    from trainers.alignment.training import WHOLE

    run, marker = tmp_path / "run", tmp_path / "marker"
    config = replace(small, rounds=1, evaluation_prompts=0, checkpoint_steps=2)

    class Broken(RuntimeError): ...

    import trainers.alignment.training as training

    save = training._save

    def stop(*_: Any) -> None:
        raise Broken

    training._save = stop
    try:
        with pytest.raises(Broken):
            train(config, run, False, "test")
    finally:
        training._save = save
    (checkpoint,) = [f.parent for f in run.glob(f"rounds/1/checkpoints/*/{WHOLE}")]
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (checkpoint / name).write_bytes(pickle.dumps(Poison(marker)))
    with pytest.raises(UserError, match=r"checkpoint .* cannot be read") as caught:
        train(config, run, True, "test")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_a_hub_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[Any] = []
    there = False

    def silent(_: Any, name: str, timeout: float) -> None:
        asked.append(timeout)
        raise TimeoutError

    def snapshot(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        assert local_files_only, "the hub does not answer"
        if not there:
            raise FileNotFoundError
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", silent)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(MachineError, match=r"could not be fetched from the hub \(TimeoutError\)"):
        find_model("somebody/model")
    assert asked == [ANSWER_S]
    there = True
    foreign_model(tmp_path, None)
    assert find_model("somebody/model") == tmp_path  # the copy on the disk
