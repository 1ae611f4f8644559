"""Room-to-Room files: round trip, and one clear error for each way in which they are bad."""

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

GOOD = {
    "scan": "alpha",
    "path_id": 7,
    "path": ["alpha00", "alpha01"],
    "heading": 1.5,
    "instructions": ["Go on.", "Walk ahead."],
}

words = st.text(min_size=1).filter(str.strip)
records = st.lists(
    st.fixed_dictionaries(
        {
            "scan": words,
            "path_id": st.integers(),
            "path": st.lists(words, min_size=1, max_size=4),
            "heading": st.floats(allow_nan=False, allow_infinity=False),
            "instructions": st.lists(words, min_size=1, max_size=3),
        },
        optional={"distance": st.floats(0, 100)},
    ),
    max_size=5,
    unique_by=lambda record: record["path_id"],
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
        (f"{record['path_id']}_{k}", record["scan"], record["path"], record["heading"], sentence)
        for record in records
        for k, sentence in enumerate(record["instructions"])
    ]
    assert expected == [
        (e.episode_id, e.scan, list(e.path), e.heading, e.instruction) for e in episodes
    ]
    write_r2r(file, json.loads(first))
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path_id": "7"}, "record 1: path_id must be a whole number, found '7'"),
        ({"path_id": True}, "path_id must be a whole number"),
        ({"scan": 3}, r"record 1 \(path_id 8\): scan must be a building's name, found 3"),
        ({"path": []}, "path is empty"),
        ({"path": "alpha00"}, "path must be a list of viewpoint ids"),
        ({"path": ["alpha00", 4]}, "path must be a list of viewpoint ids"),
        ({"heading": "north"}, "heading must be a number"),
        ({"heading": math.nan}, r"\(path_id 8\): heading must be finite .* found nan"),
        ({"heading": math.inf}, "heading must be finite"),
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
        ('[{"scan": "al', "not valid JSON .* is the file cut short"),
        ("{}", "expected a list of records, found an object"),
        ("[3]", "record 0: expected an object, found int"),
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
