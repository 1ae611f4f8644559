"""Which file holds a split: each data set's own names, and a word where there are two."""

from pathlib import Path

import pytest

from envs.episodes.split_files import split_file, splits_of
from rayforge.errors import DataError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("R2R_train.json", "train"),
        ("R4R_val_seen.json", "val_seen"),
        ("REVERIE_test.json", "test"),
        ("rxr_train_guide.jsonl.gz", "train"),
        ("rxr_val_seen_guide.jsonl", "val_seen"),
        ("rxr_test_standard_public_guide.jsonl.gz", "test_standard"),
        ("rxr_train_follower.jsonl.gz", "train_follower"),
    ],
)
def test_each_data_sets_names(tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "other.json").touch()
    assert splits_of(tmp_path) == [split]
    assert split_file(tmp_path, split) == tmp_path / name
    assert split_file(tmp_path, name.partition(".")[0]) == tmp_path / name
    assert split_file(tmp_path, "none") == tmp_path / "R2R_none.json"


def test_two_data_sets_in_a_folder(tmp_path: Path) -> None:
    for name in ("R2R_train.json", "R4R_train.json"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"R2R_train\.json and R4R_train\.json; name .* \(R2R_tra"):
        split_file(tmp_path, "train")
    assert split_file(tmp_path, "R4R_train") == tmp_path / "R4R_train.json"
