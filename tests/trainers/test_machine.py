"""Machines that Ray would fail on with a traceback: told beforehand, in one line."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rayforge.errors import MachineError
from trainers.machine import (
    check_ray_folder,
    check_temporary_folder,
    ensure_token,
    group_limit,
    processors,
    token_path,
)


def test_processors_are_those_of_the_affinity() -> None:
    there = os.sched_getaffinity(0)
    assert 1 <= processors() <= len(there)
    try:
        os.sched_setaffinity(0, {min(there)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, there)


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/slice/job\n")
    job = tmp_path / "fs" / "slice" / "job"
    job.mkdir(parents=True)
    assert group_limit(tmp_path / "fs", own) is None
    (job / "cpu.max").write_text("max 100000\n")
    assert group_limit(tmp_path / "fs", own) is None
    (job.parent / "cpu.max").write_text("150000 100000\n")
    assert group_limit(tmp_path / "fs", own) == 1.5
    (job / "cpu.max").write_text("400000 100000\n")
    assert group_limit(tmp_path / "fs", own) == 1.5


def test_quotas_of_version_one(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("7:memory:/job\n4:cpu,cpuacct:/job\n")
    job = tmp_path / "cpu" / "job"
    job.mkdir(parents=True)
    (job / "cpu.cfs_quota_us").write_text("-1\n")
    (job / "cpu.cfs_period_us").write_text("100000\n")
    assert group_limit(tmp_path, own) is None
    (job / "cpu.cfs_quota_us").write_text("300000\n")
    assert group_limit(tmp_path, own) == 3.0
    assert group_limit(tmp_path, tmp_path / "absent") is None


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home" / ".ray" / "auth_token"


def test_a_token_is_made_for_its_owner_alone(token: Path) -> None:
    assert token_path() == token
    ensure_token()
    first = token.read_text()
    assert len(first) == 64 and token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o644)  # as Ray leaves it
    ensure_token()
    assert token.read_text() == first and token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "secret-words"), ("RAY_AUTH_MODE", "disabled")]
)
def test_no_token_is_made_where_none_is_read(
    token: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ensure_token()
    assert not token.exists()


def test_a_home_that_cannot_be_written(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    with pytest.raises(MachineError, match=r"/proc/none/.ray/auth_token.*set HOME"):
        ensure_token()
    file = token.parent.parent
    file.write_text("a file where the home should be")
    monkeypatch.setenv("HOME", str(file))
    with pytest.raises(MachineError, match="set HOME"):
        ensure_token()


def test_no_home_at_all(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(MachineError, match=r"no home folder.*set HOME"):
        ensure_token()


@pytest.mark.parametrize(
    ("below", "message"),
    [("x" * 60, "bytes, and names of sockets leave"), ("tür", "letters beyond ASCII"),
     ("日本", "letters beyond ASCII")],
)  # fmt: skip
def test_temporary_folders_that_sockets_do_not_fit_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, message: str
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / below))
    with pytest.raises(MachineError, match=f"{message}.*set RAY_TMPDIR"):
        check_ray_folder()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path / below))  # which Ray goes by as well
    with pytest.raises(MachineError, match=f"{message}.*set RAY_TMPDIR"):
        check_ray_folder()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_ray_folder()


def test_a_temporary_folder_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(MachineError, match=r"/tmp has 1 MiB free, and Ray takes 16 MiB: set RAY_T"):
        check_ray_folder()


def test_a_temporary_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
    with pytest.raises(MachineError, match=r"cannot be written.*set RAY_TMPDIR"):
        check_ray_folder()
    monkeypatch.setenv("RAY_TMPDIR", "a/folder")
    with pytest.raises(MachineError, match=r"is relative.*set RAY_TMPDIR"):
        check_ray_folder()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_ray_folder()


@pytest.mark.parametrize("named", ["nowhere", "file", "n\nl", "x" * 300])
def test_a_temporary_folder_that_is_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / named))
    with pytest.raises(MachineError, match=r"TMPDIR is .*unset TMPDIR") as caught:
        check_temporary_folder()
    assert "\n" not in str(caught.value)
    for sound in (str(tmp_path), ""):
        monkeypatch.setenv("TMPDIR", sound)
        check_temporary_folder()
