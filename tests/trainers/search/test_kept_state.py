"""A search's state as one archive: whole, plain names only."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.search.kept import STATE, bring_back, keep


@given(st.dictionaries(st.sampled_from(["a.json", "b.pkl", "c"]), st.binary(max_size=200)))
def test_what_was_kept_comes_back_over_what_a_kill_left(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    source, folder = tmp_path_factory.mktemp("staging"), tmp_path_factory.mktemp("search")
    for name, data in files.items():
        (source / name).write_bytes(data)
        (folder / name).write_bytes(b"")  # as a kill leaves it
    (source / "trial-0001").mkdir()
    (folder / "results.csv").write_bytes(b"mine")
    keep(source, folder)
    bring_back(folder)
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert found.pop(STATE) and found == {**files, "results.csv": b"mine"}


def test_nothing_kept_changes_nothing(tmp_path: Path) -> None:
    bring_back(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "folder/file", ".."])
def test_an_archive_never_writes_elsewhere(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / STATE, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ValueError, match="not a plain file name"):
        bring_back(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [STATE]
