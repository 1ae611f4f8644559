"""Adapting by pairs that are there already, in the place of walks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.episodes.r2r import read_r2r, write_r2r
from rayforge.errors import DataError
from trainers.irl.adapt import _pairs_of, _take_pairs, adapted
from trainers.irl.adapt_config import AdaptConfig
from trainers.irl.config import IRLConfig


def record(scan: str, number: int, *path: str) -> dict[str, object]:
    return {"scan": scan, "path_id": number, "path": path, "heading": 0.0,
            "instructions": ["go left", "turn left"]}  # fmt: skip


def test_pairs_of_the_new_buildings_are_taken(tmp_path: Path) -> None:
    file, out = tmp_path / "pairs.json", tmp_path / "out"
    out.mkdir()
    write_r2r(file, [record("a", 1, "s", "g"), record("b", 2, "s", "g"), record("a", 3, "s")])
    settings = AdaptConfig(walks="none", pairs=str(file))
    _take_pairs(tmp_path / "run", out, settings, _pairs_of(settings, ("a",)))
    taken = read_r2r(out / "further.json")
    assert [(e.scan, e.path, e.instruction) for e in taken] == [
        ("a", ("s", "g"), "go left"), ("a", ("s", "g"), "turn left")]  # fmt: skip
    assert json.loads((out / "adaptation.json").read_text())["buildings"] == []
    config = IRLConfig(method="langgoal", augment=True)
    assert adapted(config, settings, out).extra_demonstrations == str(out / "further.json")
    assert adapted(config, AdaptConfig(walks="none"), out).extra_demonstrations == ""
    with pytest.raises(DataError, match=r"pairs\.json: no pair of instruction and path in c"):
        _pairs_of(settings, ("c",))
