"""`rayforge analyse transfer` at a tiny size, resumed, and bad files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rayforge.errors import UserError
from trainers import cli
from trainers.analysis.transfer_config import asked_of, found_runs, read_transfer
from trainers.analysis.trials import keep_asked


def _grid(houses: Path) -> dict[str, object]:
    return {
        "data": str(houses),
        "base": {"network": {"word": 8, "hidden": 8}, "batch": 4, "max_steps": 10},
        "make": {
            "sources": {"one": 1, "two": 2}, "variants": {"plain": {}, "mute": {"text": False}},
            "updates": 10,
        },
        "targets": [{"split": "val_unseen"}, {"words": "dropped:3"}, {"features": "noise:5"},
                    {"longer": True}, {"paraphrased": True}],
        "episodes": 10, "perturbed": [0.0, 0.1],
    }  # fmt: skip


def test_a_tiny_grid(houses: Path, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(_grid(houses)))
    cli.main(["analyse", "transfer", str(file), "--out", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert found["runs"] == 4 and len(found["rows"]) == 4 * 6
    assert set(found["targets"]) == {"val_unseen", "val_unseen dropped:3",
                                     "val_unseen noise:5", "val_unseen longer",
                                     "val_unseen paraphrased"}  # fmt: skip
    assert found["worst"] in found["targets"] and found["groups"] == ["mute", "plain"]
    for row in found["rows"]:
        assert 0 <= row["success"] <= 1 and 0 <= row["ece"] <= 1 and row["nats"] > 0
        assert row["perturbed_sizes"][0] >= row["perturbed_sizes"][1]
    before = (tmp_path / "out" / "rows.jsonl").read_text()
    cli.main(["analyse", "transfer", str(file), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "rows.jsonl").read_text() == before
    # What was made is a run like any other.
    runs = [str(tmp_path / "out" / "runs")]
    other = {"data": str(houses), "runs": runs, "targets": [{"words": "shuffled"}], "episodes": 10}
    file.write_text(yaml.safe_dump(other))
    cli.main(["analyse", "transfer", str(file), "--out", str(tmp_path / "again")])
    assert json.loads((tmp_path / "again" / "transfer.json").read_text())["runs"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": [{"words": "droped:2"}]}, "did you mean dropped"),
        ({"targets": [{"features": "blur:9"}]}, "from 1 to 5"),
        ({"targets": [{"word": "dropped"}]}, "did you mean .*words"),
        ({"targets": [{"camera": "hihger:2"}]}, "did you mean higher"),
        ({"targets": []}, "targets is empty"),
        ({"targets": [{}, {}]}, "stands twice"),
        ({"targets": [{"data": "nowhere"}]}, "data folder nowhere does not exist"),
        ({"make": {}}, "name runs, or say under make"),
        ({"perturbed": [-1.0]}, "perturbed must not be negative"),
        ({"perturbed": []}, "perturbed is empty"),
        ({"make": {"sources": {"one": 1}, "seeds": [-1]}}, "make: seeds must not be negative"),
        ({"make": {"sources": {"one": 1}, "seeds": [0, 0]}}, "make: seeds: 0 stands twice"),
        ({"make": {"sources": {}}}, "make: sources is empty"),
    ],
)
def test_a_bad_file_is_one_line(
    changes: dict[str, object], message: str, houses: Path, tmp_path: Path
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**_grid(houses), **changes}))
    with pytest.raises(UserError, match=message):
        read_transfer(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"make": {"sources": {"one": 99}}}, "99 buildings are asked for, and .* has 2"),
        ({"make": {"sources": {"one": -1}}}, "-1 buildings are asked for"),
        ({"make": {"sources": {"one": "lots"}}}, "a number of buildings or a list"),
        ({"make": {"sources": {"one": ["nowhere"]}}}, "'nowhere' is no training building"),
        ({"make": {"sources": {"one": 1, "two": 2}}}, "three runs at least, got 2"),
        ({"targets": [{"split": "val_unsen"}]}, "no split 'val_unsen'"),
        ({"base": {"env": "continuous"}}, "got method gcbc and env continuous"),
        ({"base": {"method": "gail"}}, "got method gail and env graph"),
    ],
)
def test_nothing_is_trained_for_a_grid_that_cannot_be_filled(
    changes: dict[str, object], message: str, houses: Path, tmp_path: Path
) -> None:
    from trainers.analysis.transfer import analyse_transfer

    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**_grid(houses), **changes}))
    with pytest.raises(UserError, match=message):
        analyse_transfer(file, tmp_path / "out", 0, "test")
    assert not (tmp_path / "out").exists()


def test_a_grid_means_the_same_from_any_directory(
    houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "here").symlink_to(houses)
    file = tmp_path / "grid.yaml"
    targets = [{"data": "here"}, {"words": "dropped:1", "name": "fewer words"}]
    file.write_text(yaml.safe_dump({"data": "here", "runs": ["runs"], "targets": targets}))
    grid = read_transfer(file)
    assert grid.data == grid.read_targets()[0].data == str(tmp_path / "here")
    runs = found_runs(grid.runs)
    assert runs == [run]
    keep_asked(tmp_path / "out", asked_of({"one": run}, grid.read_targets()))
    # What tables call alike is not taken for the same.
    with pytest.raises(UserError, match=r"rows of which run one was '/.*/runs/one', and now"):
        keep_asked(tmp_path / "out", asked_of({"one": tmp_path / "one"}, []))
    other = replace(grid.read_targets()[1], words="dropped:5")
    with pytest.raises(UserError, match="rows of which target fewer words was"):
        keep_asked(tmp_path / "out", asked_of({}, [other]))
    monkeypatch.chdir(run)
    (tmp_path / "study.yaml").write_text("data: here\n")
    for kind, named in (("transfer", "grid"), ("periods", "study")):
        with pytest.raises(SystemExit):
            cli.main(["analyse", kind, str(tmp_path / f"{named}.yaml"), "--out", "out"])
        said = capsys.readouterr().err
        assert f"{run}/runs is no run" in said or f"here does not exist in {run};" in said
    assert not (run / "out").exists()


def test_the_camera_of_rendered_runs_can_be_shifted(houses: Path, tmp_path: Path) -> None:
    import numpy as np

    from trainers.analysis.cloning import read_cached, small_config
    from trainers.analysis.targets import seen_otherwise
    from trainers.analysis.transfer import analyse_transfer
    from trainers.analysis.transfer_config import Target

    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**_grid(houses), "targets": [{"camera": "higher:3"}]}))
    with pytest.raises(UserError, match="which no camera made"):
        analyse_transfer(file, tmp_path / "out", 0, "test")
    config = small_config({"data": str(houses), "features": "rendered"})
    task = read_cached(config, ("train", "val_unseen"))
    plain = seen_otherwise(task, config, Target(), 0)
    assert plain.world.tables is task.world.tables
    for camera in ("higher:5", "narrower:3"):
        seen = seen_otherwise(task, config, Target(camera=camera), 0).world.tables
        assert seen.sectors.shape == task.world.tables.sectors.shape
        assert not np.array_equal(seen.sectors, task.world.tables.sectors)
