"""The data set on disk: readable, the same bytes for the same seed, splits that hold."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envs.episodes.r2r import read_r2r
from envs.graph.navigation_graph import read_connectivity
from envs.houses.checking import Outcome, check
from envs.houses.dataset import HousesConfig, read_houses, write_houses
from rayforge.errors import DataError

SIZE = {"train_houses": 3, "unseen_houses": 2, "paths_per_house": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("houses") / "data"
    write_houses(path, seed=5, **SIZE)
    return path


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()


def test_r2r_readers_accept_the_folder(folder: Path) -> None:
    graphs = {
        (g := read_connectivity(f)).scan: g for f in sorted((folder / "connectivity").iterdir())
    }
    assert list(graphs) == [f"house{k:05d}" for k in range(5)]
    for split, scans in (("train", 3), ("val_seen", 3), ("val_unseen", 2)):
        episodes = read_r2r(folder / f"R2R_{split}.json", graphs)
        assert len({e.scan for e in episodes}) == scans
        assert all(5 <= len(e.path) <= 7 for e in episodes)


def test_same_seed_same_bytes_whatever_the_hash_seed(folder: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from envs.houses.dataset import write_houses;"
        f"write_houses(Path({str(tmp_path / 'again')!r}), seed=5, **{SIZE!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "77"}
    )
    assert digest(tmp_path / "again") == digest(folder)


def test_every_instruction_arrives_in_the_houses_read_back(folder: Path) -> None:
    houses = read_houses(folder)
    for split in ("train", "val_seen", "val_unseen"):
        for e in read_r2r(folder / f"R2R_{split}.json"):
            verdict = check(e.instruction, houses[e.scan], e.path, e.heading)
            assert verdict.outcome is Outcome.ARRIVES, (e.instruction, verdict.reason)


def test_splits_share_no_path_and_no_held_out_wording(folder: Path) -> None:
    splits = {s: read_r2r(folder / f"R2R_{s}.json") for s in ("train", "val_seen", "val_unseen")}
    paths = {s: {(e.scan, e.path) for e in episodes} for s, episodes in splits.items()}
    assert not paths["train"] & paths["val_seen"]
    ids = [e.episode_id for episodes in splits.values() for e in episodes]
    assert len(ids) == len(set(ids))
    texts = {s: " ".join(e.instruction.lower() for e in eps) for s, eps in splits.items()}
    words = {s: set(re.findall("[a-z]+", text)) for s, text in texts.items()}
    assert words["val_seen"] | words["val_unseen"] <= words["train"]
    held_out = (
        r"make a (left|right) turn|make your way (past|through|out|down)|keep going straight"
        r"|stand (right by|just|there)|take a turn to|get out of the (?!room)|wait once|move into"
    )
    assert not re.search(held_out, texts["train"])
    assert len(re.findall(held_out, texts["val_unseen"])) > 20


def test_labels_and_headings_have_r2rs_layout(folder: Path) -> None:
    labels = json.loads((folder / "vp2room_label.json").read_text())
    info = labels["label_info"]
    houses = read_houses(folder)
    assert list(labels["pano_info"]) == list(houses)
    for scan, house in houses.items():
        table = labels["pano_info"][scan]
        assert list(table) == [v.id for v in house.viewpoints]
        for viewpoint in house.viewpoints:
            entry = table[viewpoint.id]
            assert entry["label"] == house.rooms[viewpoint.room].label
            assert info["index2label"][str(entry["label_index"])] == entry["label"]
            assert float(entry["position"][0]) == pytest.approx(viewpoint.position[0], abs=1e-3)
    for record in json.loads((folder / "R2R_train.json").read_text()):
        assert 0.0 <= record["heading"] <= 6.284
        assert 7.0 <= record["distance"] <= 13.0
        assert len(record["instructions"]) == 3


def test_unwritable_place_and_broken_houses_file_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="file"):
            write_houses(place, train_houses=1, unseen_houses=0, paths_per_house=1, seed=0)
    text = (folder / "houses.json").read_text()
    for broken in (text[:500], text.replace("rayforge-houses-1", "rayforge-houses-9"), "[]"):
        (tmp_path / "houses.json").write_text(broken)
        with pytest.raises(DataError, match=r"houses\.json"):
            read_houses(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "houses.json"]


def test_foreign_folder_is_refused_and_an_own_one_replaced(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("important")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        write_houses(mine, train_houses=1, unseen_houses=0, paths_per_house=1, seed=0)
    assert (mine / "thesis.tex").read_text() == "important"
    own = tmp_path / "own"
    for seed in (1, 2):
        write_houses(own, train_houses=1, unseen_houses=0, paths_per_house=1, seed=seed)
    assert len(read_houses(own)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "own"]


@pytest.mark.parametrize(
    "wrong", [{"train_houses": 0}, {"unseen_houses": -1}, {"paths_per_house": 0}, {"seed": -3}]
)
def test_config_names_the_value(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be .*{wrong[name]}"):
        HousesConfig(**wrong)
