"""An adaptation's file that is damaged is one line of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayforge.reports.adaptation import adaptation
from rayforge.reports.section import Text

LONG = "9" * 5000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="deep"),
        pytest.param(f'{{"a": {LONG}}}', id="long"),
        "[]", "{", "\x00",
        '{"buildings": 1}', '{"buildings": [{"kept": 1e400}]}',
        '{"buildings": [{"kept": "a\\nb"}]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "adaptation.json").write_text(content)
    (section,) = adaptation(tmp_path)
    (text,) = section.parts
    assert isinstance(text, Text)
    said = str(text)
    assert "adaptation.json cannot be read" in said
    assert len(said) < 500
