"""The parity command on recordings: real ones where they are, and one that cannot be met."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parity
from benchmarks.parity_views import Check, off_silhouettes


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["parity", str(folder)])
    parity.main()


@pytest.mark.data
def test_recordings_of_habitat_sim(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, shared_data / "habitat_reference")
    table = capsys.readouterr().out
    assert table.count("rooms") == 9 and table.count("house16") == 8
    assert "MISSED" not in table


@pytest.mark.data
def test_missed_bars_end_with_an_error(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in (shared_data / "habitat_reference").glob("house16*"):
        shutil.copy(file, tmp_path)
    with np.load(tmp_path / "house16.npz") as arrays:
        recorded = dict(arrays)
    recorded["view_depth"] = recorded["view_depth"] + 0.02
    (tmp_path / "house16.npz").unlink()
    np.savez(tmp_path / "house16.npz", **recorded)
    with pytest.raises(SystemExit, match="1 of the numbers missed"):
        run(monkeypatch, tmp_path)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "MISSED" in x]
    assert "depth within 1 cm" in line and ">= 99.90 %" in line


def test_folders_without_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="holds no recording"):
        run(monkeypatch, tmp_path)
    (tmp_path / "home.npz").write_bytes(b"PK")
    with pytest.raises(SystemExit, match=r"home\.glb does not exist"):
        run(monkeypatch, tmp_path)


def test_bars_count_on_their_side() -> None:
    assert Check("", 0.999, 0.999, True).passed and not Check("", 0.99, 0.999, True).passed
    assert Check("", 0.2, 0.25, False).passed and not Check("", 0.3, 0.25, False).passed
    assert not Check("", float("nan"), 0.25, False).passed


def test_silhouettes() -> None:
    """A slanted plane has none but where a box stands before it and where nothing is."""
    x = np.linspace(-1, 1, 20)
    depth = np.broadcast_to(3 / (1 + 0.4 * x), (1, 20, 20)).astype(np.float32).copy()
    assert off_silhouettes(depth).all()
    depth[0, 5:10, 5:10] -= 0.05
    off = off_silhouettes(depth)
    assert not off[0, 5, 5:10].any() and not off[0, 4, 5:10].any()
    assert off[0, 7, 7] and off[0, 0].all() and off[0, 12:].all()
    depth[0, 19] = 0
    assert not off_silhouettes(depth)[0, 19].any()
