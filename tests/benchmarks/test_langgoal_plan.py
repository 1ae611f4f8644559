"""The queue of the LangGoalIRL benchmark: what is run, with which flags, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.langgoal_plan import BY_SLUG, METHODS, Setting, cells_of, settings_of
from benchmarks.r2r import HELD_OUT
from trainers.cli import _read
from trainers.irl.commands import Adapt, Train
from trainers.irl.config import IRLConfig

SETTINGS = [
    Setting("b5", "few", ("--data", "r2r"), "val_seen", "held_out"),
    Setting("a", "all", ("--data", "r2r", "--updates", "8"), "val_seen", "held_out", HELD_OUT,
            transfer=True, new_scans=HELD_OUT, seen_scans=("one", "two")),
    Setting("d", "3-D", ("--env", "continuous"), "val_seen", "val_unseen", forcing=False),
]  # fmt: skip


def settings_read(flags: tuple[str, ...]) -> IRLConfig:
    """What the real command makes of flags."""
    assert flags[:2] == ("irl", "train")
    read: IRLConfig = _read(Train, "irl train", [*flags[2:], "--run", "x"]).settings
    return read


def test_the_queue_begins_with_what_matters_most() -> None:
    cells = cells_of(SETTINGS, (3, 4), Path("out"), ())
    names = [f"{cell.setting.key}/{cell.run.name}" for cell in cells]
    assert len(set(names)) == len(names)
    assert names[:6] == [
        "a/start-3", "a/full-3", "a/gcbc-3", "a/gail-3", "a/hindsight-3", "a/completion-3",
    ]  # fmt: skip
    assert names.index("a/adapted-3") < names.index("a/base-3")
    assert "a/adapted-4" in names and "a/adapted-random-4" not in names
    assert "a/adapted-none-4" in names and "a/longer-4" in names
    assert not {"d/adapted-3", "d/longer-3"} & {*names}, "no graph to adapt to"
    assert names.index("a/relabel-3") < names.index("a/full-4") < names.index("a/base-4")
    for early in ("a/adapted-random-3", "a/transfer-3"):
        assert names.index("a/completion-3") < names.index(early) < names.index("a/full-4")
    assert names.index("a/base-4") < names.index("a/no-text-3") < names.index("b5/start-3")
    assert "a/no-text-4" not in names, "controls take the first seed alone"
    assert "d/forcing-3" not in names, "no shortest-path labels there"
    assert "a/transfer-3" in names and "b5/transfer-3" not in names


def test_what_begins_from_another_run_waits_for_it() -> None:
    cells = cells_of(SETTINGS, (0, 1), Path("out"), ())
    place = {cell.run: k for k, cell in enumerate(cells)}
    for k, cell in enumerate(cells):
        if cell.after is not None:
            assert place[cell.after] < k
            assert str(cell.after) in cell.command
            assert str(cell.seed) == cell.after.name.split("-")[-1]
    begun = {cell.method.slug for cell in cells if cell.after is not None}
    assert begun >= {"full", "gail", "hindsight", "completion", "forcing", "cold", "transfer",
                     "adapted"}  # fmt: skip
    assert not begun & {"start", "gcbc", "no-text", "shuffled", "longer"}


def test_asking_for_some_methods_brings_their_start() -> None:
    cells = cells_of(SETTINGS[:1], (0,), Path("out"), ("gail", "gcbc"))
    assert [cell.run.name for cell in cells] == ["start-0", "gcbc-0", "gail-0"]
    assert [c.run.name for c in cells_of(SETTINGS[:1], (0,), Path("out"), ("gcbc",))] == ["gcbc-0"]
    moved = cells_of(SETTINGS[1:2], (0,), Path("out"), ("transfer-clone",))
    assert [c.run.name for c in moved] == ["start-0", "transfer-clone-0"]
    moved = cells_of(SETTINGS[1:2], (0,), Path("out"), ("transfer",))
    assert [c.run.name for c in moved] == ["start-0", "full-0", "transfer-0"]
    with pytest.raises(ValueError, match="no method 'airl'; there are start, full"):
        cells_of(SETTINGS, (0,), Path("out"), ("airl",))


def test_adapting_brings_the_run_that_is_adapted_and_its_start() -> None:
    cells = cells_of(SETTINGS[1:2], (0,), Path("out"), ("adapted", "adapted-training"))
    names = [cell.run.name for cell in cells]
    assert names == ["start-0", "full-0", "adapted-0", "adapted-training-0"]
    scans: list[tuple[str, ...]] = []
    for cell in cells[2:]:
        adapt = _read(Adapt, "irl adapt", [*cell.command[2:], "--out", str(cell.run)])
        assert isinstance(adapt, Adapt) and adapt.run == Path("out/a/full-0")
        scans.append(adapt.scans)
    assert scans == [HELD_OUT, ("one", "two")]


def test_flags_are_settings_and_all_methods_take_the_same_updates() -> None:
    cells = cells_of(SETTINGS, (0,), Path("out"), ())
    read = {c.run.name: settings_read(c.command) for c in cells
            if c.setting.key == "a" and c.method.kind != "adapted"}  # fmt: skip
    for method in METHODS:
        if method.kind == "adapted":
            continue
        config = read[f"{method.slug}-0"]
        assert config.held_out == HELD_OUT
        # As many as adapting takes by default come on top for the control of longer cloning.
        assert config.updates == {"start": 0, "longer": 8 + 800 + 100}.get(method.slug, 8)
        assert config.cloning_first == (0 if method.slug in ("cold", "unaided") else 1200)
        assert (config.episodes_per_iteration, config.updates_per_iteration) == (128, 8)
    assert not read["gail-0"].mismatched_negatives and not read["gail-0"].generates
    assert read["matched-0"] == read["matched-0"].__class__(**{
        **vars(read["full-0"]), "mismatched_negatives": False})  # fmt: skip
    assert read["unaided-0"].imitation_weight == 0 and not read["unaided-0"].start_from
    for slug, source in (("transfer", "full"), ("transfer-clone", "start")):
        moved = read[f"{slug}-0"]
        assert moved.buildings == HELD_OUT and moved.held_out == ()
        assert moved.reward_from == f"out/a/{source}-0" and moved.updates == 32
        assert moved.evaluate == ("train", "val_seen")
    assert BY_SLUG["full"].every_seed


def test_ten_houses_are_the_same_houses(tmp_path: Path) -> None:
    """(c10) differs from (c) in its training houses, and in the generator's updates for so few."""
    (tmp_path / "houses").mkdir()
    (tmp_path / "houses" / "houses.json").write_text("{}")
    for split, scans in (("train", range(60)), ("val_unseen", range(60, 72))):
        records = [{"scan": f"house{k:05d}"} for k in scans]
        (tmp_path / "houses" / f"R2R_{split}.json").write_text(json.dumps(records))
    every, ten = settings_of(("c", "c10"), None, tmp_path, "full")
    assert every.new_scans == ten.new_scans and len(ten.new_scans) == 12
    whole, few = (settings_read(("irl", "train", *s.flags)) for s in (every, ten))
    assert few.buildings == ten.seen_scans and len(few.buildings) == 10
    assert few.generator.updates < whole.generator.updates
    assert replace(few, buildings=(), generator=whole.generator) == whole


def test_few_buildings_are_nested_and_never_held_out(tmp_path: Path) -> None:
    scans = [f"scan{k:02d}" for k in range(30)]
    for split, known in (("train", [*scans, *HELD_OUT]), ("val_seen", scans[:25])):
        records = [{"scan": scan} for scan in known]
        (tmp_path / f"R2R_{split}.json").write_text(json.dumps(records))
    few = [
        set(settings_read(("irl", "train", *s.flags)).buildings)
        for s in settings_of(("b5", "b10", "b20"), tmp_path, tmp_path, "full")
    ]
    assert [len(drawn) for drawn in few] == [5, 10, 20]
    assert few[0] < few[1] < few[2] <= set(scans[:25])
    with pytest.raises(ValueError, match="name its folder with --data"):
        settings_of("a", None, tmp_path, "full")
    with pytest.raises(ValueError, match="not 'e'"):
        settings_of("e", tmp_path, tmp_path, "full")
