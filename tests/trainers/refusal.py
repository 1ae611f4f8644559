"""A command that has to be refused, as its user sees it."""

from __future__ import annotations

import pytest

from trainers.cli import main


def line(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and the one line of a command that is refused."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert said.startswith("rayforge: ") and said.count("\n") == 1, said
    assert isinstance(caught.value.code, int)
    return caught.value.code, said
