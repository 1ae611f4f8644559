"""The user's cache is found in one place, and a cache that cannot be is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rayforge import cache
from rayforge.cache import cache_folder, make_cache_folder
from rayforge.errors import MachineError


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("scenes") == tmp_path / "rayforge" / "scenes"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "rayforge"


def test_a_cache_that_cannot_be_made_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match=r"file/rayforge/houses cannot .*set XDG_CACHE_HOME to"):
        make_cache_folder("houses")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "read-only"))
    monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    with pytest.raises(MachineError, match="no right to write there"):
        make_cache_folder("houses")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(MachineError, match="no home folder for the cache: set XDG_CACHE_HOME"):
        cache_folder("starts")


def test_what_kills_left_is_cleared_a_day_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = make_cache_folder("starts")
    for name in (".old.7.part", ".new.8.part"):
        (folder / name / "inside").mkdir(parents=True)
    long_ago = 1_000_000_000
    os.utime(folder / ".old.7.part", (long_ago, long_ago))
    make_cache_folder("starts")
    assert [f.name for f in folder.iterdir()] == [".new.8.part"], "it may be under way"
