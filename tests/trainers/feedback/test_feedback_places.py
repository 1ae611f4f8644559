"""What the commands of learning from use never overwrite, and never make for what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayforge.errors import DataError
from tests.trainers.refusal import line
from trainers.feedback.rewrites import read_rewrite_table


def test_what_is_not_a_rewriter_or_labeller_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("method: gcbc\n")
    log = tmp_path / "log.jsonl"
    log.write_text("")
    for words in (
        ("feedback", "rewrite", log, "--out", run),
        ("feedback", "labels", "--truth", log, "--model", run),
    ):
        code, error = line(capsys, *words)
        assert (code, "holds something else" in error) == (2, True), error
    assert [p.name for p in run.iterdir()] == ["config.yaml"]


def test_nothing_is_made_for_what_cannot_be_served_or_looped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "rewriter.json" in line(capsys, "feedback", "serve", tmp_path / "no")[1]
    for words in (
        ("--assistant", tmp_path / "no"),
        ("--assistant", tmp_path / "no", "--online.encoder.text", "nope"),
    ):
        line(capsys, "feedback", "loop", "--run", tmp_path / "run", *words)
    assert not list(tmp_path.iterdir())


def test_a_lesson_needs_a_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lessons.json"
    words = ("feedback", "teach", file, "--user", " ", "--phrase", "a", "--means", "b")
    assert "the user has no name" in line(capsys, *words)[1]
    file.write_text(json.dumps([{"user": "", "phrase": "a", "meaning": "b"}]))
    assert "record 0" in line(capsys, *words)[1]


def test_a_rewriter_takes_the_table_that_tables_writes(tmp_path: Path) -> None:
    """One row a place; what two places rewrite differently has no answer without a place."""
    table = tmp_path / "table.jsonl"
    rows = [
        {"building": "a", "request": "x", "rewrite": "y", "score": 0.5},
        {"building": "b", "request": "x", "rewrite": "y", "score": 0.7},
        {"building": "a", "request": "u", "rewrite": "v", "score": 0.9},
        {"building": "b", "request": "u", "rewrite": "w", "score": 0.8},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_rewrite_table(table) == {"x": ("y", 0.7)}
    (tmp_path / "table.json").write_text('{"x": ["y", 0.5]}')
    assert read_rewrite_table(tmp_path / "table.json") == {"x": ("y", 0.5)}
    for bad in ("[1]", '{"request": "x"}', '{"request": 1, "rewrite": "y", "score": 1}'):
        table.write_text(bad + "\n")
        with pytest.raises(DataError, match="line 1: no row of a table"):
            read_rewrite_table(table)
