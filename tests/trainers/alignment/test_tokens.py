"""Token ids: the same ones as TRL's, and told apart by their keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from rayforge.alignment.preferences import Preference
from rayforge.errors import ConfigurationError
from trainers.alignment.models import load_tokeniser
from trainers.alignment.tokens import Completion, check_conversational, tokenise


def preference(prompt: object, chosen: object, rejected: object) -> Preference:
    return Preference(prompt, chosen, rejected, "k", "record 1")  # type: ignore[arg-type]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


PLAIN = [
    preference("route 1 by lamp :", " go to the lamp", " go to the bed and sofa"),
    preference("route 2 by bed , sofa :", " go to the bed", " go to the bed and sofa"),
]
TALK = [
    preference(
        message("user", "route 1 by lamp :"),
        message("assistant", " go to the lamp"),
        message("assistant", " go to the lamp and bed"),
    )
]


@pytest.mark.parametrize("pairs", [PLAIN, TALK], ids=["plain", "conversations"])
def test_the_ids_are_trls(pairs: list[Preference], model_folder: Path, tmp_path: Path) -> None:
    tokeniser = load_tokeniser(model_folder)
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    settings = DPOConfig(
        str(tmp_path), use_cpu=True, bf16=False, report_to="none", activation_checkpointing=False
    )
    models = [AutoModelForCausalLM.from_pretrained(model_folder) for _ in range(2)]
    theirs = DPOTrainer(
        model=models[0], ref_model=models[1], args=settings,
        train_dataset=Dataset.from_list(rows), processing_class=tokeniser,
    ).train_dataset  # fmt: skip
    ours = tokenise(tokeniser, pairs, 96).pairs
    assert [list(ids) for ids in ours.prompt] == list(theirs["prompt_ids"])
    assert [list(ids) for ids in ours.chosen] == list(theirs["chosen_ids"])
    assert [list(ids) for ids in ours.rejected] == list(theirs["rejected_ids"])


def test_a_pair_that_is_too_long_is_left_out_and_named(model_folder: Path) -> None:
    tokeniser = load_tokeniser(model_folder)
    long = preference("route 1 by lamp :", " lamp" * 90, " bed")
    found = tokenise(tokeniser, [PLAIN[0], long, PLAIN[1]], 40)
    assert list(found.too_long) == [1]
    assert found.too_long[1] > 90
    assert found.rows.tolist() == [0, 2]
    with pytest.raises(ConfigurationError, match="all of 1 pairs are longer than max_tokens 40"):
        tokenise(tokeniser, [long], 40)


def test_conversations_need_a_chat_template(model_folder: Path) -> None:
    tokeniser = load_tokeniser(model_folder)
    check_conversational(tokeniser, TALK, model_folder)
    tokeniser.chat_template = None
    check_conversational(tokeniser, PLAIN, model_folder)
    with pytest.raises(ConfigurationError, match="no chat template"):
        check_conversational(tokeniser, TALK, model_folder)


def test_keys_tell_where_the_response_begins() -> None:
    keys = {
        Completion((1, 2), (3,)).key,
        Completion((1,), (2, 3)).key,
        Completion((), (1, 2, 3)).key,
    }
    assert len(keys) == 3
