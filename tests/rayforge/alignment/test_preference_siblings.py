"""Preference records and files as other tools write them: read right, or left out with a word."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayforge.alignment.preference_formats import (
    REPEATED_INSIDE,
    REVERSED_SCORES,
    UNSEEN_SIDE,
    parse_record,
)
from rayforge.alignment.preference_sides import UnsoundRecord
from rayforge.alignment.preferences import check_source, read_preferences
from rayforge.errors import PreferenceError
from rayforge.readers.hub import ANSWER_S

ASKED = "How far is the sea?"


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


MESSAGES = [turn("user", ASKED)], [turn("assistant", "Two.")], [turn("assistant", "No.")]


def text_part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": MESSAGES[0], "chosen": "Two.", "rejected": "No."},
        {"prompt": MESSAGES[0], "chosen": MESSAGES[1][0], "rejected": MESSAGES[2][0]},
        {"prompt": [turn("user", text_part(ASKED))],
         "chosen": [turn("assistant", text_part("Two."))],
         "rejected": [turn("assistant", [{"type": "text", "text": "N"}, {"text": "o."}])]},
        {"chosen": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "Two."}],
         "rejected": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "No."}]},
        {"prompt": [{"from": "human", "value": ASKED}], "chosen": {"from": "gpt", "value": "Two."},
         "rejected": {"from": "gpt", "value": "No."}},
        {"prompt": ASKED, "chosen": MESSAGES[1][0], "rejected": MESSAGES[2][0]},
    ],
)  # fmt: skip
def test_messages_in_other_forms_are_the_same_pair(record: dict[str, Any]) -> None:
    found = parse_record(record)
    assert (found.prompt, found.chosen, found.rejected) == MESSAGES


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ([turn("assistant", [{"type": "image"}, {"text": "a"}])], "image in a message"),
        ([turn("assistant", [{"type": "input_audio", "x": 1}])], "input_audio in a message"),
        ([turn("assistant", [3])], "without role and content"),
        ([turn("assistant", [{"type": "text"}])], "without role and content"),
        ([{"from": "observation", "value": "a"}], "turn from observation"),
        ([{"from": 3, "value": "a"}], "without role and content"),
        ([{"value": "a"}], "without role and content"),
        ({"role": "assistant"}, "neither text nor messages"),
        (json.dumps(MESSAGES[1]), "messages written as a text"),
        (str(MESSAGES[1]), "messages written as a text"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_left_out_by_name(chosen: Any, reason: str) -> None:
    with pytest.raises(UnsoundRecord, match=reason):
        parse_record({"prompt": ASKED, "chosen": chosen, "rejected": "a b"})


@pytest.mark.parametrize(
    ("best", "worst"), [("1", "3"), ("1.0", "8.5"), (Decimal(1), Decimal(2)), (1, "2"), (1, 1e300)]
)
def test_scores_are_compared_however_they_are_written(best: Any, worst: Any) -> None:
    record = {"prompt": ASKED, "chosen": "a", "rejected": "b"}
    found = parse_record({**record, "score_chosen": best, "score_rejected": worst})
    assert found.notes == (REVERSED_SCORES,)
    for nothing in ("N/A", "", "nan", "inf", 10**400, None, True, [1]):
        assert parse_record({**record, "score_chosen": nothing, "score_rejected": 1}).scores is None
    found = parse_record(
        {"instruction": ASKED, "completions": [
            {"response": "a", "overall_score": "2"}, {"response": "b", "overall_score": "10"}]}
    )  # fmt: skip
    assert (found.chosen, found.rejected, found.scores) == ("b", "a", (10.0, 2.0))


def test_a_prompt_inside_both_sides_is_noted() -> None:
    sides = {name: f"[INST] {ASKED} [/INST] {name}" for name in ("chosen", "rejected")}
    assert parse_record({"prompt": ASKED, **sides}).notes == (REPEATED_INSIDE,)
    assert parse_record({"prompt": "far", **sides}).notes == ()
    assert parse_record({"prompt": ASKED, "chosen": f"a {ASKED}", "rejected": "b"}).notes == ()


def test_a_list_may_begin_on_a_later_line_and_records_over_lines_are_told(tmp_path: Path) -> None:
    record = {"prompt": ASKED, "chosen": "a", "rejected": "b"}
    file = tmp_path / "pairs.json"
    file.write_text("\n \n" + json.dumps([record], indent=1))
    assert len(read_preferences(file).pairs) == 1
    file.write_text(json.dumps(record, indent=1))
    with pytest.raises(PreferenceError, match="One record stands on one line, or all in one JSON"):
        read_preferences(file)


def test_tables_with_a_column_twice_or_dates_beyond_python(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    texts = [pa.array([ASKED, "Why?"]), pa.array(["a", "a"]), pa.array(["b", "b"])]
    names = ["prompt", "chosen", "rejected"]
    pq.write_table(pa.Table.from_arrays([*texts, texts[1]], [*names, "chosen"]), file)
    with pytest.raises(PreferenceError, match="column 'chosen' stands twice"):
        read_preferences(file)
    for kind in (pa.timestamp("ms"), pa.date64(), pa.duration("ms")):
        pq.write_table(
            pa.Table.from_arrays([*texts, pa.array([2**62, 0]).cast(kind)], [*names, "when"]), file
        )
        found = read_preferences(file)
        assert len(found.pairs) == 1
        assert found.dropped == {"a value that cannot be read (a date out of range?)": ["row 1"]}


def test_a_table_of_maps_is_read_as_objects(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    rated = pa.array(
        [[("score_chosen", 1.0), ("score_rejected", 3.0)]], pa.map_(pa.string(), pa.float64())
    )
    table = {"prompt": [ASKED], "chosen": ["a"], "rejected": ["b"], "metadata": rated}
    pq.write_table(pa.table(table), file)
    assert read_preferences(file).noted == {REVERSED_SCORES: ["row 1"]}


def test_a_saved_row_that_cannot_be_decoded_is_one_line(tmp_path: Path) -> None:
    kinds = {name: datasets.Value("string") for name in ("prompt", "chosen", "rejected")}
    rows = {"prompt": [ASKED], "chosen": ["a"], "rejected": ["b"]}
    picture = {"bytes": b"no picture", "path": None}
    features = datasets.Features({**kinds, "photo": datasets.Image()})
    saved = datasets.Dataset.from_dict({**rows, "photo": [picture]}, features=features)
    saved.save_to_disk(tmp_path / "saved")
    with pytest.raises(PreferenceError, match=r"saved: row 1: cannot be read \("):
        read_preferences(tmp_path / "saved")


@pytest.mark.parametrize("side", ["\u200b\u2060\ufeff", " \u200e\u00ad", "\u200b\n"])
def test_a_side_that_is_not_seen_is_noted(side: str) -> None:
    assert parse_record({"prompt": ASKED, "chosen": "a", "rejected": side}).notes == (UNSEEN_SIDE,)


def test_a_path_that_begins_here_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("file").touch()
    Path("loop").symlink_to("loop")
    for name in ("data/mine", "data/mine/more:test", "file/below", "loop/below", "./mine", "~/x"):
        with pytest.raises(PreferenceError, match=f"preference folder {name} does not exist"):
            check_source(name)
    for name in ("", "  "):
        with pytest.raises(PreferenceError, match="no preference data is named"):
            check_source(name)
    for name in ("data", "data:test", "name/on-the-hub", "name/on-the-hub/folder:test"):
        check_source(name)


def test_a_parquet_file_that_counts_its_rows_wrong(tmp_path: Path) -> None:
    """What the metadata leave out would be lost without a word."""
    file = tmp_path / "pairs.parquet"
    texts = [f"text {number}" for number in range(12)]
    pq.write_table(pa.table({"prompt": texts, "chosen": texts, "rejected": texts[::-1]}), file)
    whole = file.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    footer, twelve, refused = whole[-8 - size : -8], 0x18, 0  # 12 as Thrift writes it
    for place in (k for k, byte in enumerate(footer) if byte == twelve):
        lying = footer[:place] + b"\x02" + footer[place + 1 :]
        file.write_bytes(whole[: -8 - size] + lying + whole[-8:])
        try:
            counts = pq.read_metadata(file)
        except OSError:
            continue  # another field
        if counts.num_rows != 12 or counts.row_group(0).num_rows != 12:
            refused += 1
            with pytest.raises(PreferenceError, match="counts of rows do not agree"):
                read_preferences(file)
    assert refused == 2


def test_a_hub_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    asked: list[float] = []

    def silent(_: Any, name: str, timeout: float) -> None:
        asked.append(timeout)
        raise TimeoutError("no answer")

    def load(name: str, data_dir: str | None) -> Any:
        assert constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE
        raise ConnectionError("not on the disk")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", silent)
    monkeypatch.setattr(datasets, "load_dataset", load)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(PreferenceError, match="TimeoutError: no answer; name a file, or check"):
        read_preferences("somebody/pairs")
    assert asked == [ANSWER_S]
    assert before == constants.HF_HUB_OFFLINE == datasets.config.HF_HUB_OFFLINE
