"""Reading preference pairs: every format and source, and everything that may be wrong with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trl.data_utils import extract_prompt

from rayforge.alignment.preference_formats import parse_record
from rayforge.alignment.preference_sides import UnsoundRecord
from rayforge.alignment.preferences import (
    Preferences,
    preference_key,
    read_preferences,
)
from rayforge.errors import PreferenceError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PLAIN = [
    {"prompt": "Where is the lamp?", "chosen": " In the hall.", "rejected": " No idea."},
    {"prompt": "Wo ist die Küche?", "chosen": " Links, gleich da: grün.", "rejected": " Rechts."},
]
CHAT = [
    {
        "prompt": [user("Where is the lamp?")],
        "chosen": [assistant("In the hall.")],
        "rejected": [assistant("No idea.")],
    }
]
DIALOGUE = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Where?\n\nAssistant: In the hall.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Where?\n\nAssistant: No.",
}


def write_lines(path: Path, records: list[Any]) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def contents(found: Preferences) -> list[dict[str, Any]]:
    return [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in found.pairs]


def counts(found: Preferences) -> dict[str, int]:
    return {reason: len(records) for reason, records in found.dropped.items()}


def save_lines(path: Path, records: list[Any]) -> str:
    return str(write_lines(path / "pairs.jsonl", records))


def save_gzip(path: Path, records: list[Any]) -> str:
    return str(write_lines(path / "pairs.jsonl.gz", records))


def save_list(path: Path, records: list[Any]) -> str:
    (path / "pairs.json").write_text(json.dumps(records, indent=2))
    return str(path / "pairs.json")


def save_parquet(path: Path, records: list[Any]) -> str:
    pq.write_table(pa.Table.from_pylist(records), path / "pairs.parquet")
    return str(path / "pairs.parquet")


def save_data_set(path: Path, records: list[Any]) -> str:
    datasets.Dataset.from_list(records).save_to_disk(path / "saved")
    return str(path / "saved")


def save_splits(path: Path, records: list[Any]) -> str:
    datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list(PLAIN[:1]),
            "test": datasets.Dataset.from_list(records),
        }
    ).save_to_disk(path / "saved")
    return f"{path / 'saved'}:test"


def save_folder(path: Path, records: list[Any]) -> str:
    (path / "folder").mkdir()
    write_lines(path / "folder" / "test.jsonl", records)
    return str(path / "folder")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("records", [PLAIN, CHAT], ids=["plain", "conversational"])
@pytest.mark.parametrize(
    "save",
    [save_lines, save_gzip, save_list, save_parquet, save_data_set, save_splits, save_folder],
)
def test_every_source_gives_the_same_pairs(
    save: Callable[[Path, list[Any]], str], records: list[Any], tmp_path: Path
) -> None:
    source = save(tmp_path, records)
    found = read_preferences(source)
    assert contents(found) == records
    assert not found.dropped
    assert found.total == len(records)
    first = found.pairs[0]
    assert first.source.startswith(f"{source}, ") and first.source.endswith("1")
    assert first.key == preference_key(first.prompt, first.chosen, first.rejected)
    assert first.flipped is None and first.scores is None


def test_a_byte_order_mark_empty_lines_and_null_columns_do_no_harm(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", PLAIN)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert contents(read_preferences(path)) == PLAIN
    nulls = {**CHAT[0], "chosen": [{**CHAT[0]["chosen"][0], "tool_calls": None}], "extra": None}
    assert contents(read_preferences(write_lines(path, [nulls]))) == CHAT
    implicit = {"prompt": None, "chosen": "The sky is blue.", "rejected": "The sky is green."}
    assert contents(read_preferences(write_lines(path, [implicit])))[0]["prompt"] == "The sky is"


def test_an_hh_dialogue_splits_at_the_last_assistant_turn() -> None:
    found = parse_record(DIALOGUE)
    assert found.prompt == "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Where?\n\nAssistant:"
    assert (found.chosen, found.rejected) == (" In the hall.", " No.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rejected": "\n\nHuman: Hi\n\nAssistant: No."}, "no common prompt"),
        ({"rejected": "Unlike"}, "no common prompt"),
        ({"rejected": DIALOGUE["chosen"]}, "identical sides"),
        ({"rejected": DIALOGUE["rejected"].removesuffix("No.")}, "empty side"),
    ],
)
def test_unsound_dialogues(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(UnsoundRecord, match=f"^{reason}$"):
        parse_record({**DIALOGUE, **changes})


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_an_implicit_prompt_in_text_is_trls(prompt: str, chosen: str, rejected: str) -> None:
    record = {"chosen": prompt + chosen, "rejected": prompt + rejected}
    try:
        found = parse_record(record)
    except UnsoundRecord:
        return
    assert {"prompt": found.prompt, "chosen": found.chosen, "rejected": found.rejected} == (
        extract_prompt(record)
    )


_message = st.builds(user, st.sampled_from(["a", "b"])) | st.builds(
    assistant, st.sampled_from(["a", "b"])
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_message, max_size=3), st.lists(_message, max_size=2), st.lists(_message, max_size=2)
)
def test_an_implicit_prompt_in_messages_is_trls(prompt: list, one: list, other: list) -> None:
    record = {"chosen": prompt + one, "rejected": prompt + other}
    try:
        found = parse_record(record)
    except UnsoundRecord:
        return
    assert {"prompt": found.prompt, "chosen": found.chosen, "rejected": found.rejected} == (
        extract_prompt(record)
    )


def test_binarised_ultrafeedback() -> None:
    conversation = {
        "prompt": "Where is the lamp?",
        "chosen": [user("Where is the lamp?"), assistant("In the hall.")],
        "rejected": [user("Where is the lamp?"), assistant("No idea.")],
        "score_chosen": 8.5,
        "score_rejected": 3,
    }
    found = parse_record(conversation)
    assert {"prompt": found.prompt, "chosen": found.chosen, "rejected": found.rejected} == CHAT[0]
    assert found.scores == (8.5, 3.0)
    with pytest.raises(UnsoundRecord, match="prompt is not in the conversations"):
        parse_record({**conversation, "prompt": "Something else"})
    flat = {**PLAIN[0], "metadata": {"score_chosen": 9.0, "score_rejected": float("nan")}}
    assert parse_record(flat).scores is None


def test_published_ultrafeedback_takes_best_against_worst() -> None:
    completions = [
        {"response": "good", "overall_score": 7.0},
        {"response": "best", "overall_score": 9},
        {"response": "unrated", "overall_score": None},
        {"response": "bad", "overall_score": 2.5},
    ]
    found = parse_record({"instruction": "Say.", "completions": completions})
    assert (found.prompt, found.chosen, found.rejected) == ("Say.", "best", "bad")
    assert found.scores == (9.0, 2.5)
    for wrong, reason in (
        ({"completions": completions[:1]}, "fewer than two rated completions"),
        ({"completions": completions[:1] * 2}, "all completions rated alike"),
        ({"completions": [{"overall_score": 1}]}, "missing key response"),
        ({"completions": completions, "instruction": None}, "missing key instruction"),
    ):
        with pytest.raises(UnsoundRecord, match=reason):
            parse_record({"instruction": "Say.", **wrong})


def test_known_flips() -> None:
    noise = {"metadata": {"noise": {"selected": True}}}
    assert parse_record({**PLAIN[0], **noise}).flipped is True
    assert parse_record({**PLAIN[0], "flipped": False}).flipped is False
    assert parse_record({**PLAIN[0], "metadata": {"noise": {"type": "none"}}}).flipped is None


def test_what_is_wrong_is_counted_and_named(tmp_path: Path) -> None:
    plain = json.dumps(PLAIN[0])
    lines = [
        plain.encode(),
        b'{"prompt": "p", "chosen": "c"}',
        b'{"prompt": "p", "chosen": null, "rejected": "r"}',
        b'{"prompt": "p", "chosen": "same", "rejected": "same"}',
        b'{"prompt": "p", "chosen": "c", "rejected": " \\n"}',
        b'{"prompt": " ", "chosen": "c", "rejected": "r"}',
        '{"prompt": "Wo ist die Küche?", "chosen": "c", "rejected": "r"}'.encode("latin-1"),
        b'{"prompt": "\\ud800", "chosen": "c", "rejected": "r"}',
        b"{'prompt': 1}",
        b'["prompt"]',
        b'{"prompt": "p", "chosen": [{"role": "user", "content": "c"}], "rejected": "r"}',
        b'{"prompt": "p", "chosen": 3, "rejected": "r"}',
        b'{"prompt": "p", "chosen": [{"text": "c"}], "rejected": []}',
        plain.encode(),
        b"[" * 100_000,
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = read_preferences(path)
    assert contents(found) == PLAIN[:1]
    assert counts(found) == {
        "missing key rejected": 1, "missing key chosen": 1, "identical sides": 1, "empty side": 1,
        "empty prompt": 1, "wrong encoding": 2, "not JSON": 2,
        "not a record of keys and values": 1, "texts and messages mixed": 1,
        "neither text nor messages": 1, "message without role and content in text": 1,
        "repeated pair": 1,
    }  # fmt: skip
    assert found.dropped["wrong encoding"] == ["line 7", "line 8"]
    assert found.total == len(lines)
    assert (
        f"{path}: 1 of 15 records are sound pairs; left out: 1 missing key rejected (line 2)"
        in (found.report())
    )


def test_a_report_names_a_few_records(tmp_path: Path) -> None:
    records = [*PLAIN, *[{"prompt": "p", "chosen": "c"}] * 8]
    report = read_preferences(write_lines(tmp_path / "pairs.jsonl", records)).report()
    assert "8 missing key rejected (line 3, line 4, line 5, line 6, line 7 and 3 more)" in report


def test_a_gzip_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    records = [{**PLAIN[0], "prompt": f"{n * 7919 % 1000}?"} for n in range(1000)]
    path = write_lines(tmp_path / "pairs.jsonl.gz", records)
    path.write_bytes(path.read_bytes()[:-300])
    found = read_preferences(path)
    assert contents(found) == records[: len(found.pairs)]
    assert 100 < len(found.pairs) < 1000
    assert found.dropped == {"broken gzip": [f"line {len(found.pairs) + 1} and all after it"]}


@pytest.mark.parametrize("tail", [b"\xff" * 40, b"no gzip member"])
def test_a_gzip_file_with_a_damaged_end_keeps_what_came_before(tmp_path: Path, tail: bytes) -> None:
    path = write_lines(tmp_path / "pairs.jsonl.gz", PLAIN)
    header = gzip.compress(b"")[:10]
    path.write_bytes(path.read_bytes() + (header if tail[0] == 0xFF else b"") + tail)
    found = read_preferences(path)
    assert contents(found) == PLAIN
    assert found.dropped == {"broken gzip": ["line 3 and all after it"]}


@pytest.mark.parametrize("name", ["pairs.jsonl.gz", "pairs.jsonl", "pairs.json", "pairs.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x1f", b"[{", b"\xff\xfe{\x00}\x00", b"{}\n{}"])
def test_where_nothing_sound_is_left_reading_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PreferenceError, match=name):
        read_preferences(tmp_path / name)


def test_refusals_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(PreferenceError, match=r"preference file .*no\.jsonl does not exist"):
        read_preferences(tmp_path / "no.jsonl")
    with pytest.raises(PreferenceError, match=r"preference folder .*nothing does not exist"):
        read_preferences(tmp_path / "nothing")
    (tmp_path / "pairs.csv").write_text("a,b")
    with pytest.raises(PreferenceError, match=r"pairs\.csv has an ending that is not read"):
        read_preferences(tmp_path / "pairs.csv")
    source = save_splits(tmp_path, PLAIN)
    with pytest.raises(PreferenceError, match="no split held; there are train, test"):
        read_preferences(source.replace(":test", ":held"))
    assert len(read_preferences(source.removesuffix(":test")).pairs) == 1, "train is the default"
    (tmp_path / "bare").mkdir()
    with pytest.raises(PreferenceError, match=r"datasets cannot load the folder .*bare"):
        read_preferences(tmp_path / "bare")
    with pytest.raises(PreferenceError, match="saved without splits: leave :test away"):
        read_preferences(f"{save_data_set(tmp_path / 'bare', PLAIN)}:test")


def test_a_name_that_is_not_here_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PreferenceError, match=r"file or folder here\) nobody/nothing: Offline"):
        read_preferences("nobody/nothing")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["prompt", "chosen", "rejected", "role", "content", "metadata", "noise",
                 "completions", "instruction", "response", "overall_score", "score_chosen"]
            ), inner, max_size=5)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_json)
def test_any_record_is_a_pair_or_unsound(record: Any) -> None:
    try:
        found = parse_record(record)
    except UnsoundRecord:
        return
    assert found.chosen != found.rejected
    assert type(found.prompt) is type(found.chosen) is type(found.rejected)
    preference_key(found.prompt, found.chosen, found.rejected).encode()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.sampled_from(["p.jsonl", "p.json", "p.jsonl.gz", "p.parquet"]))
def test_any_bytes_are_refused_or_left_out(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PreferenceError):
        read_preferences(tmp_path / name)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "total", "dropped"),
    [
        ("hh_rlhf/helpful-base/test.jsonl.gz", 2354,
         {"empty side": 4, "no common prompt": 9, "identical sides": 2}),
        ("hh_rlhf/harmless-base/test.jsonl.gz", 2312, {"empty side": 4, "no common prompt": 5}),
        ("ultrafeedback/train_clean.jsonl.gz", 1000, {"identical sides": 4, "empty side": 2}),
        ("ultrafeedback/label_flip_20.jsonl.gz", 1000, {"identical sides": 4, "empty side": 2}),
        ("ultrafeedback/eval_clean.jsonl.gz", 200, {"identical sides": 1}),
    ],
)  # fmt: skip
def test_real_files(shared_data: Path, name: str, total: int, dropped: dict[str, int]) -> None:
    path = shared_data / "preferences" / name
    found = read_preferences(path)
    assert found.total == total
    assert counts(found) == dropped
    with gzip.open(path) as stream:
        records = [json.loads(line) for line in stream]
    for pair in found.pairs:
        record = records[int(pair.source.rpartition(" ")[2]) - 1]
        before = record.get("prompt", pair.prompt)
        whole = "" if "prompt" in record else before
        assert pair.prompt == before
        assert (whole + str(pair.chosen), whole + str(pair.rejected)) == (
            record["chosen"],
            record["rejected"],
        )


@pytest.mark.data
def test_real_scores_and_flips(shared_data: Path) -> None:
    folder = shared_data / "preferences" / "ultrafeedback"
    clean = read_preferences(folder / "train_clean.jsonl.gz").pairs
    noisy = read_preferences(folder / "label_flip_20.jsonl.gz").pairs
    assert sum(bool(pair.flipped) for pair in noisy) == 200
    for right, wrong in zip(clean, noisy, strict=True):
        assert right.flipped is None
        assert right.scores is not None and right.scores[0] >= right.scores[1]
        sides = (right.chosen, right.rejected)
        assert (wrong.chosen, wrong.rejected) == (sides[::-1] if wrong.flipped else sides)


@pytest.mark.data
def test_a_folder_of_real_files_through_datasets(shared_data: Path) -> None:
    folder = shared_data / "preferences" / "hh_rlhf" / "helpful-base"
    file = folder / "test.jsonl.gz"
    found, same = read_preferences(folder), read_preferences(file)
    assert [pair.key for pair in found.pairs] == [pair.key for pair in same.pairs]
