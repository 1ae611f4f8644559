"""What every command checks of its own arguments before it begins: numbers, places, words."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayforge.errors import ConfigurationError
from rayforge.settings import WRITES_FILE, WRITES_FOLDER, settings_with
from tests.trainers.refusal import line
from trainers.arguments import check_places, read_arguments
from trainers.cli import COMMANDS
from trainers.feedback.loop_commands import Tables
from trainers.help import _entries, help_of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("analyse information run --beta nan", "beta must be above 0, got nan"),
        ("analyse information run --beta inf", "beta must be a number below"),
        ("analyse information run --seed -1", "seed must not be negative, got -1"),
        ("analyse information run --noise-steps -3", "noise_steps must not be negative"),
        ("analyse parity run --attribute room --seed -1", "seed must not be negative"),
        ("analyse parity run --attribute room --episodes 3", "episodes must be at least 8"),
        ("analyse tasks run --out out --episodes 0", "episodes must be at least 2"),
        ("analyse tasks run --out out --head-steps -2", "head_steps must not be negative"),
        ("analyse tasks run --out out --most -1", "most must not be negative"),
        ("analyse periods file --out out --processes -1", "processes must not be negative"),
        ("feedback failures run --seed -1", "seed must not be negative"),
        ("feedback labels --truth log.jsonl --seed -1", "seed must not be negative"),
        ("feedback labels log.jsonl --precision nan", "precision must be in (0, 1], got nan"),
        ("feedback rephrases log.jsonl --rate nan", "rate must be in [0, 1], got nan"),
        ("feedback serve folder --port 99999", "port must be in [0, 65535], got 99999"),
        ("feedback serve folder --replicas 0", "replicas must be at least 1"),
        ("irl evaluate run --split s --candidates 0", "candidates must be at least 1"),
        ("irl evaluate run --split s --shortlist 3", "shortlist is for a planner"),
        ("irl plan run --learning-rate inf", "learning_rate must be a number below"),
        ("irl prune run --out out --keep nan", "keep must be in (0, 1], got nan"),
        ("irl train --run out --temperature inf", "temperature must be a number below"),
        ("amodal train --run out --learning-rate inf", "learning_rate must be a number below"),
        ("amodal train --run out --least-hidden 0.9", "no frame lies between them"),
        ("amodal watch run --clips 0", "clips must be at least 1"),
        ("tune file --trials 0", "trials must be at least 1"),
        ("plan file --tokens 1", "tokens must be at least 2"),
    ],
)
def test_numbers_out_of_range(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, error = line(capsys, *words.split())
    assert (code, said in error) == (2, True), error
    assert not list(tmp_path.iterdir())


def test_every_number_of_a_command_has_a_limit() -> None:
    for name, command in COMMANDS.items():
        for entry in _entries(command, None, "", ""):
            if entry.kind in (int, int | None) and not entry.heading:
                limits = [m for m in entry.metadata if hasattr(m, "holds")]
                assert limits, f"{' '.join(name)}: --{entry.name}"


def test_every_setting_and_group_is_told_in_words() -> None:
    for name, command in COMMANDS.items():
        for entry in _entries(command, None, "", ""):
            assert entry.said.strip(), f"{' '.join(name)}: --{entry.name}"
            assert not entry.heading.rstrip().endswith(":"), f"{' '.join(name)}: {entry.heading}"
    assert "  --for PATH" in help_of(COMMANDS["analyse", "tasks"], "analyse tasks", None, False)


def test_places_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for words, said in (
        ("feedback tables log.jsonl --out folder", "is a folder: name a file"),
        ("feedback rephrases log.jsonl --out nowhere/pairs.jsonl", "there is no folder nowhere"),
        ("feedback failures run --out nowhere/failures.json", "there is no folder nowhere"),
        ("feedback simulate nowhere/log.jsonl", "there is no folder nowhere"),
        ("feedback teach nowhere/lessons.json --user ann", "there is no folder nowhere"),
        ("feedback labels log.jsonl --out folder", "is a folder: name a file"),
        ("feedback mine log.jsonl --out file", "is a file: name a folder"),
        ("feedback rewrite log.jsonl --out file/inner", "file is a file, and no folder"),
        ("analyse tasks run --out file", "is a file: name a folder"),
        ("analyse periods file --out file/inner", "file is a file, and no folder"),
        ("analyse information run --out file", "is a file: name a folder"),
        ("plan file --json folder", "is a folder: name a file"),
        ("report a b --out folder", "is a folder: name a file"),
    ):
        code, error = line(capsys, *words.split())
        assert (code, said in error) == (2, True), error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"
    asked = read_arguments(Tables, ["log.jsonl", "--out", "folder/table.jsonl"], prog="tables")
    assert asked.out == Path("folder/table.jsonl")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        check_places(asked)


def test_what_a_command_reads_is_never_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log, for one, that is named for the table as well."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_text("kept")
    for words in (
        f"feedback tables log.jsonl --out {log}",
        "feedback rephrases log.jsonl --out ./log.jsonl",
        "feedback labels log.jsonl --out log.jsonl",
        "feedback failures run --log log.jsonl --out log.jsonl",
        "plan log.jsonl --json log.jsonl",
    ):
        code, error = line(capsys, *words.split())
        assert (code, "would be lost" in error) == (2, True), error
    assert log.read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_commands_that_write_say_where() -> None:
    """A path named `out` is looked at before the command begins, but where it is a run's folder,
    which has checks of its own."""
    own = {("irl", "adapt"), ("irl", "prune")}
    for name, command in COMMANDS.items():
        fields = {entry.name for entry in _entries(command, None, "", "")}
        places = settings_with(command, WRITES_FILE) + settings_with(command, WRITES_FOLDER)
        assert "out" not in fields or "out" in places or name in own, name
