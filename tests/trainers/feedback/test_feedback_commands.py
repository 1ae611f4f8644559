"""The commands that learn from use, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.sessions.turns import Turn, line_of
from trainers import cli


def test_a_log_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Turn("t0", "ann", "house1", 5.0, "go to the bedroom", "thanks")
    lines = [line_of(good), line_of(good)[:30] + "\n", line_of(good).replace("t0", "t1")]
    (tmp_path / "log.jsonl").write_text("".join(lines))
    (tmp_path / "connectivity").mkdir()
    (tmp_path / "connectivity" / "house1_connectivity.json").write_text("[]")
    (tmp_path / "users.txt").write_text("ann\n")
    cli.main(["feedback", "check", str(tmp_path / "log.jsonl"), "--data", str(tmp_path),
              "--users", str(tmp_path / "users.txt")])  # fmt: skip
    said = capsys.readouterr().out
    assert "2 turns used, 1 records left out" in said and "1 x not a record" in said
    assert "1 sessions, 1 of them ended well" in said
    with pytest.raises(SystemExit) as ended:
        cli.main(["feedback", "check", str(tmp_path / "log.txt")])
    assert ended.value.code == 3
