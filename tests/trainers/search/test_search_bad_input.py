"""What the command says of a search that cannot be: one line and exit code 1, before Ray starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers import cli
from trainers.configuration import to_dict
from trainers.search import run
from trainers.search.config import read_search
from trainers.search.state import STATE, State
from trainers.search.storage import Folder

CONFIGS = Path(__file__).parents[3] / "tune_configs"


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for what in ("_start_ray", "_prepare"):

        def begun(*_: Any, what: str = what) -> None:
            raise AssertionError(f"{what} of a search that cannot be")

        monkeypatch.setattr(run, what, begun)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that the command ends with."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", *arguments])
    assert ended.value.code in (2, 3, 4, 6)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("rayforge: ")
    return lines[0]


def changed(folder: Path, half: str, **changes: Any) -> str:
    """The repository's search of a half, with other settings."""
    document = yaml.safe_load((CONFIGS / f"{half}.yaml").read_text())
    file = folder / f"{half}.yaml"
    file.write_text(yaml.safe_dump({**document, "storage": str(folder / "runs"), **changes}))
    return str(file)


def test_an_unknown_setting_is_told_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"align.learning_rte": {"loguniform": [1e-5, 1e-3]}}
    line = refused(capsys, changed(tmp_path, "both", space=space))
    assert "both.yaml: space: unknown setting align.learning_rte" in line
    assert "did you mean align.learning_rate" in line


def test_a_metric_that_no_trial_reports_is_told_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, changed(tmp_path, "alignment", metrics={"winrate": "max"}))
    assert "no trial reports winrate; did you mean win_rate" in line


def test_more_cpus_than_there_are_is_told_with_the_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(tmp_path, "alignment", base={"workers": 3, "batch": 33, "actors": 2}, cpus=4)
    assert "a trial takes 5 CPUs (3 workers + 2 actors), but this machine has 4" in refused(
        capsys, file
    )


def test_storage_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    place = str(tmp_path / "file" / "runs")
    line = refused(capsys, changed(tmp_path, "irl"), "--storage", place)
    assert f"storage {place} cannot be written from this machine" in line


def test_a_second_search_of_one_name_is_told_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(tmp_path, "irl")
    assert "holds no search to go on with: drop --resume" in refused(capsys, file, "--resume")
    assert not (tmp_path / "runs").exists()
    first = read_search(Path(file))
    folder = Folder(first.settings.storage, "irl")
    folder.write(run.FILE, yaml.safe_dump(to_dict(first.settings)))
    line = refused(capsys, file, "--resume")
    assert "has lost what it knew of its trials: state.json is missing" in line
    State().save(folder)
    line = refused(capsys, file)
    assert "runs/irl holds a search already: go on with --resume, or give this one another" in line
    line = refused(capsys, changed(tmp_path, "irl", trials=9), "--resume")
    assert "trials was 16 and is now 9" in line


def test_a_search_that_is_running_is_not_resumed_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(tmp_path, "irl")
    first = read_search(Path(file))
    folder = Folder(first.settings.storage, "irl")
    folder.write(run.FILE, yaml.safe_dump(to_dict(first.settings)))
    State().save(folder)
    holder = (
        "import sys; from pathlib import Path; from trainers.runs.folder import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "runs" / "irl")], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        line = refused(capsys, file, "--resume")
    assert f"another run trains in {tmp_path / 'runs' / 'irl'} (process {other.pid}" in line


def test_a_search_that_could_not_begin_leaves_its_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = changed(tmp_path, "irl")
    folder = Folder(str(tmp_path / "runs"), "irl")

    def broken(plan: Any) -> None:
        assert folder.read(run.FILE) is not None  # a second search sees that it is taken
        raise OSError("no houses today")

    monkeypatch.setattr(run, "_prepare", broken)
    with pytest.raises(OSError, match="no houses today"):
        cli.main(["tune", file])
    assert folder.read(run.FILE) is None and folder.read(STATE) is None
