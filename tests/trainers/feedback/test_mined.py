"""What a log gives to adaptation, planning and alignment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envs.episodes.r2r import read_r2r
from envs.sessions.log import write_log
from envs.sessions.turns import Turn
from rayforge.alignment.preferences import read_preferences
from rayforge.errors import DataError
from rayforge.feedback.teaching import Lesson, Memory
from trainers import cli
from trainers.feedback.lessons import read_lessons, write_lessons
from trainers.feedback.mined import corrections

FAILED = Turn("a", "ann", "home", 0.0, "go to the sofa", "barge_in", path=("s", "x"), step=1,
              reply="I will go to the sofa.", heading=0.5, duration=5.0)  # fmt: skip
WORKED = replace(FAILED, turn_id="b", time=10.0, heard="go to the blue couch", signal="thanks",
                 step=None, path=("s", "m", "g"), reply="I will go to the blue couch.")  # fmt: skip
LOST = replace(FAILED, turn_id="c", time=900.0, heard="go to my corner", signal="stop", step=None)
LESSON = replace(FAILED, turn_id="d", time=950.0, heard='by "my corner" i mean: x', signal="none",
                 step=None, path=("s", "m"))  # fmt: skip
ELSEWHERE = replace(WORKED, turn_id="e", time=960.0, path=("t", "u"))
LOG = [FAILED, WORKED, LOST, LESSON, ELSEWHERE]


def test_corrections_are_of_one_start() -> None:
    found = corrections(LOG)
    assert [(c.failed, c.worked) for c in found] == [((FAILED,), WORKED)]


def test_the_files_are_what_other_commands_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(tmp_path / "log.jsonl", LOG)
    out = tmp_path / "mined"
    cli.main(["feedback", "mine", str(tmp_path / "log.jsonl"), "--out", str(out)])
    assert "1 demonstrations, 1 unlabelled, 1 preferences" in capsys.readouterr().out
    shown = read_r2r(out / "demonstrations.json")
    assert [e.instruction for e in shown] == ["go to the blue couch", "go to the sofa"]
    assert {(e.scan, e.path, e.heading) for e in shown} == {("home", ("s", "m", "g"), 0.5)}
    left = read_r2r(out / "unlabelled.json")
    assert [(e.instruction, e.blind) for e in left] == [("go to my corner", True)]
    pairs = read_preferences(out / "preferences.jsonl").pairs
    assert len(pairs) == 1
    record = json.loads((out / "preferences.jsonl").read_text())
    assert record == {"prompt": "go to the sofa", "chosen": "I will go to the blue couch.",
                      "rejected": "I will go to the sofa."}  # fmt: skip


def test_lessons_are_kept_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lessons.json"
    memory = Memory()
    memory.teach(Lesson("ann", "base", "the hall", "place", "home", ("a", "b"), 5.0))
    write_lessons(file, memory)
    assert read_lessons(file).lessons("ann") == memory.lessons("ann")
    teach = ["feedback", "teach", str(file), "--user", "bob", "--phrase", "my spot"]
    cli.main([*teach, "--means", "the old chair"])
    assert "stored\nmy spot: the old chair" in capsys.readouterr().out
    cli.main([*teach, "--forget"])
    cli.main(["feedback", "teach", str(file), "--user", "bob"])
    assert capsys.readouterr().out == "deleted\n"
    assert len(read_lessons(file)) == 1
    with pytest.raises(SystemExit) as ended:
        cli.main([*teach, "--means", "near my spot"])
    assert ended.value.code == 2 and "by itself" in capsys.readouterr().err
    for bad in ("{}", "[1]", '[{"user": "a"}]', '[{"user": "a", "phrase": "?", "meaning": "b"}]'):
        file.write_text(bad)
        with pytest.raises(DataError, match=r"lessons\.json"):
            read_lessons(file)
