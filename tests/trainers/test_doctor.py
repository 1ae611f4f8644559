"""`rayforge doctor`: a line a check, with its remedy."""

import socket
from pathlib import Path

import pytest

from envs.simulators.habitat_package import installed
from trainers.doctor import egl_devices, egl_vendors, examine


def test_lines_on_simulators(capsys: pytest.CaptureFixture[str]) -> None:
    examine()
    lines = capsys.readouterr().out.splitlines()
    habitat, *_ = [line for line in lines if "habitat-sim" in line and "EGL" not in line]
    (vendors,) = [line for line in lines if "EGL drivers" in line]
    (egl,) = [line for line in lines if "EGL, devices" in line]
    assert vendors.startswith(("ok", "note", "BAD"))
    (embree,) = [line for line in lines if "embree" in line]
    assert embree.startswith(("ok", "note")) and egl.startswith(("ok", "note", "BAD"))
    if installed():
        assert habitat.startswith("ok")
    else:
        # It is optional: what is missing for it is noted and stands in nobody's way.
        assert habitat.startswith("note") and "conda install" in habitat
        assert not egl.startswith("BAD")
    assert egl.endswith(str(egl_devices())) or "libegl1" in egl


def test_drivers_that_libegl_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", f"{tmp_path}:{tmp_path / 'none'}")
    monkeypatch.delenv("__EGL_VENDOR_LIBRARY_FILENAMES", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert egl_vendors() == []
    (tmp_path / "50_mesa.json").write_text("{}")
    (tmp_path / "readme.txt").write_text("")
    assert egl_vendors() == ["50_mesa.json"]
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", str(tmp_path / "gone.json"))
    assert egl_vendors() == []


def test_lines_on_clusters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    token = tmp_path / "token"
    token.write_text("secret-words")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", gone)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert examine(str(token / "runs")) == 1
    out = capsys.readouterr().out
    bad = [line for line in out.splitlines() if line.startswith("BAD")]
    assert any(f"RAY_ADDRESS is {gone}" in line and "start the head" in line for line in bad)
    assert any(f"storage {token / 'runs'}" in line and "mount" in line for line in bad)
    assert "ok   token of the cluster" in out
    assert f"note the head at {gone} is gone: " in out
    assert "secret-words" not in out


def test_storage_and_ports_in_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr("trainers.doctor.PORTS", {port: "a test's"})
        examine(str(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert f"ok   storage {tmp_path}" in lines
    assert "ok   no address of a vanished head" in lines
    assert any(line.startswith(f"note port {port} (a test's): taken") for line in lines)


def test_lines_on_homes_and_temporary_folders(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long" * 20)
    assert examine() == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert any("token" in line and "set HOME" in line for line in bad)
    assert any("sockets" in line and "set RAY_TMPDIR" in line for line in bad)
