"""Files and folders are whole or not there, whatever happens on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rayforge import files
from rayforge.errors import ConfigurationError
from rayforge.files import (
    clear_parts,
    whole_file,
    whole_folder,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with pytest.raises(RuntimeError), whole_file(file) as part:
        part.write_text("half")
        raise RuntimeError("a full disk")
    assert file.read_text() == '{\n "a": 1\n}\n'
    assert names(tmp_path) == ["a.json"]


def test_a_temporary_name_keeps_the_ending(tmp_path: Path) -> None:
    with whole_file(tmp_path / "film.mp4") as part:
        assert part.suffix == ".mp4" and part.name.startswith(".")
        part.write_text("x")
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_is_whole_or_not_there(tmp_path: Path, replace: bool) -> None:
    folder = tmp_path / "model"
    with pytest.raises(RuntimeError), whole_folder(folder, replace=replace) as part:
        (part / "weights").write_text("half")
        raise RuntimeError("a full disk")
    assert names(tmp_path) == []
    with whole_folder(folder, replace=replace) as part:
        (part / "deep").mkdir()
        (part / "deep" / "weights").write_text("first")
        assert not folder.exists()
    assert names(tmp_path) == ["model"]
    with whole_folder(folder, replace=replace) as part:
        (part / "weights").write_text("second")
    assert names(folder) == (["weights"] if replace else ["deep"]), "without, the first one stays"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    rename: Callable[..., Path] = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part") and ".old." not in self.name:
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no space"), whole_folder(folder, replace=True) as part:
        (part / "weights").write_text("new")
    assert (folder / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_bytes_and_names_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = files.os.open
    monkeypatch.setattr(
        files.os, "open", lambda p, f: (flushed.append(Path(p).name), real(p, f))[1]
    )
    write_text(tmp_path / "a.txt", "x")
    assert len(flushed) == 2 and flushed[0].endswith(".part.txt") and flushed[1] == tmp_path.name
    flushed.clear()
    with whole_folder(tmp_path / "b") as part:
        (part / "in").mkdir()
        (part / "in" / "c").write_text("x")
    assert {"in", "c", tmp_path.name} < set(flushed)


def test_parts_are_cleared_by_age_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".model.5.part").mkdir()
    (tmp_path / ".a.5.part.json").write_text("")
    (tmp_path / ".writable").write_text("")
    (tmp_path / "spare.part").write_text("")
    clear_parts(tmp_path)
    assert len(names(tmp_path)) == 4
    clear_parts(tmp_path, older_than_s=0.0)
    assert names(tmp_path) == [".writable", "spare.part"]
    clear_parts(tmp_path / "nowhere")


@pytest.mark.parametrize("write", [write_text, write_bytes])
def test_a_pipe_is_not_replaced(tmp_path: Path, write: Callable[..., None]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="is a device or a pipe"):
        write(pipe, "a" if write is write_text else b"a")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_name_of_a_folder_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"t\xfcr")  # in Latin-1
    files.write_json(tmp_path / "run.json", name)
    files.write_text(tmp_path / "page.html", f"<h1>{name}, ü</h1>")
    assert json.loads((tmp_path / "run.json").read_text()) == name
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "<h1>t\\udcfcr, ü</h1>"
