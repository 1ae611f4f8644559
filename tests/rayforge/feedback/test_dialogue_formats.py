"""Published dialogue formats: what they give, and one line for what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rayforge.errors import DataError
from rayforge.feedback.formats import read_engine, read_massive, read_rewrites, read_utterances


def cqr() -> dict[str, Any]:
    def turn(who: str, text: str, **more: Any) -> dict[str, Any]:
        return {"turn": who, "data": {"utterance": text, "end_dialogue": False}, **more}

    return {
        "dialogue": [
            turn("driver", "Find a cafe."), turn("assistant", "There is Coupa."),
            turn("driver", "Take me there."),
            turn("assistant", "Going.", reformulation={
                "base_utt_idx": 2, "reformulated_utt": "Take me to Coupa.",
                "gold_slots": ["Coupa"], "mturk_reformulations": ["Drive to Coupa"],
            }),
            turn("driver", "Thanks."),
            turn("assistant", "Welcome.", reformulation={"reformulated_utt": None, "slots": {}}),
        ],
        "scenario": {},
    }  # fmt: skip


def test_cqr_as_a_list_and_as_lines_packed_or_not(tmp_path: Path) -> None:
    forms = {
        "list.json": json.dumps([cqr(), cqr()], indent=1).encode(),
        "lines.jsonl": f"{json.dumps(cqr())}\n{json.dumps(cqr())}\n".encode(),
        "lines.json.gz": gzip.compress(f"{json.dumps(cqr())}\n{json.dumps(cqr())}\n".encode()),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        found = read_rewrites(tmp_path / name)
        assert [r.gold for r in found] == ["Take me to Coupa.", None] * 2
        assert found[0].context == ("Find a cafe.", "There is Coupa.")
        assert found[0].request == "Take me there."
        assert (found[0].others, found[0].slots) == (("Drive to Coupa",), ("Coupa",))
        assert [r.dialogue for r in found] == [0, 0, 1, 1]


def test_canard(tmp_path: Path) -> None:
    file = tmp_path / "canard.json"
    record = {"History": ["Who was Ann?"], "Question": "When was she born?",
              "Rewrite": "When was Ann born?", "QuAC_dialog_id": "x", "Question_no": 1}  # fmt: skip
    file.write_text(json.dumps([record, record | {"Rewrite": record["Question"]}]))
    assert [r.gold for r in read_rewrites(file)] == ["When was Ann born?", None]


def test_questions_of_one_conversation_are_one_dialogue(tmp_path: Path) -> None:
    said = {"Question": "When?", "Rewrite": "When was Ann born?"}
    file = tmp_path / "qrecc.json"
    records = [said | {"Context": ["a"], "Conversation_no": n} for n in (7, 7, 3)]
    file.write_text(json.dumps([*records, said, said]))
    found = read_rewrites(file)
    assert [r.dialogue for r in found] == [0, 0, 1, 2, 3]
    assert [r.context for r in found] == [("a",)] * 3 + [()] * 2
    file.write_text(json.dumps([said | {"QuAC_dialog_id": [1]}]))
    with pytest.raises(DataError, match="record 1: a conversation is named by text or number"):
        read_rewrites(file)


def test_massive(tmp_path: Path) -> None:
    file = tmp_path / "en-US.jsonl"
    lines = [
        {"partition": "train", "intent": "alarm_set", "utt": "wake me at five am on friday",
         "annot_utt": "wake me at [time : five am] on [date : friday ]"},
        {"partition": "test", "intent": "audio", "utt": "quiet", "annot_utt": "quiet"},
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_massive(file)
    (first,) = found["train"]
    assert first.text == "wake me at five am on friday "
    assert [(first.text[a:b], name) for a, b, name in first.slots] == [
        ("five am", "time"), ("friday", "date"),
    ]  # fmt: skip
    assert found["test"][0].slots == ()
    for wrong, told in (({"partition": 1}, "line 1: 'partition'"), ({}, "line 1: 'partition'"),
                        (lines[0] | {"annot_utt": " "}, "line 1: is empty")):  # fmt: skip
        file.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=told):
            read_massive(file)
    file.write_text("")
    with pytest.raises(DataError, match="holds no utterances"):
        read_massive(file)


def _changed(path: list[Any], value: Any) -> dict[str, Any]:
    record = cqr()
    inner: Any = record
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], "record 1: a dialogue is an object, found a list"),
        ({"x": 1}, "no CQR dialogue"),
        (_changed(["dialogue"], 3), "'dialogue' must be a list"),
        (_changed(["dialogue", 1, "data"], ...), "turn 1: 'data' must be an object"),
        (_changed(["dialogue", 2, "data", "utterance"], 5), "turn 2: 'utterance' must be a text"),
        (_changed(["dialogue", 0, "turn"], None), "turn 0: 'turn' must be a text"),
        (_changed(["dialogue", 3, "reformulation", "gold_slots"], {}), "'gold_slots' must be"),
        (_changed(["dialogue", 3, "reformulation", "mturk_reformulations"], [1]), "mturk"),
        (_changed(["dialogue", 3, "reformulation"], "x"), "'reformulation' must be an object"),
    ],
)  # fmt: skip
def test_a_fault_of_a_rewrite_file_is_one_line(record: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text(json.dumps([record]))
    with pytest.raises(DataError, match=said) as error:
        read_rewrites(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[{]", b"[1e999999]"])
def test_what_is_no_rewrite_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_bytes(data)
    for read in (read_rewrites, read_utterances, read_engine):
        with pytest.raises(DataError) as error:
            read(tmp_path / "f.json")
        assert "\n" not in str(error.value)


def test_snips_pieces_become_slots_in_the_text(tmp_path: Path) -> None:
    file = tmp_path / "train_GetWeather_full.json"
    pieces = [{"text": "Weather in "}, {"text": " New York ", "entity": "city"}, {"text": "é?"}]
    content = {"GetWeather": [{"data": pieces}]}
    for encoding in ("utf-8", "latin-1"):
        file.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
        (found,) = read_utterances(file)
        assert found.text == "Weather in  New York é?"
        assert [(found.text[a:b], name) for a, b, name in found.slots] == [("New York", "city")]
    file.write_text(json.dumps({"GetWeather": [{"data": [{"text": 1}]}]}))
    with pytest.raises(DataError, match="GetWeather, utterance 1: 'text' must be a text"):
        read_utterances(file)


def test_three_files_of_words_and_tags(tmp_path: Path) -> None:
    (tmp_path / "seq.in").write_text("fly from new york\nhi\n")
    (tmp_path / "seq.out").write_text("O O B-from I-from\nO\n")
    (tmp_path / "label").write_text("flight\ngreet\n")
    first, second = read_utterances(tmp_path)
    assert [(first.text[a:b], n) for a, b, n in first.slots] == [("new york", "from")]
    assert (second.intent, second.slots) == ("greet", ())
    (tmp_path / "label").write_text("flight\n")
    with pytest.raises(DataError, match="differ in length"):
        read_utterances(tmp_path)
    (tmp_path / "label").write_text("flight\ngreet\n")
    (tmp_path / "seq.out").write_text("O O B-from I-from\nO O\n")
    with pytest.raises(DataError, match="line 2: 1 words but 2 tags"):
        read_utterances(tmp_path)


def test_an_engines_runs_without_a_value_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "Luis_metrics.json"
    figure = {"70": [0.5, float("nan"), 1.0]}
    slot = {"precision": figure, "recall": figure, "rate": 3}
    file.write_text(json.dumps(
        {"model_name": "Luis",
         "intents": {"A": {"precision": figure, "recall": figure, "slots": {"s": slot}}}}
    ))  # fmt: skip
    (found,) = read_engine(file)
    assert (found.engine, found.precision, found.slots) == ("Luis", 0.75, {"s": (0.75, 0.75, 3.0)})
    with pytest.raises(DataError, match="at 20 utterances"):
        read_engine(file, "20")


@pytest.mark.data
def test_the_published_files_are_read_whole(shared_data: Path) -> None:
    dialogue = shared_data / "dialogue"
    (file,) = (dialogue / "alexa_cqr").glob("*.json.gz")
    found = read_rewrites(file)
    assert (len(found), sum(r.gold is not None for r in found)) == (470, 206)
    for intent in (dialogue / "snips").iterdir():
        if intent.is_dir():
            assert len(read_utterances(intent / f"validate_{intent.name}.json")) == 100
            assert all(read_engine(f) for f in intent.glob("*_metrics.json"))


def test_topics_of_cast_are_rewrites_with_what_was_asked_before(tmp_path: Path) -> None:
    turns = [
        {"raw_utterance": "Who was Ann?", "manual_rewritten_utterance": "Who was Ann?"},
        {"number": 2, "raw_utterance": "And her?"},
        {"number": 3, "raw_utterance": "Why?", "manual_rewritten_utterance": "Why was Ann?"},
    ]  # fmt: skip
    file = tmp_path / "cast.json"
    file.write_bytes(
        b"\xef\xbb\xbf" + json.dumps([{"number": 1, "turn": turns}], indent=1).encode()
    )
    first, second = read_rewrites(file)
    assert (first.request, first.gold, first.context) == ("Who was Ann?", None, ())
    assert (second.request, second.gold) == ("Why?", "Why was Ann?")
    assert second.context == ("Who was Ann?", "And her?")
    file.write_text(json.dumps([{"turn": [{"number": 1}]}]))
    with pytest.raises(DataError, match="record 1, turn 0: 'raw_utterance' must be a text"):
        read_rewrites(file)


def test_qreccs_other_key_and_a_record_of_no_format(tmp_path: Path) -> None:
    file = tmp_path / "qrecc.json"
    question = {"Context": [], "Question": "Why?", "Truth_rewrite": "Why, Ann?"}
    file.write_text(json.dumps([question]))
    assert read_rewrites(file)[0].gold == "Why, Ann?"
    file.write_text(json.dumps([{"goal": {}, "log": []}]))
    with pytest.raises(DataError, match=r"record 1: no CQR .* no CANARD .* no CAsT"):
        read_rewrites(file)


@pytest.mark.parametrize(
    ("name", "part"), [("devel.jsonl", "dev"), ("train_synthetic.jsonl", "train"),
                       ("test.jsonl", "test")],
)  # fmt: skip
def test_slurp_is_read_by_its_files_name(tmp_path: Path, name: str, part: str) -> None:
    line = {"slurp_id": 1, "sentence": "wake me at five", "intent": "alarm_set",
            "sentence_annotation": "wake me at [time : five]"}  # fmt: skip
    (tmp_path / name).write_text(json.dumps(line) + "\n")
    found = read_massive(tmp_path / name)
    assert list(found) == [part]
    assert found[part][0].slots == ((11, 15, "time"),)
