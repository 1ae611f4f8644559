"""The tables of planning: rows of the same candidates, paired with the planner's."""

from __future__ import annotations

import json

import numpy as np
import torch

from benchmarks.planning import HELD_OUT, TRAIN, TUNING, Planning, thinned
from benchmarks.planning_tables import PLANNED, mapped_table
from envs.episodes.r2r import write_r2r
from rayforge.files import write_whole
from trainers.irl.choices import Choices


def made_up(scores: torch.Tensor, meant: torch.Tensor) -> dict[str, np.ndarray]:
    """Choices among four places that are not alike; the last instruction has no right one."""
    count = scores.shape[1]
    present = torch.ones(count, 4, dtype=torch.bool)
    good = torch.zeros_like(present).scatter(1, meant[:, None], True)
    good[-1] = False
    alike = torch.eye(4, dtype=torch.bool).expand(count, 4, 4)
    arrays = Choices(("length", "policy", "generator", "reward"), scores, present, good, alike)
    kept = {k: v.numpy() for k, v in arrays._asdict().items() if isinstance(v, torch.Tensor)}
    return {**kept, "names": np.array(arrays.names)}


def test_rows_are_fitted_on_what_was_held_back_and_paired(tmp_path) -> None:  # type: ignore[no-untyped-def]
    random = torch.Generator().manual_seed(0)
    meant = torch.randint(4, (40,), generator=random)
    scores = torch.randn(4, 40, 4, generator=random)
    scores[3].scatter_(1, meant[:, None], 8.0)  # the reward knows, the others do not
    (tmp_path / "scores").mkdir()
    for split in ("held_back", "val_seen", "new"):
        file = tmp_path / "scores" / f"start-0-{split}-map.npz"
        write_whole(file, lambda stream: np.savez(stream, **made_up(scores, meant)))
    third = made_up(scores[:, ::3], meant[::3])  # under another's instruction, every third
    write_whole(
        tmp_path / "scores" / "start-0-new-other.npz", lambda stream: np.savez(stream, **third)
    )
    text = Planning(tmp_path, tmp_path, seeds=(0,), make=False)._tables()
    lines = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert lines[f"| {PLANNED}"].split(" | ")[2].startswith("0.975")
    assert "| GAIL-type classifier" not in lines  # was not run
    other = f"| {PLANNED}, another's instruction"
    assert lines[other].split(" | ")[2].startswith("0.9") and lines[other].endswith("|  |  |")
    few = lines[f"| {PLANNED}, generator asked for 6"].split(" | ")
    assert few[2] == lines[f"| {PLANNED}"].split(" | ")[2], "there are four candidates"
    assert lines["| nothing (uniform)"].split(" | ")[5].rstrip(" |") != ""


def test_the_ratio_is_of_means_over_the_same_seeds() -> None:
    planned = {0: np.array([1.0, 1.0, 0.0, 1.0]), 1: np.array([0.0, 0.0, 0.0, 0.0])}
    other = {0: np.array([1.0, 0.0, 0.0, 0.0])}
    text = mapped_table("new", {PLANNED: planned, "other": other})
    row = next(line for line in text.splitlines() if line.startswith("| other"))
    assert row.endswith("| 3.00 |") and "+0.500" in row


def test_few_demonstrations_leave_the_buildings_held_out_whole(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = tmp_path / "r2r"
    data.mkdir()
    (data / "connectivity").mkdir()
    records = [
        {"scan": scan, "path_id": number, "path": ["a", "b"], "heading": 0.0,
         "instructions": ["go on"]}
        for number, scan in enumerate(["trained in"] * 25 + [HELD_OUT[0]] * 3 + [TUNING[0]] * 2)
    ]  # fmt: skip
    write_r2r(data / TRAIN, records)
    folder = thinned(data, tmp_path / "few", 10)
    kept = json.loads((folder / TRAIN).read_text())
    assert [r["path_id"] for r in kept] == [9, 19, 25, 26, 27, 28, 29]
    assert (folder / "connectivity").is_dir()
    assert thinned(data, folder, 10) == folder, "written once"
