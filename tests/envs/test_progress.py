"""Progress is silent for five seconds, then one line that is ended even when the work fails."""

import pytest

from envs import progress


def test_silent_when_fast(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("reading", 3) as line:
        for _ in range(3):
            line.add()
    assert capsys.readouterr().err == ""


def test_one_line_when_slow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    now = iter([0.0, 1.0, 6.0, 6.0, 6.5, 7.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with pytest.raises(KeyError), progress.Progress("reading boxes", 2000) as line:
        line.add(500)
        line.add(700)
        line.add(1)
        raise KeyError
    lines = capsys.readouterr().err
    assert lines == "\rreading boxes: 1,200 of 2,000, 6 s\rreading boxes: 1,201 of 2,000, 7 s\n"


def test_a_line_every_ten_seconds_in_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 6.0, 6.0, 9.0, 16.5, 16.5, 17.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.Progress("reading boxes", 4) as line:
        for _ in range(3):
            line.add()
    assert capsys.readouterr().err == (
        "reading boxes: 1 of 4, 6 s\nreading boxes: 3 of 4, 16 s\nreading boxes: 3 of 4, 17 s\n"
    )
