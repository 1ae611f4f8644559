"""Records as other tools write them: prompts under other keys, repeated, with tools and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rayforge.alignment.preference_formats import (
    REPEATED_ONCE,
    REPEATED_PROMPT,
    REVERSED_SCORES,
    SAME_SCORES,
    Preference,
    parse_record,
)
from rayforge.alignment.preference_sides import UnsoundRecord
from rayforge.alignment.preferences import read_preferences

SIDES = {"chosen": "The kitchen has it.", "rejected": "The kitchen, I think."}
CALL = [{"type": "function", "function": {"name": "look", "arguments": {"room": "hall"}}}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": None}}]
HUMAN = "\n\nHuman: Where?\n\nAssistant:"


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def contents(found: Preference) -> tuple[Any, Any, Any]:
    return found.prompt, found.chosen, found.rejected


def talk(chosen: list[Any], rejected: list[Any], **more: Any) -> dict[str, Any]:
    return {"chosen": chosen, "rejected": rejected, **more}


@pytest.mark.parametrize("key", ["question", "instruction", "input", "query"])
def test_a_prompt_under_another_key_is_used(key: str) -> None:
    found = parse_record({key: "Which room has the oven?", **SIDES})
    assert contents(found) == ("Which room has the oven?", *SIDES.values())
    assert found.notes == (f"prompt read from {key}",)
    messages = [said("user", "Which room has the oven?")]
    answers = [[said("assistant", text)] for text in SIDES.values()]
    found = parse_record({key: messages, **talk(*answers)})
    assert contents(found) == (messages, *answers)
    found = parse_record({key: "Which room has the oven?", **talk(*answers)})
    assert contents(found) == (messages, *answers)


def test_alpacas_instruction_and_input_are_one_prompt() -> None:
    found = parse_record({"instruction": "Name the room.", "input": "It has an oven.", **SIDES})
    assert found.prompt == "Name the room.\nIt has an oven."
    assert parse_record({"instruction": "Name it.", "input": "", **SIDES}).prompt == "Name it."


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"question": "Where?", "query": "Which?"}, "keys question and query may both"),
        ({"question": "Where?", "context": "A house."}, "key context beside question may belong"),
        ({"instruction": "Go on.", "history": [["a", "b"]]}, "key history beside instruction"),
        ({"system": "Be brief."}, "no key prompt, and system may hold it"),
        ({"messages": [said("user", "Where?")]}, "no key prompt, and messages may hold it"),
        ({"title": "Which room has the oven?"}, "no key prompt, and title may hold it"),
        ({"ask": "Where?"}, "no key prompt, and ask may hold it"),
        ({"turns": [{"from": "human", "value": "Where"}]}, "no key prompt, and turns may hold it"),
        ({"prompt": "Where?", "images": ["a.png"]}, "images beside the text"),
        ({"prompt": "Where?", "image": {"bytes": "x"}}, "image beside the text"),
        ({"prompt": "Where?", "tools": TOOLS}, "tools beside plain text"),
        ({"prompt": "Where?", "chat_template_kwargs": {"a": 1}}, "chat_template_kwargs beside"),
        ({"prompt": "Where?", "chat_template_kwargs": "a"}, "chat_template_kwargs that are not"),
        ({"prompt": "Where?", "chat_template_kwargs": {"tokenize": 0}}, "that set tokenize"),
        ({"prompt": "Where?", "tools": "{"}, "tools that are not JSON"),
        ({"prompt": "Where?", "tools": {"a": 1}}, "tools that are not a list"),
        ({"prompt": HUMAN, "system": "Be brief."}, "key system beside a dialogue in text"),
        ({"prompt": "Where?", "system": 3}, "system that is not a text"),
    ],
)
def test_what_may_change_the_prompt_is_refused(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsoundRecord, match=reason):
        parse_record({**SIDES, **more})


def test_ids_and_empty_columns_are_no_prompt() -> None:
    ids = {"id": "a-1", "source": "made", "score": 3, "images": [], "tools": None, "tags": ["a b"]}
    assert parse_record({**SIDES, **ids}).prompt == "The kitchen"  # as TRL reads it


def test_a_system_text_is_the_first_message() -> None:
    found = parse_record({"system": "Be brief.", "question": "Where?", **SIDES})
    assert found.prompt == [said("system", "Be brief."), said("user", "Where?")]
    assert found.chosen == [said("assistant", SIDES["chosen"])]
    empty = parse_record({"system": "", "question": "Where?", **SIDES})
    assert empty.prompt == [said("user", "Where?")]
    messages = {"prompt": [said("user", "Where?")], **talk([said("assistant", "a")], [])}
    messages["rejected"] = [said("assistant", "b")]
    found = parse_record({"system": "Be brief.", **messages})
    assert found.prompt == [said("system", "Be brief."), said("user", "Where?")]
    messages["prompt"] = [said("system", "Other."), said("user", "Where?")]
    with pytest.raises(UnsoundRecord, match="key system beside a system message"):
        parse_record({"system": "Be brief.", **messages})


USER, HERE, THERE = said("user", "Where?"), said("assistant", "Here."), said("assistant", "There.")
SYSTEM = said("system", "Be brief.")


@pytest.mark.parametrize(
    ("record", "clean"),
    [
        ({"prompt": [USER], **talk([USER, HERE], [USER, THERE])}, ([USER], [HERE], [THERE])),
        (
            {"prompt": [SYSTEM, USER], **talk([USER, HERE], [USER, THERE])},
            ([SYSTEM, USER], [HERE], [THERE]),
        ),
        (
            {"prompt": [USER], **talk([SYSTEM, USER, HERE], [SYSTEM, USER, THERE])},
            ([SYSTEM, USER], [HERE], [THERE]),
        ),
        (
            {"prompt": "Where? ", "chosen": "Where? Here.", "rejected": "Where? There."},
            ("Where? ", "Here.", "There."),
        ),
        (
            {"prompt": "Where is it?", "chosen": "Where is it? Here.",
             "rejected": "Where is it?\nThere."},
            ("Where is it?", " Here.", "\nThere."),
        ),
        (
            {"prompt": "Where? ", "chosen": "Where?\nHere.", "rejected": "Where?\nThere."},
            ("Where?", "\nHere.", "\nThere."),
        ),
        (
            {"prompt": HUMAN, "chosen": f"{HUMAN} Here.", "rejected": f"{HUMAN} There."},
            (HUMAN, " Here.", " There."),
        ),
        (
            {"prompt": "Where?", "chosen": f"{HUMAN} Here.", "rejected": f"{HUMAN} There."},
            (HUMAN, " Here.", " There."),
        ),
        (
            {"question": "Where?", "chosen": "Where? Here.", "rejected": "Where? There."},
            ("Where?", " Here.", " There."),
        ),
    ],
)  # fmt: skip
def test_a_prompt_that_both_sides_repeat_is_taken_off(record: dict[str, Any], clean: Any) -> None:
    found = parse_record(record)
    assert contents(found) == clean
    assert found.notes[-1] == REPEATED_PROMPT


def test_what_is_no_repeated_prompt_stays() -> None:
    echo = {"prompt": "Hello", "chosen": "Hello there.", "rejected": "Hello?"}
    assert contents(parse_record(echo)) == tuple(echo.values())
    one = {"prompt": "Where is it?", "chosen": "Where is it? Here.", "rejected": "No."}
    assert contents(parse_record(one)) == tuple(one.values())
    turns = {"prompt": [USER], **talk([HERE, USER, HERE], [HERE, USER, THERE])}
    assert contents(parse_record(turns)) == tuple(turns.values())
    with pytest.raises(UnsoundRecord, match="prompt repeated in one side alone"):
        parse_record({"prompt": [USER], **talk([USER, HERE], [THERE])})
    with pytest.raises(UnsoundRecord, match="prompt is not in the dialogues"):
        parse_record({"prompt": "Why?", "chosen": f"{HUMAN} Here.", "rejected": f"{HUMAN} No."})


@pytest.mark.parametrize("key", ["system", "system_prompt", "system_message"])
def test_a_system_text_may_have_other_keys(key: str) -> None:
    found = parse_record({"prompt": "Where?", key: "Be brief.", **SIDES})
    assert found.prompt == [said("system", "Be brief."), said("user", "Where?")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "Where?", "image_path": "a.png", **SIDES}, "image_path beside the text"),
        ({"prompt": "Where?", "pixel_values": [1], **SIDES}, "pixel_values beside the text"),
        ({"prompt": "Where?", "functions": [{"name": "f"}], **SIDES}, "call them tools"),
        ({"prompt": "Where?", "system": "a", "system_prompt": "b", **SIDES}, "may both hold"),
        ({"info": {"post": "I lost my keys."}, **SIDES}, "info may hold it"),
        ({"asked": [{"text": "I lost my keys."}], **SIDES}, "asked may hold it"),
        (
            talk(
                *([said("system", "Be brief."), said("assistant", t)] for t in "ab"), problem="1?"
            ),
            "no common prompt but a system turn",
        ),
    ],
)
def test_more_columns_that_change_the_prompt(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsoundRecord, match=reason):
        parse_record(record)


@pytest.mark.parametrize("key", ["context", "history", "documents", "passage"])
def test_what_stands_beside_a_prompt_unread_is_counted(key: str) -> None:
    found = parse_record({"prompt": "Where?", key: ["The oven is in the kitchen."], **SIDES})
    assert found.prompt == "Where?"
    assert found.notes == (f"{key} beside the prompt not read",)


def test_a_prompt_that_one_side_repeats_is_counted() -> None:
    found = parse_record(
        {"prompt": "Where is it?", "chosen": "Where is it? Here.", "rejected": "No"}
    )
    assert found.notes == (REPEATED_ONCE,)
    assert parse_record({"prompt": "No", "chosen": "No way", "rejected": "Well"}).notes == ()


def test_tools_and_template_settings_are_kept_without_nulls() -> None:
    record = {
        "prompt": [USER], "tools": json.dumps(TOOLS),
        "chat_template_kwargs": {"enable_thinking": False, "other": None},
        **talk([{"role": "assistant", "content": None, "tool_calls": CALL}], [THERE]),
    }  # fmt: skip
    found = parse_record(record)
    assert found.tools == [{"type": "function", "function": {"name": "look"}}]
    assert dict(found.template) == {"enable_thinking": False}
    assert found.chosen == [said("assistant", "", tool_calls=CALL)]


def test_equal_and_reversed_scores_and_repeats_are_counted(tmp_path: Path) -> None:
    scored = [
        {"prompt": f"Where is {n}?", "chosen": "Here.", "rejected": "There.",
         "score_chosen": best, "score_rejected": worst}
        for n, (best, worst) in enumerate([(2, 1), (1, 1), (1, 2), (0, 2)])
    ]  # fmt: skip
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in scored))
    found = read_preferences(file)
    assert len(found.pairs) == 4
    assert found.noted == {SAME_SCORES: ["line 2"], REVERSED_SCORES: ["line 3", "line 4"]}
    assert f"noted: 1 {SAME_SCORES} (line 2); 2 {REVERSED_SCORES} (line 3, line 4)" in (
        found.report()
    )
    other = {"prompt": "p q", **SIDES, "chosen_score": 1.0, "rejected_score": 3.0}
    assert parse_record(other).notes == (REVERSED_SCORES,)


def test_pairs_with_other_tools_are_other_pairs(tmp_path: Path) -> None:
    record = {"prompt": [USER], **talk([HERE], [THERE])}
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({**record, "tools": t}) + "\n" for t in (TOOLS, None)))
    assert len(read_preferences(file).pairs) == 2


def test_deep_nesting_is_left_out() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnsoundRecord, match="nested too deeply"):
        parse_record({"prompt": [USER], "tools": [{"a": deep}], **talk([HERE], [THERE])})
