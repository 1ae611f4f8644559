"""Room-to-Room files: round trip, and one clear error for each way in which they are bad."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.episodes.r2r import check_paths, read_r2r, write_r2r
from envs.graph.navigation_graph import read_connectivity
from rayforge.errors import DataError
from rayforge.readers.content import is_blank

GOOD = {
    "scan": "alpha",
    "path_id": 7,
    "path": ["alpha00", "alpha01"],
    "heading": 1.5,
    "instructions": ["Go on.", "Walk ahead."],
}

words = st.text(min_size=1).filter(lambda text: not is_blank(text))
# Of a building: with `_connectivity.json` a name that a file may have.
names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
)
wholes = st.integers(-(2**63), 2**63 - 1)
records = st.lists(
    st.fixed_dictionaries(
        {
            "scan": names,
            "path_id": wholes | words,
            "path": st.lists(words, min_size=1, max_size=4),
            "heading": st.floats(-1e4, 1e4),
            "instructions": st.lists(words, min_size=1, max_size=3),
        },
        optional={"distance": st.floats(0, 100)},
    ),
    max_size=5,
    unique_by=lambda record: str(record["path_id"]),
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=records)
def test_what_is_written_is_read(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    file = tmp_path / "R2R_any.json"
    write_r2r(file, records)
    first = file.read_bytes()
    episodes = read_r2r(file)
    expected = [
        (f"{record['path_id']}_{k}", record["scan"], record["path"], record["heading"], instruction)
        for record in records
        for k, instruction in enumerate(record["instructions"])
    ]
    assert expected == [
        (e.episode_id, e.scan, list(e.path), e.heading, e.instruction) for e in episodes
    ]
    write_r2r(file, json.loads(first))
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path_id": ""}, "record 1: path_id must be a whole number or a text, found ''"),
        ({"path_id": 1.5}, "path_id must be a whole number or a text, found 1.5"),
        ({"scan": "../alpha"}, "scan must be a name that a file may have"),
        ({"scan": "a" * 300}, "scan must be a name that a file may have"),
        ({"objId": []}, r"objId must be a whole number or a text, found \[\]"),
        ({"path_id": True}, "path_id must be a whole number"),
        ({"scan": 3}, r"record 1 \(path_id 8\): scan must be a building's name, found 3"),
        ({"path": []}, "path is empty"),
        ({"path": "alpha00"}, "path must be a list of viewpoint ids"),
        ({"path": ["alpha00", 4]}, "path must be a list of viewpoint ids"),
        ({"heading": "north"}, "heading must be a number"),
        ({"heading": math.nan}, r"\(path_id 8\): heading must be finite .* found nan"),
        ({"heading": math.inf}, "heading must be finite"),
        ({"heading": 1e308}, "heading must be finite"),
        ({"instructions": ["\u200b \u200e"]}, "instruction 0 is empty"),
        ({"instructions": []}, "instructions must be a list of texts"),
        ({"instructions": "Go."}, "instructions must be a list of texts"),
        ({"instructions": ["Go.", " \n"]}, "instruction 1 is empty"),
        ({"instructions": [None]}, "instruction 0 must be a text, found None"),
    ],
)
def test_bad_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "R2R_train.json"
    file.write_text(json.dumps([GOOD, GOOD | {"path_id": 8} | change]))
    with pytest.raises(DataError, match=message) as caught:
        read_r2r(file)
    assert str(caught.value).startswith(str(file))
    with pytest.raises(DataError, match=message):
        write_r2r(tmp_path / "other.json", [GOOD, GOOD | {"path_id": 8} | change])
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('[{"scan": "al', "not valid JSON .* is it cut short"),
        ("{}", "expected a list of records, found an object"),
        ("[3]", "record 0: expected an object, found int"),
        ("[" * 100_000, "nested too deep"),
        (json.dumps([GOOD, GOOD | {"path_id": "7"}]), "record 0 has this path_id too"),
        ('[{"scan": "a", "scan": "b"}]', "key 'scan' stands twice"),
        ('[{"scan": "a", "path_id": 1, "path": ["x"], "heading": 0}]', "missing key 'instruct"),
        (json.dumps([GOOD, GOOD]), r"record 1 \(path_id 7\): record 0 has this path_id too"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "R2R_train.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_r2r(file)
    assert str(file) in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_r2r(tmp_path / "R2R_train.json")
    (tmp_path / "R2R_train.json").write_bytes(b'["\xff\xfe\xfd"]')
    with pytest.raises(DataError, match="not UTF-8"):
        read_r2r(tmp_path / "R2R_train.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_r2r(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scan": "delta"}, "path_id 8: building 'delta' has no navigation graph"),
        ({"path": ["alpha00", "nowhere"]}, "path_id 8: viewpoint 'nowhere' is not in the graph"),
        ({"path": ["alpha00", "alpha02"]}, "path_id 8: step 0 from alpha00 to alpha02 is no edge"),
        ({"path": ["alpha01", "alpha00", "alpha00"]}, "step 1 from alpha00 to alpha00 is no edge"),
    ],
)
def test_paths_are_checked_against_graphs(
    tiny_folder: Path, change: dict[str, Any], message: str
) -> None:
    graph = read_connectivity(tiny_folder / "connectivity" / "alpha_connectivity.json")
    file = tiny_folder / "R2R_mine.json"
    write_r2r(file, [GOOD])
    check_paths(file, read_r2r(file, {"alpha": graph}), {"alpha": graph})
    write_r2r(file, [GOOD, GOOD | {"path_id": 8} | change])
    with pytest.raises(DataError, match=message) as caught:
        read_r2r(file, {"alpha": graph})
    assert str(caught.value).startswith(str(file))


RXR = {
    "split": "train", "instruction_id": 26, "annotator_id": 19, "language": "hi-IN",
    "path_id": 11, "scan": "alpha", "path": ["alpha00", "alpha01"], "heading": 3.1,
    "instruction": "\u0926\u0930\u0935\u093e\u091c\u093c\u0947 \u0938\u0947 \u091c\u093e\u0913",
    "timed_instruction": [{"word": "\u0926\u0930"}],
    "edit_distance": 0.1,
}  # fmt: skip
FOLLOWED = {
    "demonstration_id": 5, "instruction_id": 26, "annotator_id": 43,
    "path": ["alpha00", "alpha00", "alpha03"], "metrics": {"ne": 0},
}  # fmt: skip


def lines(file: Path, *records: Any) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_rxr_guides_and_followers(tmp_path: Path, ending: str) -> None:
    english = RXR | {"instruction_id": 27, "language": "en-US", "instruction": "Go in."}
    guide = lines(tmp_path / f"rxr_train_guide.{ending}", RXR, english)
    hindi, other = read_r2r(guide)
    assert (hindi.episode_id, hindi.path_id, hindi.language) == ("26", 11, "hi-IN")
    assert hindi.instruction == RXR["instruction"] and not hindi.blind
    assert (other.episode_id, other.language) == ("27", "en-US")
    follower = lines(tmp_path / f"rxr_train_follower.{ending}", FOLLOWED)
    (walked,) = read_r2r(follower)
    assert walked.episode_id == "5" and walked.instruction == hindi.instruction
    assert walked.path == ("alpha00", "alpha03") and walked.heading == hindi.heading
    lines(follower, FOLLOWED | {"instruction_id": 28})
    with pytest.raises(
        DataError, match=r"line 1 \(demonstration_id 5\): its instruction_id '28' is"
    ):
        read_r2r(follower)
    guide.unlink()
    with pytest.raises(DataError, match="needs the guide's beside it"):
        read_r2r(follower)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction_id": 26}, "line 2 .instruction_id 26.: line 1 has this instruction_id too"),
        ({"instruction": " "}, "line 2 .instruction_id 27.: instruction is empty"),
        ({"language": 3}, "language must be a tag"),
        ({"scan": None}, "scan must be a building's name, found None"),
        ({"instruction_id": None}, "line 2: instruction_id must be a whole number or a text"),
    ],
)
def test_bad_rxr_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = lines(tmp_path / "rxr_a_guide.jsonl", RXR, RXR | {"instruction_id": 27} | change)
    with pytest.raises(DataError, match=message):
        read_r2r(file)


def test_reverie_has_an_object_a_record(tmp_path: Path) -> None:
    file = tmp_path / "REVERIE_train.json"
    two = [GOOD | {"objId": 95, "id": "7_95"}, GOOD | {"objId": 96}]
    write_r2r(file, two)
    assert [(e.episode_id, e.object_id) for e in read_r2r(file)] == [
        ("7_95_0", "95"), ("7_95_1", "95"), ("7_96_0", "96"), ("7_96_1", "96"),
    ]  # fmt: skip
    write_r2r(file, [GOOD | {"id": "7_95"}, GOOD | {"id": "7_96"}])  # a test split
    assert [e.episode_id for e in read_r2r(file)][::2] == ["7_95_0", "7_96_0"]
    write_r2r(file, [two[0], two[0]])
    with pytest.raises(DataError, match=r"id 7_95\): record 0 has this id too"):
        read_r2r(file)


def test_text_ids_and_blind_splits(tmp_path: Path) -> None:
    file = tmp_path / "R4R_test.json"
    write_r2r(file, [GOOD | {"path_id": "12_34", "path": ["alpha00"]}])
    first, _ = read_r2r(file)
    assert first.episode_id == "12_34_0" and first.path_id == "12_34" and first.blind
